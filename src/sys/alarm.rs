//! A timer with the precision of the system's own, for a wait that has none.
//!
//! epoll_wait(2) counts whole milliseconds, and an open-loop load would measure that grain and not the server. On Linux
//! this is a timerfd (timerfd_create(2)) that interrupts the wait; elsewhere the wait's own time-out must do.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// A timer that interrupts a wait.
#[cfg(target_os = "linux")]
pub struct Alarm(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Alarm {
    /// Registered with this wait, under this token.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        use std::os::fd::AsRawFd;

        use mio::unix::SourceFd;
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Alarm(timer))
    }

    /// Interrupts the wait after this time, once. Takes the place of what was asked before. Setting it anew is what
    /// lets it speak again: nothing has to be read.
    ///
    /// # Errors
    /// The system's.
    pub fn ring_in(&self, time: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would disarm it.
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
    /// Registered with this wait, under this token.
    ///
    /// # Errors
    /// None on this system.
    pub fn new(_registry: &Registry, _token: Token) -> io::Result<Alarm> {
        Ok(Alarm)
    }

    /// Does nothing: the wait's own time-out must do.
    ///
    /// # Errors
    /// None on this system.
    pub fn ring_in(&self, _time: Duration) -> io::Result<()> {
        Ok(())
    }
}
