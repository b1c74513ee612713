//! The scales of plots: where a value stands on an axis, and which values are marked on it. A leaf, apart from the
//! texts of values.

use super::super::quantity::Quantity;

/// Marks that an axis has at most, so that their texts do not meet even on a phone.
const MOST_MARKS: f64 = 5.0;
/// Steps between marks of a time axis, in seconds.
const TIME_STEPS: [f64; 24] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0,
    3600.0, 7200.0, 14_400.0, 28_800.0, 86_400.0, 172_800.0,
];

/// A value that is marked: its place on the axis, from 0 to 1, and its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) place: f64,
    pub(super) text: String,
}

/// Whether there are parts of one.
fn has_parts(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::Seconds | Quantity::Number)
}

/// How much the next larger unit is.
fn base(quantity: Quantity) -> f64 {
    if matches!(quantity, Quantity::Bytes | Quantity::BytesPerSecond) { 1024.0 } else { 1000.0 }
}

/// From a value to its place on an axis.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// The values that are marked, with their texts.
    pub(super) marks: Vec<Mark>,
}

impl Scale {
    /// From 0 to a round value that is at least `most`.
    pub(super) fn linear(most: f64, quantity: Quantity) -> Scale {
        let most = if has_parts(quantity) { most.max(f64::MIN_POSITIVE) } else { most.max(1.0) };
        let step = round_step(most / (MOST_MARKS - 1.0), quantity);
        let high = (most / step).ceil() * step;
        let marks = (0..=(high / step).round() as u32).map(|n| f64::from(n) * step);
        Scale { low: 0.0, high, is_log: false, marks: Vec::new() }.marked(marks, |value| quantity.show(value))
    }

    /// From a power of ten that is at most `least` to one that is at least `most`.
    pub(super) fn log(least: f64, most: f64, quantity: Quantity) -> Scale {
        let least = least.max(1.0);
        let (low, high) = (least.log10().floor() as i32, most.max(least).log10().ceil() as i32);
        let high = high.max(low + 1);
        // Of many decades, every second or third is marked.
        let step = (f64::from(high - low) / MOST_MARKS).ceil().max(1.0) as usize;
        let marks = (low..=high).step_by(step).map(|power| 10f64.powi(power));
        Scale { low: f64::from(low), high: f64::from(high), is_log: true, marks: Vec::new() }
            .marked(marks, |value| quantity.show(value))
    }

    /// The time of a run, from 0 to this many seconds.
    pub(super) fn time(seconds: f64) -> Scale {
        let high = seconds.max(1e-3);
        let step = TIME_STEPS.into_iter().find(|step| high / step <= MOST_MARKS).unwrap_or(high);
        let marks = (0..=(high / step).floor() as u32).map(|n| f64::from(n) * step);
        Scale { low: 0.0, high, is_log: false, marks: Vec::new() }.marked(marks, |value| clock(value, step))
    }

    /// Percentiles up to 99.99, at the logarithm of what is above them.
    pub(super) fn percentiles() -> Scale {
        let marks = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
        let marks = marks.map(|(part, text)| Mark { place: nines(part) / 4.0, text: text.to_owned() });
        Scale { low: 0.0, high: 4.0, is_log: false, marks: marks.to_vec() }
    }

    /// Values with texts of their own, each at its place from 0 to 1.
    pub(super) fn of_marks(marks: Vec<Mark>) -> Scale {
        Scale { low: 0.0, high: 1.0, is_log: false, marks }
    }

    fn marked(mut self, values: impl Iterator<Item = f64>, text: impl Fn(f64) -> String) -> Scale {
        self.marks = values.map(|value| Mark { place: self.place(value), text: text(value) }).collect();
        self
    }

    /// Where a value stands: from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// How many nines a part of all has: 0.99 has 2.
fn nines(part: f64) -> f64 {
    -(1.0 - part).log10()
}

/// The least of 1, 2, 5, 10 … that is at least `least`, in the unit that shows it; of counts, no part of 1.
fn round_step(least: f64, quantity: Quantity) -> f64 {
    let mut unit = 1.0;
    while least / unit > base(quantity) / 2.0 {
        unit *= base(quantity);
    }
    let power = 10f64.powf((least / unit).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power * unit);
    let step = steps.into_iter().find(|step| *step >= least * 0.999_999).unwrap_or(steps[3]);
    if has_parts(quantity) { step } else { step.max(1.0) }
}

/// A time of the run at a mark: in the unit of the step between two marks.
fn clock(seconds: f64, step: f64) -> String {
    match step {
        _ if seconds == 0.0 => "0".to_owned(),
        step if step >= 3600.0 => format!("{:.0} h", seconds / 3600.0),
        step if step >= 60.0 => format!("{:.0} min", seconds / 60.0),
        step if step >= 1.0 => format!("{seconds:.0} s"),
        step if step >= 0.1 => format!("{seconds:.1} s"),
        _ => format!("{:.0} ms", seconds * 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale) -> Vec<&str> {
        scale.marks.iter().map(|mark| mark.text.as_str()).collect()
    }

    #[test]
    fn marks_are_round_values_in_the_unit_that_fits() {
        assert_eq!(texts(&Scale::linear(3.0, Quantity::Count)), ["0", "1", "2", "3"]);
        assert_eq!(texts(&Scale::linear(450.0, Quantity::Count)), ["0", "200", "400", "600"]);
        let rate = 289.0 * 1024.0 * 1024.0;
        assert_eq!(
            texts(&Scale::linear(rate, Quantity::BytesPerSecond)),
            ["0 B/s", "100 MiB/s", "200 MiB/s", "300 MiB/s"]
        );
        assert_eq!(
            texts(&Scale::log(20_000.0, 38e6, Quantity::Nanoseconds)),
            ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]
        );
        assert_eq!(texts(&Scale::time(1.94)), ["0", "0.5 s", "1.0 s", "1.5 s"]);
        assert_eq!(texts(&Scale::time(8.0 * 3600.0)), ["0", "2 h", "4 h", "6 h", "8 h"]);
    }

    #[test]
    fn no_axis_has_more_marks_than_fit_and_every_value_is_on_it() {
        for most in [0.0, 1.0, 7.0, 99.0, 1023.0, 1025.0, 5e9, 3e14] {
            for quantity in [Quantity::Count, Quantity::Bytes, Quantity::Nanoseconds] {
                let scale = Scale::linear(most, quantity);
                assert!((2..=6).contains(&scale.marks.len()), "{most}: {:?}", texts(&scale));
                assert!(scale.high >= most && scale.place(most) <= 1.0, "{most}");
                assert!(Scale::log(1.0, most, quantity).marks.len() <= 6, "{most}");
            }
            assert!((2..=6).contains(&Scale::time(most.max(0.1)).marks.len()), "{most}");
        }
    }

    #[test]
    fn each_nine_of_a_percentile_is_as_wide_as_the_others() {
        let places: Vec<f64> = Scale::percentiles().marks.iter().map(|mark| (mark.place * 100.0).round()).collect();
        assert_eq!(places, [8.0, 25.0, 50.0, 75.0, 100.0]);
    }
}
