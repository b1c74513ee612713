//! Latencies in an HDR histogram (Gil Tene's High Dynamic Range histogram): constant memory, 3 significant digits from
//! nanoseconds to hours, and addition without loss.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Significant decimal digits that are kept.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies in nanoseconds. Two are equal if they recorded the same values, in any order.
#[derive(Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        // It grows as values come, so an unused one costs little.
        Latency(Histogram::new(SIGNIFICANT_DIGITS).expect("3 digits are within what the histogram allows"))
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency").field("count", &self.count()).field("max", &self.max()).finish()
    }
}

impl Latency {
    /// Adds one latency in nanoseconds.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        // `saturating_record` would cut values to the range that the histogram has grown to so far.
        self.0.record(nanos).expect("a histogram that resizes itself takes any value");
    }

    /// Adds all latencies of another histogram.
    pub fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("a histogram that resizes itself takes any other");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The greatest. `None` if nothing was recorded.
    pub fn max(&self) -> Option<Duration> {
        self.of(Histogram::max)
    }

    /// The least. `None` if nothing was recorded.
    pub fn min(&self) -> Option<Duration> {
        self.of(Histogram::min)
    }

    /// The mean. `None` if nothing was recorded.
    pub fn mean(&self) -> Option<Duration> {
        self.of(|h| h.mean() as u64)
    }

    /// The value at or below which `percent` (0 to 100) of the recorded ones are. `None` if nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        self.of(|h| h.value_at_percentile(percent))
    }

    /// The same for several percentages above 0 in ascending order, in one walk through the histogram. There are fewer
    /// values only if nothing was recorded.
    pub fn percentiles(&self, percents: impl Iterator<Item = f64>) -> Vec<Duration> {
        let mut values = self.0.iter_recorded();
        let (mut seen, mut nanos) = (0, 0);
        let of = |percent: f64| {
            let wanted = ((percent / 100.0 * self.count() as f64).ceil() as u64).max(1);
            while seen < wanted {
                let value = values.next()?;
                seen = value.count_since_last_iteration().saturating_add(seen);
                nanos = value.value_iterated_to();
            }
            Some(Duration::from_nanos(nanos))
        };
        percents.map_while(of).collect()
    }

    /// How many are `nanos` or more, as far as the digits that are kept tell.
    pub fn count_from(&self, nanos: u64) -> u64 {
        if self.max().is_none_or(|max| max.as_nanos() < u128::from(nanos)) {
            return 0;
        }
        self.0.count_between(nanos, u64::MAX)
    }

    fn of(&self, value: impl Fn(&Histogram<u64>) -> u64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(value(&self.0)))
    }

    /// The lossless form: HdrHistogram's V2 encoding in base64, as its tools read it.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).expect("writing to memory does not fail");
        BASE64.encode(bytes)
    }

    /// Reads [`encode`](Self::encode)'s form.
    ///
    /// # Errors
    /// A sentence, if the text is not base64 or not a histogram in that encoding.
    pub fn decode(text: &str) -> Result<Latency, String> {
        let bytes = BASE64.decode(text).map_err(|e| format!("not base64: {e}"))?;
        check_header(&bytes)
            .ok_or("not an HdrHistogram in V2 encoding with 3 digits: its header says something else")?;
        let mut histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|e| format!("not an HdrHistogram in V2 encoding: {e:?}"))?;
        histogram.auto(true);
        Ok(Latency(histogram))
    }
}

/// Whether the header is one that [`Latency::encode`] writes. By it the library sizes its memory, before it has seen
/// whether the rest is as long as that.
fn check_header(bytes: &[u8]) -> Option<()> {
    /// The version, not compressed.
    const COOKIE: u32 = 0x1c84_9313;
    /// Bytes before the counts.
    const HEADER: usize = 40;
    let field = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (cookie, len, digits) = (field(0)?, field(4)?, field(12)?);
    let is_ours = cookie == COOKIE && digits == u32::from(SIGNIFICANT_DIGITS);
    (is_ours && len as usize <= bytes.len().checked_sub(HEADER)?).then_some(())
}

/// A histogram, in the form of the JSON report. Times are in nanoseconds, and null if nothing was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LatencyReport {
    /// How many were recorded.
    pub count: u64,
    /// The minimum.
    pub min_ns: Option<u64>,
    /// The mean.
    pub mean_ns: Option<u64>,
    /// Half are at or below.
    pub p50_ns: Option<u64>,
    /// 90 % are at or below.
    pub p90_ns: Option<u64>,
    /// 99 % are at or below.
    pub p99_ns: Option<u64>,
    /// 99.9 % are at or below.
    pub p999_ns: Option<u64>,
    /// The maximum.
    pub max_ns: Option<u64>,
    /// The whole histogram: HdrHistogram V2 encoding, base64. Values are nanoseconds.
    pub hdr: String,
}

impl From<&Latency> for LatencyReport {
    fn from(latency: &Latency) -> Self {
        let nanos = |time: Option<Duration>| time.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        LatencyReport {
            count: latency.count(),
            min_ns: nanos(latency.min()),
            mean_ns: nanos(latency.mean()),
            p50_ns: nanos(latency.percentile(50.0)),
            p90_ns: nanos(latency.percentile(90.0)),
            p99_ns: nanos(latency.percentile(99.0)),
            p999_ns: nanos(latency.percentile(99.9)),
            max_ns: nanos(latency.max()),
            hdr: latency.encode(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn if_nothing_was_recorded_values_are_none_and_not_zero() {
        let report = LatencyReport::from(&Latency::default());
        assert_eq!((report.count, report.p50_ns, report.max_ns), (0, None, None));
    }

    #[test]
    fn a_header_that_asks_for_more_memory_than_its_text_has_is_refused() {
        let mut latency = Latency::default();
        latency.record(7);
        let bytes = BASE64.decode(latency.encode()).expect("it is base64");
        for (at, value) in [(4, [0xff; 4]), (12, [0, 0, 0, 5]), (0, [0x1c, 0x84, 0x93, 0x14])] {
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&value);
            let why = Latency::decode(&BASE64.encode(changed)).expect_err("it is not ours");
            assert!(why.contains("its header says something else"), "{at}: {why}");
        }
        assert_eq!(Latency::decode(&BASE64.encode(bytes)), Ok(latency));
    }

    proptest! {
        /// The sum of two workers' histograms is the histogram of one worker that saw everything, to the last count.
        #[test]
        fn adding_and_encoding_lose_nothing(
            left in prop::collection::vec(0u64..10_000_000_000, 0..100),
            right in prop::collection::vec(0u64..10_000_000_000, 0..100),
        ) {
            let of = |values: &[u64]| {
                let mut latency = Latency::default();
                values.iter().for_each(|v| latency.record(*v));
                latency
            };
            let mut sum = Latency::decode(&of(&left).encode()).expect("decode reads the form that encode writes");
            sum.add(&of(&right));
            let all = of(&[left, right].concat());
            prop_assert_eq!(LatencyReport::from(&sum).p99_ns, LatencyReport::from(&all).p99_ns);
            prop_assert_eq!(sum.count(), all.count());
            prop_assert_eq!(sum.max(), all.max());
            prop_assert!(sum.0 == all.0);
            let percents = [1.0, 50.0, 90.0, 99.0, 100.0];
            let one_by_one: Vec<_> = percents.into_iter().filter_map(|percent| all.percentile(percent)).collect();
            prop_assert_eq!(all.percentiles(percents.into_iter()), one_by_one);
        }
    }
}
