//! From when to when a load group was active. Its rates are per second of this time, because a group may be done long
//! before others, and before the run.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From the first successful connect of a group to the last byte that came back, in nanoseconds since the start of the
/// run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveTime {
    first_connect: Option<u64>,
    last_echo: Option<u64>,
}

impl ActiveTime {
    /// A connection opened whose connect began at this time.
    pub fn opened(&mut self, begun: u64) {
        self.first_connect = Some(self.first_connect.map_or(begun, |first| first.min(begun)));
    }

    /// Bytes came back at this time.
    #[inline]
    pub fn echoed(&mut self, at: u64) {
        self.last_echo = self.last_echo.max(Some(at));
    }

    /// Adds the time in which another worker ran the same group.
    pub fn add(&mut self, other: &ActiveTime) {
        if let Some(begun) = other.first_connect {
            self.opened(begun);
        }
        self.last_echo = self.last_echo.max(other.last_echo);
    }

    /// How long it is. `None` if nothing came back.
    pub fn length(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.last_echo?.saturating_sub(self.first_connect?)))
    }
}

/// From when to when a load group was active, in seconds since the start of the run: the form in the JSON report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "SpanReport")]
pub struct ActiveTimeReport {
    /// When the first successful connect began. Null: none succeeded.
    pub first_connect_s: Option<f64>,
    /// When the last byte came back. Null: none did.
    pub last_echo_s: Option<f64>,
}

impl From<&ActiveTime> for ActiveTimeReport {
    fn from(active_time: &ActiveTime) -> Self {
        let seconds = |nanos: Option<u64>| nanos.map(|nanos| nanos as f64 / 1e9);
        ActiveTimeReport {
            first_connect_s: seconds(active_time.first_connect),
            last_echo_s: seconds(active_time.last_echo),
        }
    }
}

impl ActiveTimeReport {
    /// The same times, counted from the start of a run that began earlier by this much.
    #[must_use]
    pub fn later(self, later: Duration) -> ActiveTimeReport {
        let later = |time: Option<f64>| time.map(|time| time + later.as_secs_f64());
        ActiveTimeReport { first_connect_s: later(self.first_connect_s), last_echo_s: later(self.last_echo_s) }
    }

    /// Adds the time in which another process ran the same group.
    pub fn add(&mut self, other: &ActiveTimeReport) {
        let of_both = |one: Option<f64>, other: Option<f64>, choose: fn(f64, f64) -> f64| match (one, other) {
            (Some(one), Some(other)) => Some(choose(one, other)),
            (one, other) => one.or(other),
        };
        self.first_connect_s = of_both(self.first_connect_s, other.first_connect_s, f64::min);
        self.last_echo_s = of_both(self.last_echo_s, other.last_echo_s, f64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn active_time(first_connect: u64, last_echo: u64) -> ActiveTime {
        let mut active_time = ActiveTime::default();
        active_time.opened(first_connect * SECOND);
        active_time.opened((first_connect + 1) * SECOND);
        active_time.echoed(first_connect * SECOND);
        active_time.echoed(last_echo * SECOND);
        active_time
    }

    #[test]
    fn active_time_goes_from_the_first_connect_to_the_last_echo_of_all_workers() {
        let mut sum = active_time(3, 7);
        assert_eq!(sum.length(), Some(Duration::from_secs(4)));
        sum.add(&active_time(2, 5));
        assert_eq!(sum.length(), Some(Duration::from_secs(5)));
        sum.add(&ActiveTime::default());
        assert_eq!(sum, active_time(2, 7));
    }

    #[test]
    fn if_nothing_came_back_there_is_no_active_time() {
        let mut active_time = ActiveTime::default();
        assert_eq!(active_time.length(), None);
        active_time.opened(0);
        assert_eq!(active_time.length(), None);
        let report = ActiveTimeReport::from(&active_time);
        assert_eq!((report.first_connect_s, report.last_echo_s), (Some(0.0), None));
    }

    #[test]
    fn reports_of_processes_add_up_from_the_start_of_the_earliest() {
        let (early, late) = (
            ActiveTimeReport::from(&active_time(1, 4)),
            ActiveTimeReport::from(&active_time(0, 3)).later(Duration::from_secs(2)),
        );
        let both = ActiveTimeReport { first_connect_s: Some(1.0), last_echo_s: Some(5.0) };
        let silent = ActiveTimeReport::default();
        for parts in [[early, late], [late, early], [both, silent], [silent, both]] {
            let mut sum = ActiveTimeReport::default();
            parts.iter().for_each(|part| sum.add(part));
            assert_eq!(sum, both, "{parts:?}");
        }
        assert_eq!(ActiveTimeReport::default().later(Duration::from_secs(2)), ActiveTimeReport::default());
    }
}
