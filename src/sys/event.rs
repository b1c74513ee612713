//! Safe wrappers for the Windows models that wait on events: event objects, a wait for any of them, and the network
//! events that WSAEventSelect records.
//!
//! An event is a kernel object that is either signalled or not. One wait takes at most 64 of them
//! (`MAXIMUM_WAIT_OBJECTS`); with more the wait fails. Nothing here decides what to do with a connection.
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

/// The most handles that one wait takes: `MAXIMUM_WAIT_OBJECTS` of winnt.h.
pub(crate) const MAX_WAIT: usize = 64;

/// An event object. Child processes do not inherit its handle.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// Makes an event that stays signalled until [`reset`](Self::reset) or [`NetworkEvents::take`] resets it, as
    /// WSACreateEvent does. Network events and overlapped operations need this kind.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn manual() -> io::Result<Event> {
        Self::create(true)
    }

    /// Makes an event that is reset by the wait that it ends.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn auto() -> io::Result<Event> {
        Self::create(false)
    }

    fn create(manual: bool) -> io::Result<Event> {
        // SAFETY: both pointers may be null: default attributes (the handle is not inheritable), and no name.
        let handle = unsafe { CreateEventW(ptr::null(), i32::from(manual), 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this open handle, and nobody else owns it.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Makes another handle to the same event object.
    ///
    /// # Errors
    /// The system's: out of handles or memory.
    pub(crate) fn try_clone(&self) -> io::Result<Event> {
        self.0.try_clone().map(Event)
    }

    /// The handle, for the `hEvent` of an OVERLAPPED. It is open as long as `self` lives.
    pub(crate) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Signals the event: ends a wait for it, now or as soon as one begins.
    pub(crate) fn set(&self) {
        // SAFETY: the handle is open as long as `self` lives. The call fails only for a handle that is not an event.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Makes the event not signalled.
    pub(crate) fn reset(&self) {
        // SAFETY: as for `set`.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
    }

    /// Waits until one of `events` is signalled, and returns its index. `None`: `limit` has passed first. Without a
    /// limit it waits for ever.
    ///
    /// If several are signalled, the lowest index is returned. So a busy event hides those behind it: look at them too.
    ///
    /// # Errors
    /// ERROR_INVALID_PARAMETER (87) if there are no events, or more than [`MAX_WAIT`].
    pub(crate) fn wait_any(events: &[Event], limit: Option<Duration>) -> io::Result<Option<usize>> {
        // A count that does not fit is refused by the call, like any other above the limit.
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        // SAFETY: `Event` and `OwnedHandle` are transparent over a handle, so the slice is an array of handles, and
        // `count` is at most its length. All handles are open during the call because the slice is borrowed.
        let result = unsafe { WaitForMultipleObjects(count, events.as_ptr().cast(), 0, milliseconds(limit)) };
        match result {
            WAIT_TIMEOUT => Ok(None),
            WAIT_FAILED => Err(io::Error::last_os_error()),
            // The other results do not occur: WAIT_ABANDONED_0 is for mutexes, WAIT_IO_COMPLETION for alertable waits.
            index => Ok(Some((index - WAIT_OBJECT_0) as usize)),
        }
    }
}

/// Converts a time limit to whole milliseconds, INFINITE without a limit. It rounds up: a wait that ended too early
/// would be repeated in a busy loop.
pub(crate) fn milliseconds(limit: Option<Duration>) -> u32 {
    limit.map_or(INFINITE, |limit| {
        u32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE - 1).min(INFINITE - 1)
    })
}

/// The network events of one socket since they were last taken.
#[derive(Clone, Copy)]
pub(crate) struct NetworkEvents(WSANETWORKEVENTS);

impl NetworkEvents {
    /// Associates a connection with an event, which is signalled when [`can_read`](Self::can_read),
    /// [`can_write`](Self::can_write) or [`is_closed`](Self::is_closed) becomes true. The socket becomes nonblocking.
    ///
    /// This replaces any earlier association, such as the one that an accepted socket inherits from its listener.
    /// Conditions that already hold (data, room to send, a FIN) are recorded and signalled at once.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_connection(socket: &impl AsRawSocket, event: &Event) -> io::Result<()> {
        Self::select(socket, event, FD_READ | FD_WRITE | FD_CLOSE)
    }

    /// Associates a listener with an event, which is signalled when [`can_accept`](Self::can_accept) becomes true. The
    /// socket becomes nonblocking.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_listener(socket: &impl AsRawSocket, event: &Event) -> io::Result<()> {
        Self::select(socket, event, FD_ACCEPT)
    }

    fn select(socket: &impl AsRawSocket, event: &Event, events: u32) -> io::Result<()> {
        // SAFETY: the socket and the event are borrowed, so both handles are open during the call. Winsock keeps a
        // handle and no pointer, so nothing can be written to memory after the event is closed.
        let result = unsafe { WSAEventSelect(raw(socket), event.0.as_raw_handle() as isize, events as i32) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes the recorded events and resets the event object in one step, so that nothing is lost between the two.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn take(socket: &impl AsRawSocket, event: &Event) -> io::Result<NetworkEvents> {
        let mut events = WSANETWORKEVENTS { lNetworkEvents: 0, iErrorCode: [0; 10] };
        // SAFETY: the socket and the event are borrowed, so both handles are open during the call, which writes the
        // live `events` and nothing else.
        let result = unsafe { WSAEnumNetworkEvents(raw(socket), event.0.as_raw_handle() as isize, &raw mut events) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(NetworkEvents(events)) }
    }

    /// A connection waits to be accepted. Recorded again only after the next accept.
    pub(crate) fn can_accept(&self) -> bool {
        self.has(FD_ACCEPT)
    }

    /// There is something to receive. Recorded again only after the next receive.
    pub(crate) fn can_read(&self) -> bool {
        self.has(FD_READ)
    }

    /// There is room to send. Recorded once after the association, and then only after a send that would have blocked.
    pub(crate) fn can_write(&self) -> bool {
        self.has(FD_WRITE)
    }

    /// The peer's FIN or reset has arrived. Recorded once; there may still be data to receive.
    pub(crate) fn is_closed(&self) -> bool {
        self.has(FD_CLOSE)
    }

    /// One of the events carries an error, such as a reset: nothing more can be received or sent.
    pub(crate) fn is_broken(&self) -> bool {
        // The error of an event is valid only if the event is recorded.
        [(FD_READ, FD_READ_BIT), (FD_WRITE, FD_WRITE_BIT), (FD_CLOSE, FD_CLOSE_BIT)]
            .into_iter()
            .any(|(event, bit)| self.has(event) && self.0.iErrorCode[bit as usize] != 0)
    }

    fn has(&self, event: u32) -> bool {
        self.0.lNetworkEvents as u32 & event != 0
    }
}

/// The socket as Winsock names it.
pub(crate) fn raw(socket: &impl AsRawSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_64_events_and_refuses_the_65th() {
        let mut events: Vec<Event> = (0..MAX_WAIT).map(|_| Event::manual().expect("an event can be made")).collect();
        events[MAX_WAIT - 1].set();
        let index = Event::wait_any(&events, None).expect("a wait takes 64 events");
        assert_eq!(index, Some(MAX_WAIT - 1));
        events.push(Event::manual().expect("an event can be made"));
        let error = Event::wait_any(&events, None).expect_err("a wait does not take 65 events");
        assert_eq!(error.raw_os_error(), Some(87));
        Event::wait_any(&[], None).expect_err("a wait needs an event");
    }

    #[test]
    fn the_lowest_signalled_index_hides_the_others() {
        let events: Vec<Event> = (0..3).map(|_| Event::manual().expect("an event can be made")).collect();
        events[1].set();
        events[2].set();
        assert_eq!(Event::wait_any(&events, None).expect("the wait succeeds"), Some(1));
        let found = Event::wait_any(&events[2..], None).expect("the wait succeeds");
        assert_eq!(found, Some(0), "a wait for the rest finds the other");
    }

    #[test]
    fn a_wait_resets_an_auto_event_and_leaves_a_manual_one_signalled() {
        let poll = |events: &[Event]| Event::wait_any(events, Some(Duration::ZERO)).expect("the wait succeeds");
        let auto = [Event::auto().expect("an event can be made")];
        auto[0].try_clone().expect("a handle can be duplicated").set();
        assert_eq!([poll(&auto), poll(&auto)], [Some(0), None]);

        let manual = [Event::manual().expect("an event can be made")];
        manual[0].set();
        assert_eq!([poll(&manual), poll(&manual)], [Some(0), Some(0)]);
    }

    #[test]
    fn a_limit_is_never_rounded_down_and_a_long_one_is_not_infinite() {
        assert_eq!(milliseconds(Some(Duration::from_micros(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_millis(20))), 20);
        assert_eq!(milliseconds(Some(Duration::MAX)), INFINITE - 1);
        assert_eq!(milliseconds(None), INFINITE);
    }
}
