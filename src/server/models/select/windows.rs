//! The Windows half. A set is a count and an array of that many sockets (no bit map: a SOCKET is a handle, not a small
//! number), and FD_SETSIZE is only the length of the array in the header's own type. The call reads the count. So the
//! sets here are arrays that are as long as there are sockets, and 64 is a number like any other.
//!
//! What else is different here:
//! - It is an error (WSAEINVAL) to pass an empty set, or no set at all. So the write set is left out while no
//!   connection waits to send; the read set always holds the socket that wakes the wait.
//! - A broken connection is reported as readable; the documentation says nothing of writable. One that only waits to
//!   send, since its buffer is full or its peer's FIN has come, is not asked whether it is readable. So it is reported
//!   as writable from time to time, to try: see `retry`.
//! - The call watches sockets only, no events and no pipes. So what wakes it is a socket: see `wake_socket`.
//!
//! Source: Microsoft, 'select function', 'fd_set structure'.

#![expect(unsafe_code, reason = "neither std nor socket2 has select")]

use std::collections::HashMap;
use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use windows_sys::Win32::Networking::WinSock::{FD_SET, SOCKET, SOCKET_ERROR, TIMEVAL, select};

use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{Selector, Token};
use crate::server::readiness::retry::{Retry, only_sends};
use crate::server::wait::Waker;
use crate::server::wait::wake_socket::WakeSocket;
use crate::sys::event::raw;

const CAN_READ: Ready = Ready { read: true, write: false, hangup: false };
const CAN_WRITE: Ready = Ready { read: false, write: true, hangup: false };

/// The sockets to be watched, and what the last call found.
pub(super) struct Select {
    wake: Arc<WakeSocket>,
    watched: HashMap<SOCKET, (Token, Interest)>,
    /// Asked for before the call, answered after it.
    readable: SocketSet,
    writable: SocketSet,
    retry: Retry,
    /// A socket that is ready for both stands here twice.
    ready: Vec<(SOCKET, Ready)>,
    /// How many of these were dealt with.
    done: usize,
}

impl Selector for Select {
    fn new() -> io::Result<(Select, Waker)> {
        let wake = Arc::new(WakeSocket::new()?);
        let of_waker = Arc::clone(&wake);
        let select = Select {
            wake,
            watched: HashMap::new(),
            readable: SocketSet::default(),
            writable: SocketSet::default(),
            retry: Retry::default(),
            ready: Vec::new(),
            done: 0,
        };
        Ok((select, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        self.watched.insert(raw(&*socket), (token, interest));
        Ok(())
    }

    fn modify(&mut self, _token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        let (_, watched_for) = self.watched.get_mut(&raw(&*socket)).ok_or(io::ErrorKind::NotFound)?;
        *watched_for = interest;
        Ok(())
    }

    fn deregister(&mut self, _token: Token, socket: SockRef<'_>) {
        self.watched.remove(&raw(&*socket));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let some_only_send = self.ask();
        let timeout = self.retry.limit(some_only_send, timeout).map(timeval);
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: each set is null or has the layout of an fd_set whose array is as long as its count says, and is
        // borrowed mutably; the call only ever shortens it. The time-out is null or lives. The first argument is
        // ignored.
        let result =
            unsafe { select(0, self.readable.as_fd_set(), self.writable.as_fd_set(), ptr::null_mut(), timeout) };
        if result == SOCKET_ERROR {
            return Err(io::Error::last_os_error());
        }
        self.done = 0;
        self.ready.clear();
        self.ready.extend(self.writable.members().iter().map(|socket| (*socket, CAN_WRITE)));
        self.ready.extend(self.readable.members().iter().map(|socket| (*socket, CAN_READ)));
        if self.retry.is_due() {
            self.report_those_that_only_send();
        }
        Ok(())
    }

    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        loop {
            let (socket, ready) = *self.ready.get(self.done)?;
            self.done += 1;
            if let Some((token, _)) = self.watched.get(&socket) {
                return Some((*token, ready));
            }
            // Not watched: the wake socket, or a connection that its other turn has closed.
            if socket == raw(&self.wake.0) {
                self.wake.clear();
            }
        }
    }
}

impl Select {
    /// Fills the sets, which the last call has overwritten with its answer. Says whether there are connections that
    /// only wait to send.
    fn ask(&mut self) -> bool {
        self.readable.clear();
        self.writable.clear();
        self.readable.insert(raw(&self.wake.0));
        let mut some_only_send = false;
        for (socket, (_, interest)) in &self.watched {
            some_only_send |= only_sends(*interest);
            if interest.read {
                self.readable.insert(*socket);
            }
            if interest.write {
                self.writable.insert(*socket);
            }
        }
        some_only_send
    }

