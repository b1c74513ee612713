//! How well an open loop kept its schedule: the rate asked for, the rate sent, the rate that came back.
//!
//! Messages are due at a fixed rate, whatever the server does. A slower server or client shows in two ways. Messages
//! begin later than they were due, or not at all. Or they pile up in the sockets and come back later and later. Both
//! are reported, so nobody mistakes the latencies of an overload for those of the rate asked for.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Counters;

/// How a load group keeps its schedule. Times are nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenLoopStats {
    /// When the schedule began: all connections were open then, or had failed to open. `None`: it has not begun.
    pub began: Option<u64>,
    /// When the last message began. If messages were due that could not begin: when the time was up.
    pub due_until: u64,
    /// When the last message had come back in full; where both ends are ours, the last one of the other end.
    pub last_echo: u64,
    /// Messages that were due before the time was up or the run was stopped, and could not begin.
    pub unsent: u64,
}

impl OpenLoopStats {
    /// Converts an offset within the schedule to nanoseconds since the start of the run.
    #[inline]
    pub fn time_of(&self, due: u64) -> u64 {
        self.began.unwrap_or(0).saturating_add(due)
    }

    /// Notes that `messages` were due and could not begin by `end`, when the time was up or the run was stopped.
    pub fn leave_unsent(&mut self, messages: u64, end: u64) {
        if messages > 0 {
            self.unsent += messages;
            self.due_until = self.due_until.max(end);
        }
    }

    /// Adds how another worker kept its part of the same schedule.
    pub fn add(&mut self, other: &OpenLoopStats) {
        self.began = self.began.or(other.began);
        self.due_until = self.due_until.max(other.due_until);
        self.last_echo = self.last_echo.max(other.last_echo);
        self.unsent += other.unsent;
    }
}

/// How far sending may fall behind its schedule, as a fraction of its time; [`SENT_GRACE_S`] is always allowed.
const SENT_SLACK: f64 = 0.01;
/// Seconds that timers and a busy machine may take.
const SENT_GRACE_S: f64 = 0.05;
/// How far the echo may fall behind the schedule, as a fraction of its time; [`ECHO_GRACE_S`] is always allowed.
const ECHO_SLACK: f64 = 0.05;
/// Seconds that a round trip may take without being an overload.
const ECHO_GRACE_S: f64 = 0.25;
/// How far apart the schedules of the processes of one run may begin, as a fraction of their time; [`BEGIN_GRACE_S`] is
/// always allowed. Each process waits for its own connections. If they begin further apart, the total rate was never
/// reached.
const BEGIN_SLACK: f64 = 0.1;
/// Seconds that the last handshakes may take.
const BEGIN_GRACE_S: f64 = 1.0;

/// The open loop of a load group, in the form of the JSON report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RateReport {
    /// Messages a second asked for. For a shard, or for connections that are run alone: their share.
    pub asked_per_s: f64,
    /// Messages a second whose sending began. Null: there were none.
    pub sent_per_s: Option<f64>,
    /// Messages a second that came back, up to the last one; where both ends are ours and nothing answers them, those
    /// that arrived. Null: there were none.
    pub echoed_per_s: Option<f64>,
    /// Messages that were due before the time was up or the run was stopped, and could not begin.
    pub unsent: u64,
    /// When the first message was due, in seconds since the start of the run. All connections were open by then. Null:
    /// the run ended before that.
    pub first_due_s: Option<f64>,
    /// When the last message began. If messages were due that could not begin: when the time was up.
    pub due_until_s: f64,
    /// For how many seconds messages were due. For processes that began nearly together: the mean, weighted by share.
    pub due_for_s: f64,
    /// When the last message had come back, or had arrived.
    pub last_echo_s: f64,
    /// Whether sending or the echo fell behind the schedule. Then the latencies are those of an overload, and grow with
    /// the length of the run. Null: not known, because connections failed or nothing was due.
    pub saturated: Option<bool>,
}

impl RateReport {
    /// For slots that were asked for `asked_per_s` messages per second, the first of them due `first` after the
    /// schedule began.
    pub fn new(asked_per_s: f64, first: Duration, schedule: &OpenLoopStats, counters: &Counters) -> RateReport {
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let mut report = RateReport {
            asked_per_s,
            sent_per_s: None,
            echoed_per_s: None,
            unsent: schedule.unsent,
            first_due_s: schedule.began.map(|began| seconds(began) + first.as_secs_f64()),
            due_until_s: seconds(schedule.due_until),
            due_for_s: 0.0,
            last_echo_s: seconds(schedule.last_echo),
            saturated: None,
        };
        report.due_for_s = report.due_time();
        report.with_rates(counters)
    }

