//! The Windows half. A set is a count and an array of that many sockets (no bit map: a SOCKET is a handle, not a small
//! number), and FD_SETSIZE is only how long the array of the header's own type is. The call reads the count; so the
//! sets here are arrays as long as there are sockets, and 64 is a number like others.
//!
//! What else is different here:
//! - A set that is given but empty is an error (WSAEINVAL), as are three sets that are not given. So the write set is
//!   left out while no connection has a backlog; the read set always holds the door bell.
//! - A broken connection is said to be readable, and the documentation says nothing of writable. One that only waits to
//!   send, since its buffer is full or its peer's FIN has come, is not asked whether it is readable; so it sends again
//!   from time to time: see `retry`.
//! - The call watches sockets only, no events and no pipes. So the bell is a UDP socket that is connected to itself on
//!   the loopback address: it takes datagrams from nobody else.
//!
//! Source: Microsoft, 'select function', 'fd_set structure'.

#![expect(unsafe_code, reason = "neither std nor socket2 has select")]

use std::collections::HashMap;
use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::windows::io::AsRawSocket;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Networking::WinSock::{FD_SET, SOCKET, SOCKET_ERROR, TIMEVAL, select};

use crate::server::context::{Context, Phase};
use crate::server::readiness::connection::{BufferPool, NonblockingConnection, Ready, TurnOutcome};
use crate::server::readiness::crew::{self, Worker};
use crate::server::readiness::retry::{Retry, only_sends};

const READ: Ready = Ready { read: true, write: false, hangup: false };
const WRITE: Ready = Ready { read: false, write: true, hangup: false };

pub(in crate::server::models) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    crew::run(listener, context, serve)
}

fn serve(worker: &mut Worker) -> io::Result<()> {
    let bell = Arc::new(Bell::new()?);
    let of_wake = Arc::clone(&bell);
    worker.ready(move || of_wake.ring());
    let mut sockets = Sockets::default();
    loop {
        for connection in worker.adopt() {
            sockets.add(connection);
        }
        match worker.phase() {
            Phase::Run => {}
            Phase::Drain if sockets.connections.is_empty() && worker.is_done() => return Ok(()),
            Phase::Drain => {}
            Phase::Abort => {
                sockets.connections.into_values().for_each(NonblockingConnection::abort);
                return Ok(());
            }
        }

        let timeout = worker.timeout();
        let listener = worker.listening().map(raw);
        sockets.wait([Some(raw(&bell.0)), listener], timeout)?;

        // One that is ready for both has two turns; the sockets that follow it wait that little longer.
        for at in 0..sockets.writable.members().len() {
            sockets.turn(sockets.writable.members()[at], WRITE, &mut worker.pool);
        }
        for at in 0..sockets.readable.members().len() {
            let socket = sockets.readable.members()[at];
            if socket == raw(&bell.0) {
                bell.clear();
            } else if Some(socket) == listener {
                worker.accept();
            } else {
                sockets.turn(socket, READ, &mut worker.pool);
            }
        }
        if sockets.retry.is_due() {
            sockets.send_again(&mut worker.pool);
        }
        if let Some(now) = worker.sweep_due() {
            sockets.close_idle(now);
        }
    }
}

/// One worker's connections, and the sets that watch them: asked for before the call, answered after it.
#[derive(Default)]
struct Sockets {
    connections: HashMap<SOCKET, NonblockingConnection>,
    readable: FdSet,
    writable: FdSet,
    retry: Retry,
}

impl Sockets {
    fn add(&mut self, connection: NonblockingConnection) {
        self.connections.insert(raw(connection.stream()), connection);
    }

    fn turn(&mut self, socket: SOCKET, ready: Ready, pool: &mut BufferPool) {
        // One that its other turn has closed is gone. Its handle is not given out anew before the next call: a
        // connection that is accepted meanwhile is added only then.
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if connection.turn(ready, pool) == TurnOutcome::Close {
            drop(self.connections.remove(&socket));
        }
    }

    /// Those that only wait to send, whether they can or not: it shows which of them are broken.
    fn send_again(&mut self, pool: &mut BufferPool) {
        let only_send = self.connections.iter().filter(|(_, connection)| only_sends(connection.interest()));
        let sockets: Vec<SOCKET> = only_send.map(|(socket, _)| *socket).collect();
        sockets.into_iter().for_each(|socket| self.turn(socket, WRITE, pool));
    }

    fn close_idle(&mut self, now: Instant) {
        self.connections.retain(|_, connection| !connection.is_idle(now));
    }