    /// Whether they can send or not: the try shows which of them are broken.
    fn report_those_that_only_send(&mut self) {
        let only_send = self.watched.iter().filter(|(_, (_, interest))| only_sends(*interest));
        self.ready.extend(only_send.map(|(socket, _)| (*socket, CAN_WRITE)));
    }
}

/// An fd_set with an array of any length.
struct SocketSet {
    /// The count as one word, then the sockets. With its padding the count is as long as a socket, and Windows is
    /// little-endian everywhere; so this is the layout of an fd_set.
    words: Vec<SOCKET>,
}

const _: () = {
    assert!(offset_of!(FD_SET, fd_count) == 0 && offset_of!(FD_SET, fd_array) == size_of::<SOCKET>());
    assert!(align_of::<FD_SET>() == align_of::<SOCKET>());
    assert!(cfg!(target_endian = "little"));
};

impl Default for SocketSet {
    fn default() -> Self {
        SocketSet { words: vec![0] }
    }
}

impl SocketSet {
    fn clear(&mut self) {
        self.words.truncate(1);
        self.words[0] = 0;
    }

    /// Adds a socket that is not in it yet. Not after a call has answered: see [`clear`](Self::clear).
    fn insert(&mut self, socket: SOCKET) {
        self.words.push(socket);
        self.words[0] += 1;
    }

    /// The count, the lower half of its word: fd_count has 32 bits, and the call writes only those.
    fn len(&self) -> usize {
        self.words[0] as u32 as usize
    }

    /// The sockets in it; after the call, those that are ready.
    fn members(&self) -> &[SOCKET] {
        &self.words[1..=self.len()]
    }

