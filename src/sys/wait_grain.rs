//! How exactly a wait keeps its time-out. Windows looks at its timers once in a tick of 15.6 ms, unless a process asks
//! for a shorter one (Microsoft, 'timeBeginPeriod'; since Windows 10, version 2004, that is a matter of this process
//! alone). An open loop would otherwise send in bursts, a tick apart. Other systems need nothing.

#![cfg_attr(windows, expect(unsafe_code, reason = "no crate in use wraps timeBeginPeriod"))]

/// The tick that is asked for. A shorter one is not to be had this way.
#[cfg(windows)]
const TICK_MS: u32 = 1;

/// While it lives, the waits of this process are exact to a millisecond or so. Best effort.
#[derive(Debug)]
pub struct FineWaits(());

impl FineWaits {
    /// Asks for it.
    #[expect(clippy::new_without_default, reason = "it changes the process while it lives")]
    pub fn new() -> FineWaits {
        // SAFETY: the call takes no pointer.
        #[cfg(windows)]
        unsafe {
            windows_sys::Win32::Media::timeBeginPeriod(TICK_MS)
        };
        FineWaits(())
    }
}

impl Drop for FineWaits {
    fn drop(&mut self) {
        // SAFETY: the call takes no pointer. Each call of timeBeginPeriod is matched by one of these.
        #[cfg(windows)]
        unsafe {
            windows_sys::Win32::Media::timeEndPeriod(TICK_MS)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_wait_is_exact_to_a_few_milliseconds() {
        let _fine = FineWaits::new();
        let mut poll = mio::Poll::new().expect("the system has a wait");
        let mut events = mio::Events::with_capacity(1);
        // One of many is enough, because the machine may be busy. Without a fine tick, none is below 15 ms.
        let mut wait = || {
            let began = Instant::now();
            poll.poll(&mut events, Some(Duration::from_millis(1))).expect("nothing interrupts it");
            began.elapsed()
        };
        assert!((0..1000).any(|_| wait() < Duration::from_millis(8)));
    }
}