    /// The same times, counted from the start of a run that began earlier by this much.
    #[must_use]
    pub fn later(self, later: Duration) -> RateReport {
        let later = later.as_secs_f64();
        RateReport {
            first_due_s: self.first_due_s.map(|first| first + later),
            due_until_s: self.due_until_s + later,
            last_echo_s: self.last_echo_s + later,
            ..self
        }
    }

    /// The sum with another process's part of the same schedule. `counters` are those of both.
    #[must_use]
    pub fn add(&self, other: &RateReport, counters: &Counters) -> RateReport {
        let mut sum = RateReport {
            asked_per_s: self.asked_per_s + other.asked_per_s,
            unsent: self.unsent.saturating_add(other.unsent),
            first_due_s: self.first_due_s.into_iter().chain(other.first_due_s).reduce(f64::min),
            due_until_s: self.due_until_s.max(other.due_until_s),
            last_echo_s: self.last_echo_s.max(other.last_echo_s),
            ..*self
        };
        sum.due_for_s = sum.due_time();
        let apart = self.first_due_s.zip(other.first_due_s).map_or(f64::INFINITY, |(a, b)| (a - b).abs());
        if apart <= (sum.due_for_s * BEGIN_SLACK).max(BEGIN_GRACE_S) {
            let due = |part: &RateReport| part.asked_per_s * part.due_for_s;
            sum.due_for_s = (due(self) + due(other)) / sum.asked_per_s;
        }
        let mut sum = sum.with_rates(counters);
        if [self.saturated, other.saturated].contains(&Some(true)) {
            sum.saturated = Some(true);
        }
        sum
    }

    /// From the first message that was due to one interval after the last: a schedule of `n` messages lasts `n`
    /// intervals, and the last message is due at the start of the last interval.
    fn due_time(&self) -> f64 {
        self.first_due_s.map_or(0.0, |first| (self.due_until_s - first + 1.0 / self.asked_per_s).max(0.0))
    }