    /// For the call: null if it is empty.
    fn as_fd_set(&mut self) -> *mut FD_SET {
        if self.len() == 0 { ptr::null_mut() } else { self.words.as_mut_ptr().cast() }
    }
}

/// Whole milliseconds, rounded up, so that a wait never ends before its time and spins.
fn timeval(time: Duration) -> TIMEVAL {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    TIMEVAL {
        tv_sec: i32::try_from(milliseconds / 1000).unwrap_or(i32::MAX),
        tv_usec: (milliseconds % 1000) as i32 * 1000,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::server::readiness::connection::{BufferPool, NonblockingConnection, TurnOutcome};
    use crate::server::readiness::retry::tests::{deaf_client, reset};

    fn ready(readable: &mut SocketSet, writable: &mut SocketSet) -> io::Result<i32> {
        let now = timeval(Duration::ZERO);
        // SAFETY: as in `Select::wait`.
        let result = unsafe { select(0, readable.as_fd_set(), writable.as_fd_set(), ptr::null_mut(), &raw const now) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    #[test]
    fn a_set_grows_past_fd_setsize_and_the_call_takes_it() {
        let sockets: Vec<WakeSocket> = (0..300).map(|_| WakeSocket::new().expect("a socket")).collect();
        for woken in [0, 63, 64, 255, 299] {
            sockets[woken].wake();
        }
        let mut set = SocketSet::default();
        sockets.iter().for_each(|socket| set.insert(raw(&socket.0)));
        assert_eq!(set.members().len(), 300);
        assert_eq!(ready(&mut set, &mut SocketSet::default()).expect("300 sockets are allowed"), 5);
        let mut found: Vec<usize> = set
            .members()
            .iter()
            .filter_map(|member| sockets.iter().position(|socket| raw(&socket.0) == *member))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [0, 63, 64, 255, 299]);
    }

    #[test]
    fn a_connection_that_only_sends_ends_when_it_is_reset_though_no_set_says_so() {
        let (sending, mut connection, context) = deaf_client();
        let (mut select, _) = Select::new().expect("a socket");
        let mut buffers = BufferPool::new(context.options().buffer);
        let register = |select: &mut Select, connection: &NonblockingConnection| {
            let socket = SockRef::from(connection.stream());
            // SAFETY: the connection outlives the last wait of `select`.
            unsafe { select.register(7, socket, connection.interest()) }.expect("it is registered");
        };
        register(&mut select, &connection);
        let end = Instant::now() + Duration::from_secs(20);
        while !only_sends(connection.interest()) {
            assert!(Instant::now() < end, "the FIN does not arrive");
            connection.turn(CAN_READ, &mut buffers);
            register(&mut select, &connection);
        }
        let mut send_again = || {
            select.report_those_that_only_send();
            assert_eq!(select.next_ready(), Some((7, CAN_WRITE)));
            connection.turn(CAN_WRITE, &mut buffers)
        };
        assert_eq!(send_again(), TurnOutcome::Keep, "the connection is whole");
        reset(sending.join().expect("no panic"));
        while send_again() != TurnOutcome::Close {
            assert!(Instant::now() < end, "the reset goes unnoticed");
        }
        assert_eq!(context.snapshot().connection_errors, 1);
    }

    #[test]
    fn an_answered_set_is_filled_again_from_nothing() {
        let mut set = SocketSet::default();
        (1..=5).for_each(|socket| set.insert(socket));
        set.words[0] = 2; // As a call that found two ready leaves it.
        assert_eq!(set.members(), [1, 2]);
        set.clear();
        assert!(set.members().is_empty());
        set.insert(7);
        assert_eq!(set.members(), [7]);
    }

    #[test]
    fn an_empty_set_is_left_out() {
        let socket = WakeSocket::new().expect("a socket");
        let mut set = SocketSet::default();
        set.insert(raw(&socket.0));
        assert_eq!(ready(&mut SocketSet::default(), &mut set).expect("without a read set"), 1, "it can be written to");
        let error = ready(&mut SocketSet::default(), &mut SocketSet::default()).expect_err("without any set");
        assert_eq!(error.raw_os_error(), Some(10022));
    }

    #[test]
    fn a_wake_is_seen_until_it_is_cleared_and_datagrams_of_others_are_not() {
        let (socket, other) = (WakeSocket::new().expect("a socket"), WakeSocket::new().expect("a socket"));
        other.0.send_to(&[1], socket.0.local_addr().expect("bound")).unwrap_or_default();
        let mut set = SocketSet::default();
        set.insert(raw(&socket.0));
        assert_eq!(
            ready(&mut set, &mut SocketSet::default()).expect("a call"),
            0,
            "a datagram of another socket does not wake it"
        );
        socket.wake();
        set.clear();
        set.insert(raw(&socket.0));
        assert_eq!(ready(&mut set, &mut SocketSet::default()).expect("a call"), 1);
        socket.clear();
        assert_eq!(ready(&mut set, &mut SocketSet::default()).expect("a call"), 0);
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let parts = |time| (timeval(time).tv_sec, timeval(time).tv_usec);
        assert_eq!(parts(Duration::from_nanos(1)), (0, 1000));
        assert_eq!(parts(Duration::from_millis(2500)), (2, 500_000));
        assert_eq!(parts(Duration::MAX).0, i32::MAX);
    }
}
