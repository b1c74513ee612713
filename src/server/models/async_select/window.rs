//! A message-only window to wait with: posted messages, timers, and the sockets that WSAAsyncSelect ties to it.
//!
//! A window belongs to the thread that made it, and so does its message queue; every thread may post to it. It is
//! message-only (HWND_MESSAGE): it is never seen, needs no desktop, and gets no broadcasts.
//!
//! It has no window procedure of its own. Posted messages wait in the queue until GetMessage takes and returns them.
//! Only *sent* messages go to a procedure, and nobody sends one here. So the system calls no code of this program, and
//! no panic can unwind through it.
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

/// The message of a waker. The rest of WM_APP..=0xBFFF, the range for a program's own messages, is for sockets.
const WAKE_MESSAGE: u32 = WM_APP;
/// The message numbers that a socket may be registered under are 1 to this.
pub(super) const MAX_NUMBER: u16 = 0xBFFF - WM_APP as u16;

/// How often making a window is tried, and the time between: together longer than Wine takes to start its desktop.
const WINDOW_TRIES: u32 = 500;
const TIME_BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Returns when message-only windows can be made, or when the system says why not, and at the latest after 10 seconds.
///
/// Wine makes its desktop in a process of its own, when the first window is asked for. That process makes the window of
/// the desktop, and then the parent of message-only windows. A thread that asks between the two gets no window, then or
/// later: Wine looks both up once for each thread (seen on 8.0: of 600 threads that began a millisecond apart, 1 to 24
/// were refused, with error 0). Nothing says when the desktop is complete, so it is tried, on threads that do nothing
/// else. On Windows the first try succeeds.
fn await_desktop() {
    for _ in 0..WINDOW_TRIES {
        let made = thread::Builder::new().spawn(|| Window::make().map(drop)).map(thread::JoinHandle::join);
        match made {
            Ok(Ok(Err(error))) if has_no_reason(&error) => thread::sleep(TIME_BETWEEN_TRIES),
            _ => return,
        }
    }
}

fn has_no_reason(error: &io::Error) -> bool {
    error.raw_os_error() == Some(0)
}

/// A message that was taken from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowMessage {
    /// A waker was called.
    Wake,
    /// A timer, by its number.
    Timer(usize),
    /// Something happened on a socket.
    Socket(SocketNotice),
    /// A message from elsewhere.
    Other,
}

/// What WSAAsyncSelect or [`Window::mark`] has posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketNotice {
    /// The number that the socket was registered with.
    pub(super) number: u16,
    /// Its handle. It may have been closed since, and belong to another socket.
    pub(super) socket: SOCKET,
    /// One of FD_READ, FD_WRITE, FD_CLOSE, FD_ACCEPT; 0 is a mark.
    pub(super) event: u32,
    /// A Winsock error, or 0.
    pub(super) error: u32,
}

