//! What happened when: counts per interval since the start of the run.
//!
//! The interval is 100 ms at first and doubles whenever the line would grow past [`MAX_POINTS`], so a run of a second
//! fits and a run of a week too. Two lines add up at the coarser interval of the two.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::trip_counts::TripCounts;

/// The first interval.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// How often the interval can double: a line of [`MAX_POINTS`] is then far longer than the calendar.
const MOST_DOUBLINGS: u32 = 40;
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
        self.opened = self.opened.saturating_add(other.opened);
        self.closed = self.closed.saturating_add(other.closed);
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes_verified = self.bytes_verified.saturating_add(other.bytes_verified);
        self.findings = self.findings.saturating_add(other.findings);
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
    #[serde(deserialize_with = "interval")]
    pub interval_ms: u64,
    /// From the start of the run.
    pub points: Vec<Point>,
}

/// Reads an interval. Any other number than those that lines double to would make the sum of two lines wrong, or
/// endless work.
fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let millis = u64::deserialize(from)?;
    let first = FIRST_INTERVAL.as_millis() as u64;
    if (0..=MOST_DOUBLINGS).any(|doublings| first << doublings == millis) {
        return Ok(millis);
    }
    Err(D::Error::custom(format!(
        "timeline.interval_ms is {millis}: it must be {first} times a power of two, such as {first} or {}",
        first * 2
    )))
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { interval_ms: FIRST_INTERVAL.as_millis() as u64, points: Vec::new() }
    }
}

impl Timeline {
    /// The point that covers `at`, a time since the start of the run.
    pub fn at(&mut self, at: Duration) -> &mut Point {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
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
            let middle = interval.saturating_mul(number).saturating_add(interval / 2);
            self.at(later.saturating_add(middle)).add(point);
        }
    }

    fn coarsen(&mut self) {
        let pairs = self.points.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            pair[1..].iter().for_each(|second| sum.add(second));
            // One after the other, not at the same time.
            let whole = |part: fn(&Point) -> u64| pair.iter().map(part).fold(0, u64::saturating_add);
            sum.stood_still_ms = whole(|point| point.stood_still_ms);
            sum.saturated_ms = whole(|point| point.saturated_ms);
            sum
        });
        self.points = pairs.collect();
        // It grows whatever it was, so that those who wait for an interval come to an end.
        self.interval_ms = self.interval_ms.saturating_mul(2).max(1);
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
    fn only_intervals_that_lines_double_to_are_read() {
        let read =
            |millis: u64| serde_json::from_str::<Timeline>(&format!(r#"{{"interval_ms":{millis},"points":[]}}"#));
        for millis in [100, 200, 102_400, 100 << MOST_DOUBLINGS] {
            assert_eq!(read(millis).expect("it is one").interval_ms, millis);
        }
        for millis in [0, 1, 50, 128, 300, 200 << MOST_DOUBLINGS, u64::MAX] {
            let why = read(millis).expect_err("it is none").to_string();
            let said = format!("timeline.interval_ms is {millis}: it must be 100 times a power of two");
            assert!(why.contains(&said), "{why}");
        }
    }

    #[test]
    fn adding_a_line_ends_whatever_its_numbers_are() {
        let odd = |interval_ms| Timeline {
            interval_ms,
            points: vec![Point { messages: u64::MAX, stood_still_ms: u64::MAX, ..Point::default() }; 2000],
        };
        for interval_ms in [0, 1, 100, 1 << 63, u64::MAX] {
            for later in [Duration::ZERO, Duration::MAX] {
                let mut sum = line(&[0, 500]);
                sum.add_later(&odd(interval_ms), later);
                let mut other_way = odd(interval_ms);
                other_way.add_later(&line(&[0, 500]), later);
                assert!(sum.points.len() <= MAX_POINTS, "{interval_ms}");
            }
        }
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