    /// Waits for what the connections are interested in, and for the `others` to be readable.
    fn wait(&mut self, others: [Option<SOCKET>; 2], timeout: Option<Duration>) -> io::Result<()> {
        // The last call has overwritten the sets with its answer, so they are laid anew.
        self.readable.clear();
        self.writable.clear();
        others.into_iter().flatten().for_each(|socket| self.readable.insert(socket));
        let mut some_only_send = false;
        for (socket, connection) in &self.connections {
            let interest = connection.interest();
            some_only_send |= only_sends(interest);
            if interest.read {
                self.readable.insert(*socket);
            }
            if interest.write {
                self.writable.insert(*socket);
            }
        }
        let timeout = self.retry.limit(some_only_send, timeout).map(timeval);
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: each set is null or has the layout of an fd_set whose array is as long as its count says, and is
        // borrowed mutably; the call only ever shortens it. The time-out is null or lives. The first argument is
        // ignored.
        let result =
            unsafe { select(0, self.readable.as_fd_set(), self.writable.as_fd_set(), ptr::null_mut(), timeout) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// An fd_set with an array of any length.
struct FdSet {
    /// The count as one word, then the sockets. With its padding the count is as long as a socket, and Windows is
    /// little-endian everywhere; so this is the layout of an fd_set.
    words: Vec<SOCKET>,
}

const _: () = {
    assert!(offset_of!(FD_SET, fd_count) == 0 && offset_of!(FD_SET, fd_array) == size_of::<SOCKET>());
    assert!(align_of::<FD_SET>() == align_of::<SOCKET>());
    assert!(cfg!(target_endian = "little"));
};

impl Default for FdSet {
    fn default() -> Self {
        FdSet { words: vec![0] }
    }
}

impl FdSet {
    fn clear(&mut self) {
        self.words.truncate(1);
        self.words[0] = 0;
    }

    /// Adds a socket that is not in it yet. Not after a call has answered: see [`clear`](Self::clear).
    fn insert(&mut self, socket: SOCKET) {
        self.words.push(socket);
        self.words[0] += 1;
    }

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

/// Interrupts the wait: a UDP socket that is connected to itself.
struct Bell(UdpSocket);

impl Bell {
    fn new() -> io::Result<Bell> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Bell(socket))
    }

    fn ring(&self) {
        // When its buffer is full it can be heard already.
        let _ = self.0.send(&[1]);
    }

    /// Takes back what was rung, so that the next wait waits. It may leave some; then that wait returns once more.
    fn clear(&self) {
        let _ = self.0.recv(&mut [0; 1]);
    }
}

fn raw(socket: &impl AsRawSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
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
    use super::*;
    use crate::server::readiness::retry::tests::{deaf_client, reset};

    fn ready(readable: &mut FdSet, writable: &mut FdSet) -> io::Result<i32> {
        let now = timeval(Duration::ZERO);
        // SAFETY: as in `Sockets::wait`.
        let result = unsafe { select(0, readable.as_fd_set(), writable.as_fd_set(), ptr::null_mut(), &raw const now) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    #[test]
    fn a_set_grows_past_fd_setsize_and_the_call_takes_it() {
        let bells: Vec<Bell> = (0..300).map(|_| Bell::new().expect("a socket")).collect();
        for rung in [0, 63, 64, 255, 299] {
            bells[rung].ring();
        }
        let mut set = FdSet::default();
        bells.iter().for_each(|bell| set.insert(raw(&bell.0)));
        assert_eq!(set.members().len(), 300);
        assert_eq!(ready(&mut set, &mut FdSet::default()).expect("300 sockets are allowed"), 5);
        let mut heard: Vec<usize> =
            set.members().iter().filter_map(|member| bells.iter().position(|bell| raw(&bell.0) == *member)).collect();
        heard.sort_unstable();
        assert_eq!(heard, [0, 63, 64, 255, 299]);
    }

    #[test]
    fn a_connection_that_only_sends_ends_when_it_is_reset_though_no_set_says_so() {
        let (sending, connection, context) = deaf_client();
        let (mut sockets, mut pool) = (Sockets::default(), BufferPool::new(context.options().buffer));
        let socket = raw(connection.stream());
        sockets.add(connection);
        let end = Instant::now() + Duration::from_secs(20);
        while !only_sends(sockets.connections[&socket].interest()) {
            assert!(Instant::now() < end, "the FIN does not come");
            sockets.turn(socket, READ, &mut pool);
        }
        sockets.send_again(&mut pool);
        assert_eq!(sockets.connections.len(), 1, "it is well");
        reset(sending.join().expect("no panic"));
        while !sockets.connections.is_empty() {
            assert!(Instant::now() < end, "the reset is not found");
            sockets.send_again(&mut pool);
        }
        assert_eq!(context.snapshot().connection_errors, 1);
    }

    #[test]
    fn an_answered_set_is_laid_anew_from_nothing() {
        let mut set = FdSet::default();
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
        let bell = Bell::new().expect("a socket");
        let mut set = FdSet::default();
        set.insert(raw(&bell.0));
        assert_eq!(ready(&mut FdSet::default(), &mut set).expect("without a read set"), 1, "it can be written to");
        let error = ready(&mut FdSet::default(), &mut FdSet::default()).expect_err("without any set");
        assert_eq!(error.raw_os_error(), Some(10022));
    }

    #[test]
    fn a_bell_is_heard_until_it_is_cleared_and_by_nobody_else() {
        let (bell, other) = (Bell::new().expect("a socket"), Bell::new().expect("a socket"));
        other.0.send_to(&[1], bell.0.local_addr().expect("bound")).unwrap_or_default();
        let mut set = FdSet::default();
        set.insert(raw(&bell.0));
        assert_eq!(ready(&mut set, &mut FdSet::default()).expect("a call"), 0, "a stranger does not ring it");
        bell.ring();
        set.clear();
        set.insert(raw(&bell.0));
        assert_eq!(ready(&mut set, &mut FdSet::default()).expect("a call"), 1);
        bell.clear();
        assert_eq!(ready(&mut set, &mut FdSet::default()).expect("a call"), 0);
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let parts = |time| (timeval(time).tv_sec, timeval(time).tv_usec);
        assert_eq!(parts(Duration::from_nanos(1)), (0, 1000));
        assert_eq!(parts(Duration::from_millis(2500)), (2, 500_000));
        assert_eq!(parts(Duration::MAX).0, i32::MAX);
    }
}