impl WindowMessage {
    /// 'The low word of lParam is the network event, the high word its error; wParam is the socket.'
    fn of(number: u32, wparam: usize, lparam: isize) -> WindowMessage {
        match number {
            WM_TIMER => WindowMessage::Timer(wparam),
            WAKE_MESSAGE => WindowMessage::Wake,
            _ => match number.checked_sub(WAKE_MESSAGE).and_then(|number| u16::try_from(number).ok()) {
                Some(number @ 1..=MAX_NUMBER) => {
                    let both = lparam as u32;
                    WindowMessage::Socket(SocketNotice {
                        number,
                        socket: wparam,
                        event: both & 0xFFFF,
                        error: both >> 16,
                    })
                }
                _ => WindowMessage::Other,
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
        Window::make().map_err(|error| match has_no_reason(&error) {
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
        Ok(Window { poster: Poster { window, is_posted: Arc::default() }, not_send: PhantomData })
    }

    /// What wakes this window's thread.
    pub(super) fn poster(&self) -> Poster {
        self.poster.clone()
    }

    /// Ties a socket to the window under a message number; the socket becomes nonblocking. An earlier tie, such as the
    /// one that an accepted socket inherits from its listener, is replaced. What is there already (data, room to send,
    /// a FIN) is posted at once.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn select(&self, socket: &impl AsRawSocket, number: u16, events: u32) -> io::Result<()> {
        debug_assert!((1..=MAX_NUMBER).contains(&number));
        let message = WAKE_MESSAGE + u32::from(number);
        // SAFETY: the window lives as long as `self`, the socket is open as long as it is borrowed.
        let result =
            unsafe { WSAAsyncSelect(socket.as_raw_socket() as SOCKET, self.poster.window, message, events as i32) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Posts a notice of no event under a message number. When it is taken, everything that was posted before it was
    /// taken too.
    ///
    /// # Errors
    /// The system's: the queue is full.
    pub(super) fn mark(&self, number: u16) -> io::Result<()> {
        debug_assert!((1..=MAX_NUMBER).contains(&number));
        // SAFETY: the window lives as long as `self`; the message has no pointers in it.
        let posted = unsafe { PostMessageW(self.poster.window, WAKE_MESSAGE + u32::from(number), 0, 0) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Starts a timer, or starts it again. The queue gives its [`WindowMessage::Timer`] once each `time`, when nothing
    /// else waits. `timer` is not 0.
    ///
    /// # Errors
    /// The system's: out of timers.
    pub(super) fn start_timer(&self, timer: usize, time: Duration) -> io::Result<()> {
        // SAFETY: the window lives as long as `self`; without a function the timer posts a message.
        let timer = unsafe { SetTimer(self.poster.window, timer, milliseconds(Some(time)), None) };
        if timer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Stops a timer. One more message of it may come.
    pub(super) fn stop_timer(&self, timer: usize) {
        // SAFETY: the window lives as long as `self`. It fails only for a timer that does not run.
        unsafe { KillTimer(self.poster.window, timer) };
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn next(&self) -> io::Result<WindowMessage> {
        let mut message = MSG::default();
        // SAFETY: `message` is live and of the type that is written; the window lives as long as `self`.
        let result = unsafe { GetMessageW(&raw mut message, self.poster.window, 0, 0) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
        let message = WindowMessage::of(message.message, message.wParam, message.lParam);
        if message == WindowMessage::Wake {
            // Before the thread looks at what it was woken for: a waker that is called from now on posts another
            // message.
            self.poster.is_posted.store(false, Ordering::Release);
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

/// Posts to a window. When the window is gone, a post fails or reaches another window that has got its handle: see
/// [`wake`](Self::wake).
#[derive(Clone)]
pub(super) struct Poster {
    window: HWND,
    /// A wake message waits in the queue.
    is_posted: Arc<AtomicBool>,
}

// SAFETY: the handle is a number that the system looks up; PostMessageW may be called from any thread, whether the
// window lives or not. A `Poster` uses it for nothing else.
unsafe impl Send for Poster {}
// SAFETY: as above.
unsafe impl Sync for Poster {}

impl Poster {
    /// At most one wake message waits in the queue, so that waking can't fill it.
    ///
    /// When the window is gone, the system may have given its handle to another window of any program. That gets one
    /// message in the range that each program defines for itself, without pointers; the windows of this program take it
    /// for a wake, and look around once more.
    pub(super) fn wake(&self) {
        if !self.is_posted.swap(true, Ordering::AcqRel) {
            // SAFETY: any number may be passed as a window; the message has no pointers in it, so it can do no harm to
            // memory in whichever window it arrives.
            let posted = unsafe { PostMessageW(self.window, WAKE_MESSAGE, 0, 0) };
            if posted == 0 {
                self.is_posted.store(false, Ordering::Release);
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
        let notice = SocketNotice { number: 7, socket: 1234, event: FD_READ, error: 0 };
        assert_eq!(WindowMessage::of(WM_APP + 7, 1234, FD_READ as isize), WindowMessage::Socket(notice));
        let error = WSAECONNRESET as u32;
        let lparam = (error << 16 | FD_CLOSE) as i32 as isize;
        let notice = SocketNotice { number: MAX_NUMBER, socket: 1234, event: FD_CLOSE, error };
        assert_eq!(WindowMessage::of(0xBFFF, 1234, lparam), WindowMessage::Socket(notice));
        assert_eq!(WindowMessage::of(0xC000, 0, 0), WindowMessage::Other, "a registered message of another program");
        assert_eq!(WindowMessage::of(WM_NULL, 0, 0), WindowMessage::Other);
    }

    #[test]
    fn a_window_that_is_woken_often_gets_one_message() {
        let window = Window::new().expect("a window");
        let poster = window.poster();
        std::thread::spawn(move || (0..20_000).for_each(|_| poster.wake())).join().expect("no panic");
        assert_eq!(window.next().expect("a message"), WindowMessage::Wake);
        window.start_timer(7, Duration::from_millis(10)).expect("a timer");
        assert_eq!(
            window.next().expect("a message"),
            WindowMessage::Timer(7),
            "no other wake message waits, and the queue is not full"
        );
        window.poster().wake();
        let next = || window.next().expect("a message");
        assert!((0..100).any(|_| next() == WindowMessage::Wake), "it can be woken again");
    }

    #[test]
    fn a_mark_is_taken_after_what_was_posted_before_it() {
        let window = Window::new().expect("a window");
        let mark = |number| WindowMessage::Socket(SocketNotice { number, socket: 0, event: 0, error: 0 });
        window.mark(MAX_NUMBER).expect("it is posted");
        window.poster().wake();
        window.mark(1).expect("it is posted");
        assert_eq!(
            [(); 3].map(|()| window.next().expect("a message")),
            [mark(MAX_NUMBER), WindowMessage::Wake, mark(1)]
        );
    }

    #[test]
    fn a_timer_that_was_stopped_posts_no_more() {
        let window = Window::new().expect("a window");
        window.start_timer(1, Duration::from_millis(10)).expect("a timer");
        window.stop_timer(1);
        window.start_timer(2, Duration::from_millis(100)).expect("a timer");
        assert_eq!(window.next().expect("a message"), WindowMessage::Timer(2));
    }

    /// It can fail only before the desktop is complete: when it is the first to make a window under Wine.
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
    fn waking_a_window_that_is_gone_does_nothing() {
        let window = Window::new().expect("a window");
        let poster = window.poster();
        drop(window);
        poster.wake();
        poster.wake();
    }
}
