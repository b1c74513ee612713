//! What happened when: counts per interval since the start of the run.
//!
//! The interval is 100 ms at first and doubles whenever the line would grow past [`MAX_POINTS`], so a run of a second
//! fits and a run of a week too. Two lines add up at the coarser interval of the two.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trip_counts::TripCounts;

/// The first interval.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// The most points that are kept.
pub const MAX_POINTS: usize = 512;

/// Counts of one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Point {
    /// Connections opened.
    pub opened: u64,
    /// Connections closed, of those that were open.
    #[serde(default)]
    pub closed: u64,
    /// Messages whose last byte came back.
    pub messages: u64,
    /// Bytes that came back and were right.
    pub bytes_verified: u64,
    /// Findings.
    pub findings: u64,
    /// The longest round trip that ended here, in nanoseconds.
    pub rtt_max_ns: u64,
    /// How long the client itself stood still here, in milliseconds; of several workers, the one that did longest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stood_still_ms: u64,
    /// How long the client had no CPU time left here, in milliseconds; of several workers, the one with the longest
    /// such time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub saturated_ms: u64,
    /// How long the round trips took that ended here.
    #[serde(default, skip_serializing_if = "TripCounts::is_empty")]
    pub trips: TripCounts,
}

impl Point {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Point) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.messages += other.messages;
        self.bytes_verified += other.bytes_verified;
        self.findings += other.findings;
        self.rtt_max_ns = self.rtt_max_ns.max(other.rtt_max_ns);
        self.stood_still_ms = self.stood_still_ms.max(other.stood_still_ms);
        self.saturated_ms = self.saturated_ms.max(other.saturated_ms);
        self.trips.add(&other.trips);
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Counts over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Timeline {
    /// Milliseconds that each point covers.
    pub interval_ms: u64,
    /// From the start of the run.
    pub points: Vec<Point>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { interval_ms: FIRST_INTERVAL.as_millis() as u64, points: Vec::new() }
    }
}

impl Timeline {
    /// The point that covers `at`, a time since the start of the run.
    pub fn at(&mut self, at: Duration) -> &mut Point {
        let millis = at.as_millis() as u64;
        while millis / self.interval_ms >= MAX_POINTS as u64 {
            self.coarsen();
        }
        let index = (millis / self.interval_ms) as usize;
        if index >= self.points.len() {
            self.points.resize(index + 1, Point::default());
        }
        &mut self.points[index]
    }

    /// Notes that the client itself stood still between these times since the start of the run.
    pub fn stood_still(&mut self, from: Duration, to: Duration) {
        self.spread(from, to, |point| &mut point.stood_still_ms);
    }

    /// Notes that the client had no CPU time left between these times since the start of the run.
    pub fn saturated(&mut self, from: Duration, to: Duration) {
        self.spread(from, to, |point| &mut point.saturated_ms);
    }

    /// Adds the time between two times, in milliseconds, to this part of all points in between.
    fn spread(&mut self, from: Duration, to: Duration, part: fn(&mut Point) -> &mut u64) {
        // The line is made as long as it must be, and its interval with it.
        self.at(to);
        let interval = Duration::from_millis(self.interval_ms);
        let mut at = from;
        while at < to {
            let next = (interval * (at.as_millis() as u64 / self.interval_ms) as u32 + interval).min(to);
            let most = interval.as_millis() as u64;
            let sum = part(self.at(at));
            *sum = (*sum + (next - at).as_millis() as u64).min(most);
            at = next;
        }
    }

    /// Adds another line, of a run that began at the same time.
    pub fn add(&mut self, other: &Timeline) {
        self.add_later(other, Duration::ZERO);
    }

    /// Adds another line, of a run that began later by this much. Each of its points counts where its middle falls.
    pub fn add_later(&mut self, other: &Timeline, later: Duration) {
        let mut other = other.clone();
        while other.interval_ms < self.interval_ms {
            other.coarsen();
        }
        while self.interval_ms < other.interval_ms {
            self.coarsen();
        }
        let interval = Duration::from_millis(other.interval_ms);
        for (number, point) in (0u32..).zip(&other.points) {
            self.at(later + interval * number + interval / 2).add(point);
        }
    }

    fn coarsen(&mut self) {
        let pairs = self.points.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            pair[1..].iter().for_each(|second| sum.add(second));
            // One after the other, not at the same time.
            sum.stood_still_ms = pair.iter().map(|point| point.stood_still_ms).sum();
            sum.saturated_ms = pair.iter().map(|point| point.saturated_ms).sum();
            sum
        });
        self.points = pairs.collect();
        self.interval_ms *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(times: &[u64]) -> Timeline {
        let mut line = Timeline::default();
        for millis in times {
            line.at(Duration::from_millis(*millis)).messages += 1;
        }
        line
    }

    #[test]
    fn a_week_fits_and_no_message_is_lost() {
        let week = 7 * 24 * 3600 * 1000;
        let times: Vec<u64> = (0..1000).map(|n| n * week / 1000).collect();
        let line = line(&times);
        assert!(line.points.len() <= MAX_POINTS);
        assert_eq!(line.points.iter().map(|p| p.messages).sum::<u64>(), 1000);
    }

    #[test]
    fn lines_of_different_grain_add_up_to_the_line_of_both() {
        let (short, long) = ([0, 150, 900], [50, 99_000]);
        let mut sum = line(&short);
        sum.add(&line(&long));
        assert_eq!(sum, line(&[short.as_slice(), &long].concat()));
        let mut other_way = line(&long);
        other_way.add(&line(&short));
        assert_eq!(other_way, sum);
    }

    #[test]
    fn a_stand_still_is_noted_in_every_interval_that_it_touches() {
        let of = |line: &Timeline| line.points.iter().map(|point| point.stood_still_ms).collect::<Vec<u64>>();
        let ms = Duration::from_millis;
        let mut one = Timeline::default();
        one.stood_still(ms(150), ms(420));
        assert_eq!(of(&one), [0, 50, 100, 100, 20]);
        let mut two = Timeline::default();
        two.stood_still(ms(110), ms(200));
        two.add(&one);
        assert_eq!(of(&two), [0, 90, 100, 100, 20], "of two workers, the longer one");
        two.coarsen();
        assert_eq!(of(&two), [90, 200, 20]);
        two.saturated(ms(0), ms(300));
        assert_eq!(two.points.iter().map(|point| point.saturated_ms).collect::<Vec<u64>>(), [200, 100, 0]);
    }

    #[test]
    fn a_line_that_began_later_counts_later() {
        let mut sum = line(&[0, 500]);
        sum.add_later(&line(&[0, 500]), Duration::from_millis(1030));
        assert_eq!(sum, line(&[0, 500, 1000, 1500]));
        sum.add_later(&line(&[0]), Duration::from_secs(1000));
        assert_eq!(sum.points.iter().map(|p| p.messages).sum::<u64>(), 5, "{sum:?}");
    }
}