    fn with_rates(self, counters: &Counters) -> RateReport {
        if self.first_due_s.is_none() {
            return self;
        }
        let interval = 1.0 / self.asked_per_s;
        let sending = self.due_for_s;
        let echoing = sending + (self.last_echo_s - self.due_until_s).max(0.0);
        let rate = |messages: u64, time: f64| (messages > 0 && time > 0.0).then(|| messages as f64 / time);
        let behind = |messages: u64, time: f64, slack: f64, grace: f64| {
            time - messages as f64 * interval > (sending * slack).max(grace)
        };
        // Messages that could not begin are enough to know. Nobody knows what failed connections would have sent and
        // received.
        let unsent = self.unsent as f64 * interval > (sending * SENT_SLACK).max(SENT_GRACE_S);
        let saturated = || {
            behind(counters.messages_sent, sending, SENT_SLACK, SENT_GRACE_S)
                || behind(counters.messages_echoed, echoing, ECHO_SLACK, ECHO_GRACE_S)
        };
        RateReport {
            sent_per_s: rate(counters.messages_sent, sending),
            echoed_per_s: rate(counters.messages_echoed, echoing),
            saturated: match counters.failed {
                _ if unsent => Some(true),
                0 if counters.messages_sent > 0 => Some(saturated()),
                _ => None,
            },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn report(sent: u64, echoed: u64, schedule: OpenLoopStats) -> RateReport {
        let counters = Counters { messages_sent: sent, messages_echoed: echoed, ..Counters::default() };
        // 100 a second from the first second on.
        RateReport::new(100.0, Duration::ZERO, &OpenLoopStats { began: Some(SECOND), ..schedule }, &counters)
    }

    #[test]
    fn a_schedule_that_was_kept_has_the_rate_asked_for() {
        let until = 11 * SECOND - SECOND / 100;
        let kept = report(
            1000,
            1000,
            OpenLoopStats { due_until: until, last_echo: until + 1_000_000, ..OpenLoopStats::default() },
        );
        let sent = kept.sent_per_s.expect("messages were sent");
        assert!((sent - 100.0).abs() < 1e-6, "{sent}");
        assert_eq!(kept.saturated, Some(false));
    }

    #[test]
    fn messages_that_could_not_begin_mean_saturation() {
        let mut schedule = OpenLoopStats { due_until: 10 * SECOND, last_echo: 10 * SECOND, ..OpenLoopStats::default() };
        schedule.leave_unsent(200, 11 * SECOND);
        let report = report(800, 800, schedule);
        assert_eq!((report.unsent, report.saturated), (200, Some(true)));
        assert!(report.sent_per_s.is_some_and(|rate| rate < 81.0), "{report:?}");
    }

    #[test]
    fn an_echo_that_lags_means_saturation_although_everything_was_sent() {
        let schedule = OpenLoopStats { due_until: 11 * SECOND, last_echo: 15 * SECOND, ..OpenLoopStats::default() };
        let lagging = report(1000, 1000, schedule);
        assert!(lagging.sent_per_s.is_some_and(|rate| rate > 99.0), "{lagging:?}");
        assert!(lagging.echoed_per_s.is_some_and(|rate| rate < 72.0), "{lagging:?}");
        assert_eq!(lagging.saturated, Some(true));
    }

    #[test]
    fn a_round_trip_at_the_end_of_a_short_run_does_not_mean_saturation() {
        let (due_until, last_echo) = (SECOND + SECOND / 2, SECOND + SECOND * 7 / 10);
        let schedule = OpenLoopStats { due_until, last_echo, ..OpenLoopStats::default() };
        assert_eq!(report(50, 50, schedule).saturated, Some(false));
    }

    #[test]
    fn the_saturation_of_a_run_that_broke_off_is_not_known() {
        let counters = Counters { messages_sent: 5, failed: 1, ..Counters::default() };
        let mut schedule = OpenLoopStats { began: Some(0), ..OpenLoopStats::default() };
        let saturated =
            |schedule: &OpenLoopStats| RateReport::new(100.0, Duration::ZERO, schedule, &counters).saturated;
        assert_eq!(saturated(&schedule), None);
        assert_eq!(report(0, 0, OpenLoopStats::default()).sent_per_s, None);

        schedule.leave_unsent(3, SECOND);
        assert_eq!(saturated(&schedule), None, "a busy machine may leave as many");
        schedule.leave_unsent(1_000_000, SECOND);
        assert_eq!(saturated(&schedule), Some(true), "messages that could not begin are counted, whatever failed");
    }

    #[test]
    fn the_first_message_of_a_share_is_due_when_its_first_slot_is_due() {
        let schedule = OpenLoopStats { began: Some(SECOND), ..OpenLoopStats::default() };
        let share = RateReport::new(10.0, Duration::from_millis(70), &schedule, &Counters::default());
        assert_eq!(share.first_due_s, Some(1.07));
    }

    #[test]
    fn a_schedule_that_never_began_has_no_rate() {
        let never = RateReport::new(100.0, Duration::ZERO, &OpenLoopStats::default(), &Counters::default());
        assert_eq!((never.first_due_s, never.sent_per_s, never.saturated), (None, None, None));
        let begun = report(
            1000,
            1000,
            OpenLoopStats { due_until: 11 * SECOND, last_echo: 11 * SECOND, ..OpenLoopStats::default() },
        );
        let sum = begun.add(&never, &Counters::default());
        assert_eq!(sum.first_due_s, Some(1.0));
    }

    #[test]
    fn the_shards_of_a_schedule_add_up_to_the_whole() {
        // 100 a second of both from the first second on, for 10 s, in turns.
        let half = |index: u64| {
            let counters = Counters { messages_sent: 500, messages_echoed: 500, ..Counters::default() };
            let until = 11 * SECOND - (2 - index) * SECOND / 100;
            let schedule = OpenLoopStats { began: Some(SECOND), due_until: until, last_echo: until, unsent: 0 };
            RateReport::new(50.0, Duration::from_millis(10 * index), &schedule, &counters)
        };
        let both = Counters { messages_sent: 1000, messages_echoed: 1000, ..Counters::default() };
        let sum = half(0).add(&half(1), &both);
        assert!(sum.sent_per_s.is_some_and(|rate| (rate - 100.0).abs() < 0.01), "{sum:?}");
        assert_eq!((sum.asked_per_s, sum.saturated), (100.0, Some(false)));
        let apart = half(0).add(&half(1).later(Duration::from_secs(10)), &both);
        assert!(apart.sent_per_s.is_some_and(|rate| rate < 51.0), "{apart:?}");
        assert_eq!(apart.saturated, Some(true), "processes that do not run together do not reach the total rate");
    }

    #[test]
    fn a_shard_that_took_longer_to_connect_does_not_make_the_whole_slower() {
        let shard = |began: u64, sent: u64, unsent: u64| {
            let counters = Counters { messages_sent: sent, messages_echoed: sent, ..Counters::default() };
            let mut schedule = OpenLoopStats { began: Some(began), due_until: 11 * SECOND, ..OpenLoopStats::default() };
            schedule.leave_unsent(unsent, 11 * SECOND);
            RateReport::new(50.0, Duration::ZERO, &schedule, &counters)
        };
        let both = Counters { messages_sent: 975, messages_echoed: 975, ..Counters::default() };
        let sum = shard(SECOND, 500, 0).add(&shard(SECOND * 3 / 2, 475, 0), &both);
        assert!(sum.sent_per_s.is_some_and(|rate| (rate - 100.0).abs() < 0.5), "{sum:?}");
        assert_eq!((sum.first_due_s, sum.saturated), (Some(1.0), Some(false)));
        let one_behind = shard(SECOND, 490, 10).add(&shard(SECOND, 500, 0), &both);
        assert_eq!(one_behind.saturated, Some(true), "if one shard has not kept its schedule, the whole has not");
    }
}
