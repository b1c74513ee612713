//! A message-only window as a wait: posted messages, a timer, and the sockets that WSAAsyncSelect ties to it.
//!
//! A window belongs to the thread that made it, and so does its message queue; anybody may post to it. Message-only
//! (HWND_MESSAGE): it is never seen, needs no desktop, and gets no broadcasts.
//!
//! It has no window procedure of its own. Posted messages wait in the queue until GetMessage takes them, and what
//! GetMessage returned can be looked at right there; only *sent* messages are given to a procedure, and nobody sends
//! one here. So no code of this program is called by the system, and no panic can unwind through it.
//!
//! Sources: Microsoft, 'Window Features' (message-only windows), 'About Messages and Message Queues', 'PostMessageW',
//! 'SetTimer', 'WSAAsyncSelect'.

#![expect(unsafe_code, reason = "windows and messages have no safe wrapper in std or socket2")]

use std::io;
use std::marker::PhantomData;
use std::os::windows::io::AsRawSocket;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::HWND;
use windows_sys::Win32::Networking::WinSock::{SOCKET, SOCKET_ERROR, WSAAsyncSelect};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DestroyWindow, GetMessageW, HWND_MESSAGE, KillTimer, MSG, PostMessageW, SetTimer, WM_APP, WM_TIMER,
};
use windows_sys::w;

use crate::sys::event::milliseconds;

/// Rings the bell. The rest of WM_APP..=0xBFFF, the range for a program's own messages, is for sockets.
const WAKE: u32 = WM_APP;
/// Message numbers that may stand for a registration of a socket: 1 up to this.
pub(super) const NUMBERS: u16 = 0xBFFF - WM_APP as u16;

/// How often a window is tried for, and the time between: longer than Wine takes to start its desktop.
const TRIES: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Comes back when message-only windows can be made, or when there is a reason why not; at the latest after 10 seconds.
///
/// Wine makes its desktop when the first window is asked for, by a process of its own. A thread that asks while that
/// process has made the desktop's window, and not yet the parent of message-only windows, gets none then or ever: Wine
/// notes both for each thread once (seen on 8.0: of 600 threads that began a millisecond apart 1 to 24 were refused,
/// with error 0). Nothing tells when the desktop is whole, so it is tried, on threads that do nothing else. On Windows
/// the first try is the last.
fn await_desktop() {
    for _ in 0..TRIES {
        let made = thread::Builder::new().spawn(|| Window::make().map(drop)).map(thread::JoinHandle::join);
        match made {
            Ok(Ok(Err(error))) if gives_no_reason(&error) => thread::sleep(BETWEEN_TRIES),
            _ => return,
        }
    }
}

fn gives_no_reason(error: &io::Error) -> bool {
    error.raw_os_error() == Some(0)
}

/// What the queue gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A waker was called.
    Wake,
    /// A timer, by its number.
    Timer(usize),
    /// Something happened on a socket.
    Socket(Notice),
    /// A message that nobody here has posted.
    Other,
}

/// What WSAAsyncSelect posts, or [`Window::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// The number that the socket was registered with.
    pub(super) number: u16,
    /// Its handle; it may have been closed since, and given out anew.
    pub(super) socket: SOCKET,
    /// One of FD_READ, FD_WRITE, FD_CLOSE, FD_ACCEPT; 0 is a mark.
    pub(super) event: u32,
    /// An error of Winsock, or 0.
    pub(super) error: u32,
}

impl Message {
    /// 'The low word of lParam is the network event, the high word its error; wParam is the socket.'
    fn of(number: u32, wparam: usize, lparam: isize) -> Message {
        match number {
            WM_TIMER => Message::Timer(wparam),
            WAKE => Message::Wake,
            _ => match number.checked_sub(WAKE).and_then(|number| u16::try_from(number).ok()) {
                Some(number @ 1..=NUMBERS) => {
                    let both = lparam as u32;
                    Message::Socket(Notice { number, socket: wparam, event: both & 0xFFFF, error: both >> 16 })
                }
                _ => Message::Other,
            },
        }
    }
}

