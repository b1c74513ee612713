//! `compare --sweep conns=10,100,1k`: an axis of the load, and its values. They have the grammar of the axis's flag.

use std::fmt;
use std::str::FromStr;

use super::error::ConfigError;
use super::forms::{Fragment, Pipeline};
use super::load::LoadArgs;
use crate::plan::Distribution;
use crate::units::nearest::nearest;
use crate::units::{Bytes, Count, ParseError, Rate};

/// An axis with two or more values: `conns=10,100,1k`. Values that have commas themselves are separated by semicolons.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    axis: &'static Axis,
    /// The values.
    pub values: Vec<SweepValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepValue {
    setting: Setting,
}

/// What a value sets.
#[derive(Clone, Debug, PartialEq)]
enum Setting {
    Conns(Count),
    Size(Distribution),
    Fragment(Fragment),
    Rate(Rate),
    Pipeline(Pipeline),
}

/// An axis: its key, how its values are read, and whether a load sets it already.
struct Axis {
    key: &'static str,
    parse: fn(&str) -> Result<Setting, ParseError>,
    typed: fn(&LoadArgs) -> Option<String>,
}

/// The axes.
const AXES: &[Axis] = &[
    Axis {
        key: "conns",
        parse: |text| text.parse().map(Setting::Conns),
        typed: |load| load.conns.as_ref().map(ToString::to_string),
    },
    Axis {
        key: "size",
        parse: |text| text.parse().map(Setting::Size),
        typed: |load| load.size.as_ref().map(ToString::to_string),
    },
    Axis {
        key: "fragment",
        parse: |text| text.parse().map(Setting::Fragment),
        typed: |load| load.fragment.as_ref().map(ToString::to_string),
    },
    Axis {
        key: "rate",
        parse: |text| text.parse().map(Setting::Rate),
        typed: |load| load.rate.as_ref().map(ToString::to_string),
    },
    Axis {
        key: "pipeline",
        parse: |text| text.parse().map(Setting::Pipeline),
        typed: |load| load.pipeline.as_ref().map(ToString::to_string),
    },
];

/// The forms that have commas of their own.
const WITH_COMMAS: [&str; 3] = ["edges:", "pick:", "each:"];
const EXAMPLE: &str = "conns=10,100,1k";

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

impl PartialEq for Axis {
    fn eq(&self, other: &Axis) -> bool {
        self.key == other.key
    }
}

impl Sweep {
    /// The key of the axis, which is its flag without the hyphens.
    pub fn key(&self) -> &'static str {
        self.axis.key
    }

    /// Refuses a load that sets the axis already.
    ///
    /// # Errors
    /// It names the flag and its value.
    pub fn check(&self, load: &LoadArgs) -> Result<(), ConfigError> {
        let Some(value) = (self.axis.typed)(load) else { return Ok(()) };
        let problem = format!("`sweep = {}` sets it to each of its values", self.key());
        Err(ConfigError::new(self.axis.key, value, problem).remedy("leave out one of them"))
    }
}

impl SweepValue {
    /// The load with this value.
    pub fn applied_to(&self, load: &LoadArgs) -> LoadArgs {
        let mut load = load.clone();
        match self.setting.clone() {
            Setting::Conns(conns) => load.conns = Some(conns),
            Setting::Size(size) => load.size = Some(size),
            Setting::Fragment(fragment) => load.fragment = Some(fragment),
            Setting::Rate(rate) => load.rate = Some(rate),
            Setting::Pipeline(pipeline) => load.pipeline = Some(pipeline),
        }
        load
    }

    /// The value as a number (connections, bytes, messages per second), if it is one.
    pub fn number(&self) -> Option<f64> {
        let bytes = |text: String| text.parse().ok().map(|Bytes(bytes)| bytes as f64);
        match &self.setting {
            Setting::Conns(Count(conns)) => Some(*conns as f64),
            Setting::Rate(rate) => Some(rate.get()),
            Setting::Pipeline(pipeline) => pipeline.to_string().parse().ok(),
            Setting::Size(size) => bytes(size.to_string()),
            Setting::Fragment(fragment) => bytes(fragment.to_string()),
        }
    }
}

impl fmt::Display for SweepValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setting {
            Setting::Conns(conns) => conns.fmt(f),
            Setting::Size(size) => size.fmt(f),
            Setting::Fragment(fragment) => fragment.fmt(f),
            Setting::Rate(rate) => rate.fmt(f),
            Setting::Pipeline(pipeline) => pipeline.fmt(f),
        }
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        let separator = if values.iter().any(|value| value.contains(',')) { ";" } else { "," };
        write!(f, "{}={}", self.key(), values.join(separator))
    }
}

