//! When to look for idle connections.

use std::time::{Duration, Instant};

use crate::server::{Context, Session};

/// Comes due once each interval under `--idle-timeout`, and never without it.
pub(in crate::server) struct IdleTimer {
    interval: Option<Duration>,
    next: Option<Instant>,
}

impl IdleTimer {
    /// Comes due for the first time one interval from now.
    pub(in crate::server) fn new(context: &Context) -> IdleTimer {
        let interval = Session::idle_check_interval(context);
        IdleTimer { interval, next: interval.map(|interval| Instant::now() + interval) }
    }

    /// How long a wait may last; `None`: without end.
    #[cfg(windows)]
    pub(in crate::server) fn timeout(&self) -> Option<Duration> {
        self.timeout_or(None)
    }

    /// How long a wait may last that must also end at `other`; `None`: without end.
    pub(in crate::server) fn timeout_or(&self, other: Option<Instant>) -> Option<Duration> {
        let end = match (self.next, other) {
            (None, None) => return None,
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        Some(end.saturating_duration_since(Instant::now()))
    }

    /// The current time, if it is time to look for idle connections. Then the next interval begins.
    #[cfg(windows)]
    pub(in crate::server) fn due(&mut self) -> Option<Instant> {
        self.next?;
        let now = Instant::now();
        self.is_due_at(now).then_some(now)
    }

    /// Whether it ever comes due.
    pub(in crate::server) fn is_set(&self) -> bool {
        self.interval.is_some()
    }

    /// Whether it is time to look for idle connections. Then the next interval begins.
    pub(in crate::server) fn is_due_at(&mut self, now: Instant) -> bool {
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.next = self.interval.map(|interval| now + interval);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;
    use std::sync::mpsc::channel;

    fn timer(idle_timeout: Option<Duration>) -> IdleTimer {
        IdleTimer::new(&Context::new(Options { idle_timeout, ..Options::default() }, channel().0))
    }

    #[test]
    fn without_an_idle_timeout_a_wait_is_endless_unless_it_ends_for_another_reason() {
        let mut timer = timer(None);
        assert!(timer.timeout_or(None).is_none() && !timer.is_set());
        assert!(!timer.is_due_at(Instant::now() + Duration::from_secs(3600)));
        assert_eq!(timer.timeout_or(Some(Instant::now())), Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_ends_at_the_earlier_of_both_times() {
        let timer = timer(Some(Duration::from_secs(3600)));
        let hour = Instant::now() + Duration::from_secs(3600);
        assert!(timer.timeout_or(Some(hour)) <= Some(Duration::from_secs(1)));
        assert_eq!(timer.timeout_or(Some(Instant::now())), Some(Duration::ZERO));
    }

    #[test]
    fn it_comes_due_once_an_interval() {
        let mut timer = timer(Some(Duration::from_secs(3600)));
        let now = Instant::now();
        assert!(!timer.is_due_at(now));
        let later = now + Duration::from_secs(2);
        assert!(timer.is_due_at(later) && !timer.is_due_at(later));
        assert!(timer.is_due_at(later + Duration::from_secs(1)));
    }
}
