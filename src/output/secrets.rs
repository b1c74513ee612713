//! Values that nobody is to read in a report: wherever one would stand, its name stands, `${NAME}`.
//!
//! A case is searched before it is rendered, because renderers wrap and escape; every text for a screen or a file is
//! searched once more, because errors and progress are texts from the start.

use std::borrow::Cow;
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::sync::lock;

/// A shorter value stands in many texts by chance, and tells little.
const MIN_CHARS: usize = 4;

/// A text to look for, and what to write in its place. The longest is first, as one may be a part of another.
static HIDDEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Hides these values, by name, from now on.
pub(crate) fn hide(secrets: impl IntoIterator<Item = (String, String)>) {
    let mut hidden = lock(&HIDDEN);
    for (name, value) in secrets {
        let in_json = Value::String(value.clone()).to_string();
        let forms = [in_json.trim_matches('"').to_owned(), value];
        let forms = forms.into_iter().filter(|form| form.chars().count() >= MIN_CHARS);
        hidden.extend(forms.map(|form| (form, format!("${{{name}}}"))));
    }
    hidden.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
    hidden.dedup();
}

/// The text without what is hidden.
pub(crate) fn without(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (secret, name) in lock(&HIDDEN).iter() {
        if text.contains(secret) {
            text = text.replace(secret, name).into();
        }
    }
    text
}

/// A report without what is hidden in any of its texts.
pub(crate) fn report_without<T: Serialize + DeserializeOwned>(report: T) -> T {
    if lock(&HIDDEN).is_empty() {
        return report;
    }
    let masked = serde_json::to_value(&report).and_then(|mut value| {
        mask(&mut value);
        serde_json::from_value(value)
    });
    // A value that is also a word of the format, such as 'pass', is left to the texts.
    masked.unwrap_or(report)
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = without(text) {
                *text = masked;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(fields) => fields.values_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_value_is_replaced_by_its_name_wherever_it_stands() {
        let secrets = [("TEST_TOKEN", "hunter\"2"), ("TEST_LONGER", "and hunter\"2 too"), ("TEST_SHORT", "abc")];
        hide(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(without("x hunter\"2, and hunter\"2 too"), "x ${TEST_TOKEN}, ${TEST_LONGER}");
        assert_eq!(without(r#"{"a":"hunter\"2"}"#), r#"{"a":"${TEST_TOKEN}"}"#);
        assert_eq!(without("abcd"), "abcd", "too short to be looked for");
        let report = report_without(vec![vec!["hunter\"2".to_owned(), "else".to_owned()]]);
        assert_eq!(report, [["${TEST_TOKEN}", "else"]]);
    }
}