impl FromStr for Sweep {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (key, values) = text.split_once('=').ok_or_else(|| {
            ParseError::new("it names no axis with its values").with_remedy(format!("write {EXAMPLE}"))
        })?;
        let axis = AXES.iter().find(|axis| axis.key == key.trim()).ok_or_else(|| no_axis(key.trim()))?;
        let values = values.trim_matches(';');
        let separator = if values.contains(';') { ';' } else { ',' };
        let values: Vec<&str> = values.split(separator).map(str::trim).collect();
        if let Some(form) =
            WITH_COMMAS.iter().find(|form| separator == ',' && values.len() > 1 && values[0].starts_with(**form))
        {
            return Err(ParseError::new(format!("values such as {form}1,64 have commas themselves"))
                .with_remedy(format!("separate the values by semicolons: '{key}=64;pick:1,64'")));
        }
        let mut read: Vec<SweepValue> = Vec::new();
        for value in &values {
            let setting = (axis.parse)(value).map_err(|error| error.in_part(format!("{key}={value}")))?;
            let value = SweepValue { setting };
            if read.contains(&value) {
                return Err(ParseError::new(format!("{key}={value} is given twice")).with_remedy("leave one out"));
            }
            read.push(value);
        }
        match read.as_slice() {
            [only] => Err(ParseError::new(format!("{key}={only} is a single value"))
                .with_remedy(format!("write two or more, or --{key} {only}"))),
            _ => Ok(Sweep { axis, values: read }),
        }
    }
}

fn no_axis(key: &str) -> ParseError {
    let keys: Vec<&str> = AXES.iter().map(|axis| axis.key).collect();
    let error = ParseError::new(format!("{key} is no axis"));
    match nearest(key, keys.iter().copied()) {
        Some(meant) => error.with_remedy(format!("did you mean {meant}?")),
        None => error.with_remedy(format!("write one of {}", keys.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(text: &str) -> Sweep {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn values_have_the_grammar_of_the_flag() {
        let values = |text| sweep(text).values.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(values("conns=10,100,1k,10k"), ["10", "100", "1000", "10k"]);
        assert_eq!(values("size=64, 1..16KiB ,1024"), ["64", "1..16KiB", "1KiB"]);
        assert_eq!(values("fragment=off,1"), ["off", "1"]);
        assert_eq!(values("rate=1k,30/m"), ["1000/s", "0.5/s"]);
        assert_eq!(values("pipeline=1,unlimited"), ["1", "unlimited"]);
        assert_eq!(values("size=64;pick:1,64"), ["64", "pick:1,64"]);
    }

    #[test]
    fn a_value_that_is_a_number_is_told_as_one() {
        let numbers = |text| sweep(text).values.iter().map(SweepValue::number).collect::<Vec<_>>();
        assert_eq!(numbers("conns=10,1k"), [Some(10.0), Some(1000.0)]);
        assert_eq!(numbers("size=1KiB,1..64"), [Some(1024.0), None]);
        assert_eq!(numbers("fragment=off,7"), [None, Some(7.0)]);
        assert_eq!(numbers("rate=2k,5k"), [Some(2000.0), Some(5000.0)]);
        assert_eq!(numbers("pipeline=4,unlimited"), [Some(4.0), None]);
    }

    #[test]
    fn a_value_takes_its_place_in_the_load() {
        let base: LoadArgs = toml::from_str("messages = 5").expect("the load is valid");
        for (text, key) in [
            ("conns=10,20", "conns"),
            ("size=8,16", "size"),
            ("rate=5,10", "rate"),
            ("fragment=off,1", "fragment"),
            ("pipeline=2,3", "pipeline"),
        ] {
            let sweep = sweep(text);
            let loads: Vec<LoadArgs> = sweep.values.iter().map(|value| value.applied_to(&base)).collect();
            assert!(loads.iter().all(|load| load.messages.is_some() && sweep.check(load).is_err()), "{text}");
            assert_ne!(loads[0], loads[1]);
            assert_eq!((sweep.key(), sweep.check(&base)), (key, Ok(())));
        }
    }

    #[test]
    fn a_wrong_sweep_is_refused_with_the_value_and_what_to_write() {
        let refused = |text: &str| text.parse::<Sweep>().expect_err(text).to_string();
        for (text, expected) in [
            ("conns", "it names no axis with its values: write conns=10,100,1k"),
            ("con=1,2", "con is no axis: did you mean conns?"),
            ("xyz=1,2", "xyz is no axis: write one of conns, size, fragment, rate, pipeline"),
            ("conns=10", "conns=10 is a single value: write two or more, or --conns 10"),
            ("conns=10,10", "conns=10 is given twice: leave one out"),
            ("conns=1000,1k", "conns=1000 is given twice: leave one out"),
            ("conns=10,1x", "conns=1x: unknown unit x of a count: write 500, 19k (19,000), 1.5m (1,500,000) or 2g"),
            (
                "size=pick:1,64",
                "values such as pick:1,64 have commas themselves: separate the values by semicolons: \
                 'size=64;pick:1,64'",
            ),
        ] {
            assert_eq!(refused(text), expected);
        }
        assert!(refused("conns=10,").starts_with("conns=: the value is empty"));
    }

    #[test]
    fn a_load_that_sets_the_axis_is_refused() {
        let load: LoadArgs = toml::from_str("conns = 5").expect("the load is valid");
        let error = sweep("conns=10,20").check(&load).expect_err("both set it").in_flags().to_string();
        assert_eq!(error, "--conns 5: --sweep conns sets it to each of its values: leave out one of them");
    }

    #[test]
    fn the_normal_form_parses_back() {
        for text in
            ["conns=10,100,1000,10k", "size=64;pick:1,64", "fragment=off,1", "rate=5/s,10/s", "pipeline=1,unlimited"]
        {
            assert_eq!(sweep(text).to_string(), text);
            assert_eq!(sweep(&sweep(text).to_string()), sweep(text));
        }
    }
}
