//! Shared by the structs of options: how clap reads and explains their flags, and how they are written back as flags.

use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};
use serde::Serialize;
use serde_json::Value;

use crate::server::fault::kind::FAULT_TABLE;
use crate::units::ParseError;
use crate::units::text::TextForm;

/// The flags of a struct whose fields are flags: `--conns`, `500`, `--fail-fast`. Absent fields and those in
/// `without` are left out.
pub(super) fn to_flags(args: &impl Serialize, without: &[&str]) -> Vec<String> {
    let fields = serde_json::to_value(args).expect("structs of strings, numbers and flags have a JSON form");
    let mut flags = Vec::new();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let flag = flag_of(key);
        match value {
            _ if without.contains(&key.as_str()) => {}
            Value::Null => {}
            Value::Bool(true) => flags.push(flag),
            Value::Bool(false) => flags.push(format!("{flag}=false")),
            Value::String(text) => flags.extend([flag, text.clone()]),
            Value::Array(values) => {
                let texts = values.iter().filter_map(Value::as_str);
                flags.extend(texts.flat_map(|text| [flag.clone(), text.to_owned()]));
            }
            other => flags.extend([flag, other.to_string()]),
        }
    }
    flags
}

/// The flag of a key: `--connect-rate` for `connect_rate`.
pub(super) fn flag_of(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// Accepts what clap takes for true or false, and says of anything else what to write.
#[derive(Clone, Debug)]
pub(crate) struct TrueOrFalse;

impl TypedValueParser for TrueOrFalse {
    type Value = bool;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<bool, clap::Error> {
        let neither = |_: &str| Err(ParseError::new("it is neither true nor false").with_remedy("write true or false"));
        let parsed = BoolishValueParser::new().parse_ref(command, arg, value);
        parsed.or_else(|_| neither.parse_ref(command, arg, value))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new([PossibleValue::new("true"), PossibleValue::new("false")].into_iter()))
    }
}

/// Accepts one of these keywords, and shows them in help and completions.
pub(super) fn keyword_parser<T: Copy + Send + Sync>(
    keywords: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(keywords.iter().map(|(keyword, _)| *keyword)).map(move |given| {
        let found = keywords.iter().find(|(keyword, _)| *keyword == given);
        found.expect("clap accepts only these keywords").1
    })
}

/// Adds the forms of a flag's values to its long help.
pub(super) fn list_forms<T: TextForm>(arg: Arg) -> Arg {
    let forms: Vec<String> = T::forms().iter().map(ToString::to_string).collect();
    add_to_long_help(arg, &forms.join(" · "))
}

/// Adds the kinds of fault to the long help of `--fault`.
pub(super) fn list_fault_kinds(arg: Arg) -> Arg {
    let kinds: Vec<String> = FAULT_TABLE.iter().map(|row| format!("{}: {}", row.name, row.about)).collect();
    add_to_long_help(arg, &kinds.join("\n"))
}

fn add_to_long_help(arg: Arg, paragraph: &str) -> Arg {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    arg.long_help(format!("{help}\n\n{paragraph}"))
}
