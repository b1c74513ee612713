//! Values that nobody is to read in a report: wherever one would stand, its name stands, `${NAME}`.
//!
//! A report is searched before it is rendered, text by text: renderers wrap and escape, and a value such as `true` must
//! not change the format itself. Errors, remarks and progress are texts from the start, and are searched as such.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::sync::lock;

/// A shorter value stands in many texts by chance, and tells little.
const MIN_CHARS: usize = 4;
/// The same for variables that nobody has asked to hide: `USE_AUTH=enabled` is no secret.
const MIN_CHARS_BY_NAME: usize = 8;

/// The mark behind a text that was cut.
const CUT: &str = "…";

/// Fields that hold text of others, and no word of the format.
const FREE_TEXTS: [&str; 9] =
    ["about", "actual", "begins", "error", "expected", "name", "reasons", "replay", "server_output"];

/// A text to look for, and what to write in its place. The longest is first, as one may be a part of another.
static HIDDEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Hides these values, by name, from now on.
pub(crate) fn hide(secrets: BTreeMap<String, String>) {
    secrets.iter().for_each(|(name, value)| hide_lines(name, value, MIN_CHARS));
}

/// Hides the values of the environment's variables whose names say that they are secret: a server inherits them, and
/// may print them. `named`: secret too, whatever they are called. Returns those of them that are not set.
pub(crate) fn hide_environment(named: &[String], is_secret_name: fn(&str) -> bool) -> Vec<String> {
    let variables = std::env::vars_os();
    for (name, value) in variables.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())) {
        if named.contains(&name) {
            hide_lines(&name, &value, MIN_CHARS);
        } else if is_secret_name(&name) {
            hide_lines(&name, &value, MIN_CHARS_BY_NAME);
        }
    }
    named.iter().filter(|name| std::env::var_os(name).is_none()).cloned().collect()
}

/// Output is kept line by line, so a value of several lines is looked for in the same way.
fn hide_lines(name: &str, value: &str, least: usize) {
    let mut hidden = lock(&HIDDEN);
    let lines = value.lines().map(str::trim).filter(|line| line.chars().count() >= least);
    hidden.extend(lines.map(|line| (line.to_owned(), format!("${{{name}}}"))));
    hidden.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
    hidden.dedup();
}

/// The text without what is hidden.
pub(crate) fn without(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    let hidden = lock(&HIDDEN);
    for (secret, name) in hidden.iter() {
        if text.contains(secret) {
            text = text.replace(secret, name).into();
        }
    }
    if text.contains(CUT) && !hidden.is_empty() {
        let parts: Vec<Cow<'_, str>> = text.split(CUT).map(|part| without_beginning(part, &hidden)).collect();
        // Behind the last mark nothing was cut.
        let last = text.rsplit(CUT).next().unwrap_or_default();
        let masked = format!("{}{CUT}{last}", parts[..parts.len() - 1].join(CUT));
        text = masked.into();
    }
    text
}

/// A text that was cut, without the beginning of what is hidden at its end: the rest was cut off before anybody could
/// look for it.
fn without_beginning<'t>(text: &'t str, hidden: &[(String, String)]) -> Cow<'t, str> {
    let longest = |(secret, name): &'_ (String, String)| {
        let ends = secret.char_indices().skip(MIN_CHARS).map(|(at, _)| at);
        let len = ends.filter(|len| text.ends_with(&secret[..*len])).last()?;
        Some((len, name.clone()))
    };
    match hidden.iter().filter_map(longest).max_by_key(|(len, _)| *len) {
        Some((len, name)) => format!("{}{name}", &text[..text.len() - len]).into(),
        None => text.into(),
    }
}

/// A report without what is hidden in any of its texts.
pub(crate) fn report_without<T: Serialize + DeserializeOwned>(report: T) -> T {
    if lock(&HIDDEN).is_empty() {
        return report;
    }
    let Ok(whole) = serde_json::to_value(&report) else { return report };
    let masked = |is_everything| {
        let mut value = whole.clone();
        mask(&mut value, is_everything);
        serde_json::from_value(value).ok()
    };
    // A value that is also a word of the format, such as 'pass', stays where the format has it.
    masked(true).or_else(|| masked(false)).unwrap_or(report)
}

/// Hides what is hidden in this value: in all texts, or in those that can be any text.
fn mask(value: &mut Value, is_text: bool) {
    match value {
        Value::String(text) if is_text => {
            if let Cow::Owned(masked) = without(text) {
                *text = masked;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| mask(value, is_text)),
        Value::Object(fields) => {
            for (key, field) in fields {
                mask(field, is_text || FREE_TEXTS.contains(&key.as_str()));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn hide_one(name: &str, value: &str) {
        hide(BTreeMap::from([(name.to_owned(), value.to_owned())]));
    }

    #[test]
    fn a_hidden_value_is_replaced_by_its_name_wherever_it_stands() {
        hide_one("TEST_TOKEN", "hunter\"2");
        hide_one("TEST_LONGER", "and hunter\"2 too");
        hide_one("TEST_SHORT", "abc");
        hide_one("TEST_LINES", "\n  first of hunters\r\nsecond of hunters\n");
        assert_eq!(without("x hunter\"2, and hunter\"2 too"), "x ${TEST_TOKEN}, ${TEST_LONGER}");
        assert_eq!(without("abcd"), "abcd", "too short to be looked for");
        assert_eq!(without("> second of hunters <"), "> ${TEST_LINES} <", "each line for itself");
        assert_eq!(without("it said \"x second of hun…\""), "it said \"x ${TEST_LINES}…\"", "its end was cut off");
        assert_eq!(without("sec… and second of hun"), "sec… and second of hun", "too short, and not cut");
        let report = report_without(vec![vec!["hunter\"2".to_owned(), "else".to_owned()]]);
        assert_eq!(report, [["${TEST_TOKEN}", "else"]]);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Outcome {
        #[serde(rename = "hunted")]
        Hunted,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Report {
        outcome: Outcome,
        reasons: Vec<String>,
    }

    #[test]
    fn a_value_that_is_a_word_of_the_format_leaves_the_format_whole() {
        hide_one("TEST_WORD", "hunted");
        let report = report_without(Report { outcome: Outcome::Hunted, reasons: vec!["it was hunted".to_owned()] });
        assert_eq!(report, Report { outcome: Outcome::Hunted, reasons: vec!["it was ${TEST_WORD}".to_owned()] });
    }
}
