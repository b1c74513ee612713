//! A timer with the precision of the system's own, for a task.
//!
//! The runtime's timer has a grain of a millisecond. On Linux this one is a timerfd (timerfd_create(2)); elsewhere it
//! is the runtime's.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "registering a descriptor with the runtime"))]

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;

/// A timer that one task sleeps on.
#[cfg(target_os = "linux")]
pub struct Alarm(AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Alarm {
    /// To be called inside a runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Alarm> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: the AsyncFd owns the descriptor, which so stays open, and the same, until it is deregistered in its
        // drop.
        Ok(Alarm(unsafe { AsyncFd::register(timer) }?))
    }

    /// Returns after this time.
    ///
    /// # Errors
    /// The system's.
    pub async fn ring_in(&self, time: Duration) -> io::Result<()> {
        use rustix::io::Errno;
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would disarm it.
        let time = time.max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        let mut guard = self.0.readable().await?;
        let mut expirations = [0u8; 8];
        let read = rustix::io::read(self.0.get_ref(), &mut expirations);
        guard.clear_ready();
        match read {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// A timer that one task sleeps on.
#[cfg(not(target_os = "linux"))]
pub struct Alarm;

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// To be called inside a runtime.
    ///
    /// # Errors
    /// None on this system.
    pub fn new() -> io::Result<Alarm> {
        Ok(Alarm)
    }

    /// Returns after this time.
    ///
    /// # Errors
    /// None on this system.
    pub async fn ring_in(&self, time: Duration) -> io::Result<()> {
        tokio::time::sleep(time).await;
        Ok(())
    }
}
