//! A timer that interrupts a wait with more precision than the wait's own time-out.
//!
//! epoll_wait(2) counts whole milliseconds. An open-loop load would then measure that rounding instead of the server.
//! On Linux the timer is a timerfd (timerfd_create(2)) that the wait watches. On other systems it does nothing, and the
//! wait's own time-out has to do.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// A timer that interrupts a wait.
#[cfg(target_os = "linux")]
pub struct Alarm(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Alarm {
    /// Makes a timer and registers it with a wait under `token`.
    ///
    /// # Errors
    /// The system's: no descriptor is left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        use std::os::fd::AsRawFd;

        use mio::unix::SourceFd;
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Alarm(timer))
    }

    /// Interrupts the wait once, after `time`. Replaces the time set before. Setting the timer also clears its
    /// readiness, so nobody has to read from it.
    ///
    /// # Errors
    /// The system's.
    pub fn set(&self, time: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would disarm the timer.
        let time = time.max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}

/// A timer that interrupts a wait.
#[cfg(not(target_os = "linux"))]
pub struct Alarm;

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// Does nothing: there is no such timer on this system.
    ///
    /// # Errors
    /// Never on this system.
    pub fn new(_registry: &Registry, _token: Token) -> io::Result<Alarm> {
        Ok(Alarm)
    }

    /// Does nothing: the wait's own time-out has to do.
    ///
    /// # Errors
    /// Never on this system.
    pub fn set(&self, _time: Duration) -> io::Result<()> {
        Ok(())
    }
}
