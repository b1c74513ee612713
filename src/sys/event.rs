//! Event objects, a wait for any of them, and the network events that WSAEventSelect records: small safe wrappers for
//! the models that wait on events.
//!
//! An event is a kernel object that is signalled or not. At most 64 of them (`MAXIMUM_WAIT_OBJECTS`) go into one wait;
//! more are refused, not cut off. Nothing here decides what to do with a connection.
//!
//! Sources: Microsoft, 'WaitForMultipleObjects', 'WSAEventSelect', 'WSAEnumNetworkEvents', 'CreateEventW'.

#![expect(unsafe_code, reason = "event objects and network events have no safe wrapper in std or socket2")]

use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::Networking::WinSock::{
    FD_ACCEPT, FD_CLOSE, FD_CLOSE_BIT, FD_READ, FD_READ_BIT, FD_WRITE, FD_WRITE_BIT, SOCKET, SOCKET_ERROR,
    WSAEnumNetworkEvents, WSAEventSelect, WSANETWORKEVENTS,
};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects};

/// Handles that one wait takes: `MAXIMUM_WAIT_OBJECTS` of winnt.h.
pub(crate) const MAX_WAIT: usize = 64;

/// An event object. Its handle is not inherited by child processes.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// Stays signalled until [`reset`](Self::reset), or until [`NetworkEvents::take`] resets it: what WSACreateEvent
    /// makes, and what network events and overlapped operations need.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn manual() -> io::Result<Event> {
        Self::create(true)
    }

    /// A wait that it ends resets it: a door bell.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn auto() -> io::Result<Event> {
        Self::create(false)
    }

    fn create(manual: bool) -> io::Result<Event> {
        // SAFETY: null attributes (not inheritable) and a null name are allowed; nothing else is a pointer.
        let handle = unsafe { CreateEventW(ptr::null(), i32::from(manual), 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this handle, and nobody else has it.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Another handle to the same event object.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn try_clone(&self) -> io::Result<Event> {
        self.0.try_clone().map(Event)
    }

    /// For the `hEvent` of an OVERLAPPED.
    pub(crate) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Signals it: a wait for it ends, now or when it begins.
    pub(crate) fn set(&self) {
        // SAFETY: the handle is open as long as `self` lives. It fails only for a handle that is no event's.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Takes the signal back.
    pub(crate) fn reset(&self) {
        // SAFETY: as for `set`.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
    }

    /// The first of `events` that is signalled, by its index; `None`: `limit` has passed. Without a limit it waits on.
    ///
    /// The lowest index wins, always: a busy event hides the ones behind it, so look at the rest too.
    ///
    /// # Errors
    /// No events, or more than [`MAX_WAIT`]: ERROR_INVALID_PARAMETER (87).
    pub(crate) fn wait_any(events: &[Event], limit: Option<Duration>) -> io::Result<Option<usize>> {
        let count = events.len() as u32;
        // SAFETY: `Event` and `OwnedHandle` are transparent over a handle, so the slice is an array of `count` handles,
        // all open for the length of the call since the slice is borrowed.
        let result = unsafe { WaitForMultipleObjects(count, events.as_ptr().cast(), 0, milliseconds(limit)) };
        match result {
            WAIT_TIMEOUT => Ok(None),
            WAIT_FAILED => Err(io::Error::last_os_error()),
            // WAIT_ABANDONED_0 is for mutexes, WAIT_IO_COMPLETION for alertable waits.
            index => Ok(Some((index - WAIT_OBJECT_0) as usize)),
        }
    }
}

/// Whole milliseconds, rounded up so that a wait never ends before its time and spins; no limit is INFINITE.
pub(crate) fn milliseconds(limit: Option<Duration>) -> u32 {
    limit.map_or(INFINITE, |limit| {
        u32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE - 1).min(INFINITE - 1)
    })
}

/// The network events of one socket since the last look.
#[derive(Clone, Copy)]
pub(crate) struct NetworkEvents(WSANETWORKEVENTS);

impl NetworkEvents {
    /// Associates a connection with an event: [`can_read`](Self::can_read), [`can_write`](Self::can_write),
    /// [`is_closed`](Self::is_closed). The socket becomes nonblocking.
    ///
    /// It replaces whatever association was there, such as the one that an accepted socket inherits from its listener.
    /// What is there already (data, room to send, a FIN) is recorded and signalled at once.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_connection(socket: &impl AsRawSocket, event: &Event) -> io::Result<()> {
        Self::select(socket, event, FD_READ | FD_WRITE | FD_CLOSE)
    }

    /// Associates a listener with an event: [`can_accept`](Self::can_accept). The socket becomes nonblocking.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_listener(socket: &impl AsRawSocket, event: &Event) -> io::Result<()> {
        Self::select(socket, event, FD_ACCEPT)
    }

    fn select(socket: &impl AsRawSocket, event: &Event, events: u32) -> io::Result<()> {
        // SAFETY: both handles are open as long as they are borrowed. Winsock keeps its own reference to the event
        // object.
        let result = unsafe { WSAEventSelect(raw(socket), event.0.as_raw_handle() as isize, events as i32) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What happened, cleared together with the event: nothing that happens in between can be lost.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn take(socket: &impl AsRawSocket, event: &Event) -> io::Result<NetworkEvents> {
        let mut events = WSANETWORKEVENTS { lNetworkEvents: 0, iErrorCode: [0; 10] };
        // SAFETY: both handles are open as long as they are borrowed, and `events` is live and of the type that is
        // written.
        let result = unsafe { WSAEnumNetworkEvents(raw(socket), event.0.as_raw_handle() as isize, &raw mut events) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(NetworkEvents(events)) }
    }

    /// Somebody waits to be accepted. It comes again only after the next accept.
    pub(crate) fn can_accept(&self) -> bool {
        self.has(FD_ACCEPT)
    }

    /// There is something to receive. It comes again only after the next receive.
    pub(crate) fn can_read(&self) -> bool {
        self.has(FD_READ)
    }

    /// There is room to send. It comes once after the association, then only after a send that would have blocked.
    pub(crate) fn can_write(&self) -> bool {
        self.has(FD_WRITE)
    }

    /// The peer's FIN or reset has come. It comes once, and data may be left to receive.
    pub(crate) fn is_closed(&self) -> bool {
        self.has(FD_CLOSE)
    }

    /// One of them came with an error, such as a reset: there is nothing more to receive or to send.
    pub(crate) fn is_broken(&self) -> bool {
        // An error is written only where its event is noted.
        [(FD_READ, FD_READ_BIT), (FD_WRITE, FD_WRITE_BIT), (FD_CLOSE, FD_CLOSE_BIT)]
            .into_iter()
            .any(|(event, bit)| self.has(event) && self.0.iErrorCode[bit as usize] != 0)
    }

    fn has(&self, event: u32) -> bool {
        self.0.lNetworkEvents as u32 & event != 0
    }
}

fn raw(socket: &impl AsRawSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_64_events_and_refuses_the_65th() {
        let mut events: Vec<Event> = (0..MAX_WAIT).map(|_| Event::manual().expect("an event")).collect();
        events[MAX_WAIT - 1].set();
        let index = Event::wait_any(&events, None).expect("64 are allowed");
        assert_eq!(index, Some(MAX_WAIT - 1));
        events.push(Event::manual().expect("an event"));
        let error = Event::wait_any(&events, None).expect_err("65 are not");
        assert_eq!(error.raw_os_error(), Some(87));
        Event::wait_any(&[], None).expect_err("nor are none");
    }

    #[test]
    fn the_lowest_index_hides_the_others() {
        let events: Vec<Event> = (0..3).map(|_| Event::manual().expect("an event")).collect();
        events[1].set();
        events[2].set();
        assert_eq!(Event::wait_any(&events, None).expect("a wait"), Some(1));
        assert_eq!(Event::wait_any(&events[2..], None).expect("a wait"), Some(0), "it is found in the rest");
    }

    #[test]
    fn a_bell_resets_itself_and_a_manual_event_does_not() {
        let events = [Event::auto().expect("an event")];
        events[0].try_clone().expect("a second handle").set();
        assert_eq!(Event::wait_any(&events, Some(Duration::ZERO)).expect("a wait"), Some(0));
        assert_eq!(Event::wait_any(&events, Some(Duration::ZERO)).expect("a wait"), None);

        let events = [Event::manual().expect("an event")];
        events[0].set();
        assert_eq!(Event::wait_any(&events, Some(Duration::ZERO)).expect("a wait"), Some(0));
        assert_eq!(Event::wait_any(&events, Some(Duration::ZERO)).expect("a wait"), Some(0));
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked_and_a_long_one_is_not_endless() {
        assert_eq!(milliseconds(Some(Duration::from_micros(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_millis(20))), 20);
        assert_eq!(milliseconds(Some(Duration::MAX)), INFINITE - 1);
        assert_eq!(milliseconds(None), INFINITE);
    }
}
