//! The close of the console: on Windows an event like Ctrl-C, after which the process lives only for a few seconds, and
//! only as long as its handler has not returned (Microsoft, 'HandlerRoutine callback function'). On Unix it is a signal
//! like any other (SIGHUP), and nothing is done here.

#![cfg_attr(windows, expect(unsafe_code, reason = "the system calls a handler of ours on a thread of its own"))]

/// Does nothing: on Unix the close of a terminal is a signal.
///
/// # Errors
/// Never on Unix, only on Windows.
#[cfg(not(windows))]
pub fn on_close(_react: fn()) -> std::io::Result<()> {
    Ok(())
}

#[cfg(windows)]
pub use windows::on_close;

#[cfg(windows)]
mod windows {
    use std::io;
    use std::sync::OnceLock;
    use std::thread;
    use std::time::Duration;

    use windows_sys::Win32::System::Console::{
        CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    static REACT: OnceLock<fn()> = OnceLock::new();

    /// Calls `react` when the console is closed, the user logs off or the system shuts down; the process may then use
    /// the time that the system gives it, 5 s for a closed console. Call it once, after the handler for Ctrl-C has been
    /// set: handlers are asked in the reverse order.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn on_close(react: fn()) -> io::Result<()> {
        REACT.get_or_init(|| react);
        // SAFETY: the handler is a function of this program, which is there as long as the process is.
        let is_set = unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
        if is_set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the process ends as soon as the handler returns, whatever it returns.
    fn is_close(event: u32) -> bool {
        [CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT].contains(&event)
    }

    /// Runs on a thread of its own. Returns 0 for an event that is the next handler's.
    unsafe extern "system" fn handle(event: u32) -> BOOL {
        if !is_close(event) {
            return 0;
        }
        if let Some(react) = REACT.get() {
            react();
        }
        // The process ends when its main thread returns, or when the system's patience is over.
        loop {
            thread::sleep(Duration::MAX);
        }
    }

    #[cfg(test)]
    mod tests {
        use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT};

        use super::*;

        #[test]
        fn ctrl_c_and_ctrl_break_are_left_to_the_next_handler() {
            // SAFETY: the handler may be called by anybody, and touches nothing for these events.
            let answers = [CTRL_C_EVENT, CTRL_BREAK_EVENT].map(|event| unsafe { handle(event) });
            assert_eq!(answers, [0, 0]);
            assert!(is_close(CTRL_CLOSE_EVENT) && is_close(CTRL_SHUTDOWN_EVENT));
        }
    }
}
