//! How long the round trips of an interval took, coarsely: counts in buckets of a logarithmic scale, eight an octave.
//!
//! A bucket is at most an eighth wide, so a percentile is wrong by at most 6 %: enough for a drawing, and small enough
//! for each of 512 intervals. The exact percentiles of the run are those of [`Latency`](super::Latency).

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bits of a value, below its highest, that tell its bucket: eight buckets an octave.
const BUCKET_BITS: u32 = 3;
/// Buckets for every value of 64 bits.
const BUCKETS: usize = 496;

/// The bucket of a value.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    if nanos < 1 << BUCKET_BITS {
        return nanos as usize;
    }
    let octave = nanos.ilog2() - BUCKET_BITS;
    (((octave + 1) << BUCKET_BITS) as usize) | ((nanos >> octave) as usize & 7)
}

/// The middle of a bucket.
fn middle_of(bucket: u16) -> u64 {
    let (octave, part) = (bucket >> BUCKET_BITS, u64::from(bucket & 7));
    match octave.checked_sub(1) {
        None => part,
        Some(shift) => ((8 + part) << shift) + ((1 << shift) >> 1),
    }
}

/// Collects the round trips of the interval that has not ended yet. Recording one is an increment.
#[derive(Clone, Debug)]
pub struct TripRecorder {
    counts: Vec<u32>,
    longest: u64,
}

impl Default for TripRecorder {
    fn default() -> Self {
        TripRecorder { counts: vec![0; BUCKETS], longest: 0 }
    }
}

impl TripRecorder {
    /// Adds a round trip of this many nanoseconds.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket_of(nanos)] += 1;
        self.longest = self.longest.max(nanos);
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &TripRecorder) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.longest = self.longest.max(other.longest);
    }

    /// The longest since the last call of [`move_to`](Self::move_to), in nanoseconds; 0 if there was none.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Moves what was recorded to `counts`, and starts from zero.
    pub fn move_to(&mut self, counts: &mut TripCounts) {
        if self.longest == 0 && self.counts[0] == 0 {
            return;
        }
        let taken = (0u16..).zip(&mut self.counts).filter(|(_, count)| **count > 0);
        let taken: Vec<(u16, u64)> = taken.map(|(bucket, count)| (bucket, u64::from(std::mem::take(count)))).collect();
        counts.add(&TripCounts(taken));
        self.longest = 0;
    }
}

/// The round trips of an interval: the buckets that are not empty, in their order, with their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TripCounts(Vec<(u16, u64)>);

impl TripCounts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another interval or worker.
    pub fn add(&mut self, other: &TripCounts) {
        for (bucket, count) in &other.0 {
            match self.0.binary_search_by_key(bucket, |(bucket, _)| *bucket) {
                Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(*count),
                Err(at) => self.0.insert(at, (*bucket, *count)),
            }
        }
    }

    /// The value, in nanoseconds, at or below which `percent` (0 to 100) of them are, as exactly as the buckets tell.
    /// `None` if there are none.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let total = self.0.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let wanted = (total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        let found = self.0.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        found.map(|(bucket, _)| middle_of(*bucket))
    }
}

impl Serialize for TripCounts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for (bucket, count) in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{bucket}:{count}");
        }
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for TripCounts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let pair = |word: &str| {
            let (bucket, count) = word.split_once(':')?;
            let bucket = bucket.parse().ok().filter(|bucket| usize::from(*bucket) < BUCKETS)?;
            Some(TripCounts(vec![(bucket, count.parse().ok()?)]))
        };
        let mut all = TripCounts::default();
        for word in text.split_whitespace() {
            all.add(&pair(word).ok_or_else(|| D::Error::custom(format!("'{word}' is not BUCKET:COUNT")))?);
        }
        Ok(all)
    }
}

impl JsonSchema for TripCounts {
    fn schema_name() -> Cow<'static, str> {
        "TripCounts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(\\d+:\\d+( \\d+:\\d+)*)?$",
            "description": "Round trips by their length: BUCKET:COUNT, eight buckets an octave. From 8 on, bucket b \
                            begins at (8 + b mod 8) << (b div 8 - 1) nanoseconds; below, b is the nanoseconds.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: impl IntoIterator<Item = u64>) -> TripCounts {
        let (mut recorder, mut counts) = (TripRecorder::default(), TripCounts::default());
        values.into_iter().for_each(|value| recorder.record(value));
        recorder.move_to(&mut counts);
        assert_eq!(recorder.longest(), 0, "it starts from zero");
        counts
    }

    #[test]
    fn the_middle_of_a_bucket_is_off_by_a_sixteenth_at_most() {
        for nanos in (0..64).flat_map(|shift| [1u64 << shift, (1 << shift) + (1 << shift) / 3, u64::MAX >> shift]) {
            let middle = middle_of(bucket_of(nanos) as u16);
            assert_eq!(bucket_of(middle), bucket_of(nanos), "{nanos}");
            assert!(middle.abs_diff(nanos) <= nanos / 16, "{nanos}: {middle}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values_but_for_the_width_of_a_bucket() {
        let all = counts((1..=1000).map(|n| n * 1_000));
        for (percent, exact) in [(50.0, 500_000.0), (99.0, 990_000.0), (100.0, 1_000_000.0), (0.0, 1_000.0)] {
            let told = all.percentile(percent).expect("there are values") as f64;
            assert!((told - exact).abs() <= exact / 15.0, "p{percent}: {told}");
        }
        assert_eq!(TripCounts::default().percentile(50.0), None);
    }

    #[test]
    fn sums_and_json_lose_no_round_trip() {
        let (left, right) = ([3u64, 70, 900_000], [70u64, 1 << 40]);
        let mut sum = counts(left);
        sum.add(&counts(right));
        assert_eq!(sum, counts(left.into_iter().chain(right)));
        let json = serde_json::to_value(&sum).expect("a string");
        assert_eq!(json, "3:1 32:2 141:1 304:1");
        assert_eq!(serde_json::from_value::<TripCounts>(json).expect("it is read again"), sum);
        for wrong in ["3", "x:1", "496:1", "1:-1"] {
            assert!(serde_json::from_value::<TripCounts>(wrong.into()).is_err(), "{wrong}");
        }
    }
}
