//! kqueue on Linux, for tests alone. `scripts/kqueue` builds with `--cfg libkqueue`; then the model `kqueue` runs over
//! libkqueue, a C library that answers kqueue(2) and kevent(2) by epoll. The names are those of
//! `rustix::event::kqueue`, as far as the model uses them, so that the model is the same code.

#![expect(unsafe_code, reason = "calls of a C library")]

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

const EVFILT_READ: i16 = -1;
const EVFILT_WRITE: i16 = -2;

/// `struct kevent` of libkqueue.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Event {
    ident: usize,
    filter: i16,
    flags: EventFlags,
    fflags: u32,
    data: isize,
    udata: *mut c_void,
}

/// The filters that the model uses.
#[derive(Clone, Copy)]
pub(crate) enum EventFilter {
    Read(RawFd),
    Write(RawFd),
}

/// What to do to a filter, and what an event says.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct EventFlags(u16);

impl EventFlags {
    pub(crate) const ADD: EventFlags = EventFlags(0x0001);
    pub(crate) const DELETE: EventFlags = EventFlags(0x0002);
    pub(crate) const ERROR: EventFlags = EventFlags(0x4000);
    pub(crate) const EOF: EventFlags = EventFlags(0x8000);

    pub(crate) fn intersects(self, other: EventFlags) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for EventFlags {
    type Output = EventFlags;

    fn bitor(self, other: EventFlags) -> EventFlags {
        EventFlags(self.0 | other.0)
    }
}

impl Event {
    pub(crate) fn new(filter: EventFilter, flags: EventFlags, udata: *mut c_void) -> Event {
        let (filter, descriptor) = match filter {
            EventFilter::Read(descriptor) => (EVFILT_READ, descriptor),
            EventFilter::Write(descriptor) => (EVFILT_WRITE, descriptor),
        };
        Event { ident: descriptor as usize, filter, flags, fflags: 0, data: 0, udata }
    }

    pub(crate) fn filter(&self) -> EventFilter {
        let descriptor = self.ident as RawFd;
        if self.filter == EVFILT_READ { EventFilter::Read(descriptor) } else { EventFilter::Write(descriptor) }
    }

    pub(crate) fn flags(&self) -> EventFlags {
        self.flags
    }

    pub(crate) fn udata(&self) -> *mut c_void {
        self.udata
    }
}

/// Where events go.
pub(crate) trait Buffer {
    fn parts(&mut self) -> (*mut Event, usize);

    /// # Safety
    /// `count` events more were written, and they fit.
    unsafe fn assume_init(self, count: usize);
}

impl Buffer for &mut [Event] {
    fn parts(&mut self) -> (*mut Event, usize) {
        (self.as_mut_ptr(), self.len())
    }

    unsafe fn assume_init(self, _: usize) {}
}

impl Buffer for &mut Vec<Event> {
    fn parts(&mut self) -> (*mut Event, usize) {
        let spare = self.spare_capacity_mut();
        (spare.as_mut_ptr().cast(), spare.len())
    }

    unsafe fn assume_init(self, count: usize) {
        let length = self.len() + count;
        // SAFETY: the caller guarantees that the events up to there were written.
        unsafe { self.set_len(length) };
    }
}

/// The room behind the events that are there.
pub(crate) fn spare_capacity(events: &mut Vec<Event>) -> &mut Vec<Event> {
    events
}

mod c {
    use super::{Event, c_int};

    #[link(name = "kqueue")]
    unsafe extern "C" {
        pub(super) safe fn kqueue() -> c_int;
        pub(super) fn kevent(
            kqueue: c_int,
            changes: *const Event,
            change_count: c_int,
            events: *mut Event,
            event_count: c_int,
            timeout: *const libc::timespec,
        ) -> c_int;
    }
}

pub(crate) fn kqueue() -> Result<OwnedFd, Errno> {
    let descriptor = c::kqueue();
    if descriptor < 0 {
        return Err(last_error());
    }
    // SAFETY: the descriptor is new, and nothing else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// The descriptors of the changes are open now. A filter that outlives its descriptor reports at worst a token that is
/// in no use, or that of another socket.
pub(crate) unsafe fn kevent(
    kqueue: &OwnedFd,
    changes: &[Event],
    buffer: impl Buffer,
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    let failed = match call(kqueue, changes, buffer, timeout) {
        Ok(()) => return Ok(()),
        Err(failed) => failed,
    };
    let [change] = changes else { return Err(failed) };
    if !change.flags.intersects(EventFlags::ADD) {
        return Err(failed);
    }
    // A kernel takes the filters of a closed descriptor out. libkqueue cannot know of the close (its BUGS.md), so the
    // old filters are in the way of the next socket with that number. Without a timeout, as no caller that adds waits.
    for filter in [EVFILT_READ, EVFILT_WRITE] {
        let _ = call(kqueue, &[Event { filter, flags: EventFlags::DELETE, ..*change }], &mut [][..], None);
    }
    call(kqueue, changes, &mut [][..], None)
}

fn call(kqueue: &OwnedFd, changes: &[Event], mut buffer: impl Buffer, timeout: Option<Duration>) -> Result<(), Errno> {
    let (events, room) = buffer.parts();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let kqueue = kqueue.as_raw_fd();
    // SAFETY: the changes, the room for events and the time outlive the call, and the counts are theirs.
    let count = unsafe { c::kevent(kqueue, changes.as_ptr(), changes.len() as c_int, events, room as c_int, timeout) };
    if count < 0 {
        return Err(last_error());
    }
    // SAFETY: libkqueue has written that number of events, from the start of the room on.
    unsafe { buffer.assume_init(count as usize) };
    Ok(())
}

/// libkqueue refuses some changes without an error number.
fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