/// A message-only window, on the thread that has made it.
pub(super) struct Window {
    poster: Poster,
    /// Only its own thread can take its messages or destroy it.
    not_send: PhantomData<*const ()>,
}

impl Window {
    /// # Errors
    /// The system's: out of windows or memory.
    pub(super) fn new() -> io::Result<Window> {
        static DESKTOP: Once = Once::new();
        DESKTOP.call_once(await_desktop);
        Window::make().map_err(|error| match gives_no_reason(&error) {
            true => io::Error::other("no window can be made, and the system gives no reason"),
            false => error,
        })
    }

    fn make() -> io::Result<Window> {
        let none = ptr::null_mut();
        // SAFETY: the class, one that every process has, is a null-terminated constant; everything else may be null.
        let window = unsafe {
            CreateWindowExW(0, w!("STATIC"), ptr::null(), 0, 0, 0, 0, 0, HWND_MESSAGE, none, none, ptr::null())
        };
        if window.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Window { poster: Poster { window, rung: Arc::default() }, not_send: PhantomData })
    }

    /// Rings from any thread.
    pub(super) fn poster(&self) -> Poster {
        self.poster.clone()
    }

    /// Ties a socket to the window under a message number; the socket becomes nonblocking. It replaces whatever tie was
    /// there, such as the one that an accepted socket inherits from its listener. What is there already (data, room to
    /// send, a FIN) is posted at once.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn select(&self, socket: &impl AsRawSocket, number: u16, events: u32) -> io::Result<()> {
        debug_assert!((1..=NUMBERS).contains(&number));
        let message = WAKE + u32::from(number);
        // SAFETY: the window lives as long as `self`, the socket is open as long as it is borrowed.
        let result =
            unsafe { WSAAsyncSelect(socket.as_raw_socket() as SOCKET, self.poster.window, message, events as i32) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Posts a notice of no event under a message number. When it is taken, so was all that had been posted before.
    ///
    /// # Errors
    /// The system's: the queue is full.
    pub(super) fn mark(&self, number: u16) -> io::Result<()> {
        debug_assert!((1..=NUMBERS).contains(&number));
        // SAFETY: the window lives as long as `self`; the message has no pointers in it.
        let posted = unsafe { PostMessageW(self.poster.window, WAKE + u32::from(number), 0, 0) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Gives a [`Message::Timer`] again and again, when nothing else waits in the queue. `timer` is not 0; one that
    /// runs begins anew.
    ///
    /// # Errors
    /// The system's: out of timers.
    pub(super) fn start_timer(&self, timer: usize, time: Duration) -> io::Result<()> {
        // SAFETY: the window lives as long as `self`; without a function the timer posts a message.
        let timer = unsafe { SetTimer(self.poster.window, timer, milliseconds(Some(time)), None) };
        if timer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends a timer. One message of it may still come.
    pub(super) fn stop_timer(&self, timer: usize) {
        // SAFETY: the window lives as long as `self`. It fails only for a timer that does not run.
        unsafe { KillTimer(self.poster.window, timer) };
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn next(&self) -> io::Result<Message> {
        let mut message = MSG::default();
        // SAFETY: `message` is live and of the type that is written; the window lives as long as `self`.
        let result = unsafe { GetMessageW(&raw mut message, self.poster.window, 0, 0) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
        let message = Message::of(message.message, message.wParam, message.lParam);
        if message == Message::Wake {
            // Before its listener looks at what it was rung for: who rings from now on is heard by another message.
            self.poster.rung.store(false, Ordering::Release);
        }
        Ok(message)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the window was made by this thread, since a `Window` can't leave it, and is destroyed here alone.
        unsafe { DestroyWindow(self.poster.window) };
    }
}

/// Posts to a window; when that is gone posting fails, and does nothing.
#[derive(Clone)]
pub(super) struct Poster {
    window: HWND,
    /// A bell waits in the queue.
    rung: Arc<AtomicBool>,
}

// SAFETY: the handle is a number that the system looks up; PostMessageW may be called from any thread, whether the
// window lives or not. It is used for nothing else.
unsafe impl Send for Poster {}
// SAFETY: as above.
unsafe impl Sync for Poster {}

impl Poster {
    /// One bell waits in the queue at most, so that ringing can't fill it.
    pub(super) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // SAFETY: see `Send`; the message has no pointers in it.
            let posted = unsafe { PostMessageW(self.window, WAKE, 0, 0) };
            if posted == 0 {
                self.rung.store(false, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::Networking::WinSock::{FD_CLOSE, FD_READ, WSAECONNRESET};
    use windows_sys::Win32::UI::WindowsAndMessaging::WM_NULL;

    #[test]
    fn the_event_is_in_the_low_word_and_the_error_in_the_high_one() {
        let notice = Notice { number: 7, socket: 1234, event: FD_READ, error: 0 };
        assert_eq!(Message::of(WM_APP + 7, 1234, FD_READ as isize), Message::Socket(notice));
        let error = WSAECONNRESET as u32;
        let lparam = (error << 16 | FD_CLOSE) as i32 as isize;
        let notice = Notice { number: NUMBERS, socket: 1234, event: FD_CLOSE, error };
        assert_eq!(Message::of(0xBFFF, 1234, lparam), Message::Socket(notice));
        assert_eq!(Message::of(0xC000, 0, 0), Message::Other, "a registered message of another program");
        assert_eq!(Message::of(WM_NULL, 0, 0), Message::Other);
    }

    #[test]
    fn a_bell_is_heard_once_however_often_it_was_rung() {
        let window = Window::new().expect("a window");
        let poster = window.poster();
        std::thread::spawn(move || (0..20_000).for_each(|_| poster.wake())).join().expect("no panic");
        assert_eq!(window.next().expect("a message"), Message::Wake);
        window.start_timer(7, Duration::from_millis(10)).expect("a timer");
        assert_eq!(
            window.next().expect("a message"),
            Message::Timer(7),
            "no other bell waits, and the queue is not full"
        );
        window.poster().wake();
        let next = || window.next().expect("a message");
        assert!((0..100).any(|_| next() == Message::Wake), "it can be rung again");
    }

    #[test]
    fn a_mark_is_taken_after_what_was_posted_before_it() {
        let window = Window::new().expect("a window");
        let mark = |number| Message::Socket(Notice { number, socket: 0, event: 0, error: 0 });
        window.mark(NUMBERS).expect("it is posted");
        window.poster().wake();
        window.mark(1).expect("it is posted");
        assert_eq!([(); 3].map(|()| window.next().expect("a message")), [mark(NUMBERS), Message::Wake, mark(1)]);
    }

    #[test]
    fn a_timer_that_was_stopped_gives_no_more() {
        let window = Window::new().expect("a window");
        window.start_timer(1, Duration::from_millis(10)).expect("a timer");
        window.stop_timer(1);
        window.start_timer(2, Duration::from_millis(100)).expect("a timer");
        assert_eq!(window.next().expect("a message"), Message::Timer(2));
    }

    /// It can fail only where the desktop does not stand yet: as the first thing that makes a window under Wine.
    #[test]
    fn every_thread_gets_a_window_while_the_desktop_starts() {
        let threads = [(); 300].map(|()| {
            thread::sleep(Duration::from_millis(1)); // sleep: spreads their beginnings over the start
            thread::spawn(|| Window::new().map(drop))
        });
        for thread in threads {
            thread.join().expect("no panic").expect("a window");
        }
    }

    #[test]
    fn a_bell_without_its_window_is_silent() {
        let window = Window::new().expect("a window");
        let poster = window.poster();
        drop(window);
        poster.wake();
        poster.wake();
    }
}
