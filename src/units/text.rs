//! One text for a value everywhere: a flag, TOML and JSON take the same.
//!
//! A type lists its forms once, as a [`TextForm`]. Help texts, errors, and the description, the examples and the
//! pattern of its JSON Schema all follow from that list.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use super::ParseError;

/// One way to write a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// An example: `1..16KiB`.
    pub(crate) example: &'static str,
    /// The meaning of the example, unless it explains itself: `uniform`.
    pub(crate) meaning: Option<&'static str>,
    /// A regular expression for all texts of this form, without anchors.
    pattern: String,
}

impl Form {
    pub(crate) fn new(example: &'static str, pattern: impl Into<String>) -> Form {
        Form { example, meaning: None, pattern: pattern.into() }
    }

    /// A keyword, which is its own pattern.
    pub(crate) fn keyword(keyword: &'static str) -> Form {
        Form::new(keyword, keyword)
    }

    pub(crate) fn meaning(self, meaning: &'static str) -> Form {
        Form { meaning: Some(meaning), ..self }
    }
}

impl Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.example)?;
        self.meaning.map_or(Ok(()), |meaning| write!(f, " ({meaning})"))
    }
}

/// A value that is written as a text or as a plain number.
pub(crate) trait TextForm: FromStr<Err = ParseError> + Display {
    /// The kind of value, in the words before the list of its forms: `a size such as`.
    const WHAT: &'static str;

    /// Every way to write a value.
    fn forms() -> Vec<Form>;
}

/// A description: `a size such as 64, 1..16KiB (uniform) or each:1..2048 (in order)`.
pub(crate) fn description<T: TextForm>() -> String {
    format!("{} {}", T::WHAT, alternatives(&T::forms()))
}

/// The remedy of an error: `write 64, 1..16KiB (uniform) or each:1..2048 (in order)`.
pub(crate) fn remedy<T: TextForm>() -> String {
    format!("write {}", alternatives(&T::forms()))
}

/// The error of a text that is in none of the forms: `x is not one of a, b, c`.
pub(crate) fn not_one_of<T: TextForm>(text: &str) -> ParseError {
    let examples: Vec<&str> = T::forms().iter().map(|form| form.example).collect();
    ParseError::new(format!("{text} is not one of {}", examples.join(", ")))
}

/// A regular expression for all texts of a value, without anchors, to be used in the patterns of others.
pub(crate) fn pattern<T: TextForm>() -> String {
    let mut patterns: Vec<String> = T::forms().into_iter().map(|form| form.pattern).collect();
    patterns.dedup();
    format!("({})", patterns.join("|"))
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn alternatives(items: &[impl Display]) -> String {
    match items {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} or {last}", first.join(", "))
        }
    }
}

/// The JSON Schema of a value.
pub(crate) fn schema<T: TextForm>() -> schemars::Schema {
    let examples: Vec<&str> = T::forms().iter().map(|form| form.example).collect();
    schemars::json_schema!({
        "description": description::<T>(),
        "type": ["string", "integer"],
        "minimum": 0,
        "pattern": format!(r"^\s*{}\s*$", pattern::<T>()),
        "examples": examples,
    })
}

/// Serializes a [`TextForm`] with its `Display`, deserializes it with its `FromStr` (a plain number is read by its
/// digits), and describes it in a JSON Schema.
macro_rules! text_form {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::units::text::TextVisitor::new())
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::units::text::schema::<$type>()
            }
        }
    };
}
pub(crate) use text_form;

/// Makes a type whose values are the keywords of its `KEYWORDS` a [`TextForm`]. `$what` is the kind of value.
macro_rules! keyword_form {
    ($type:ident, $what:literal) => {
        impl std::str::FromStr for $type {
            type Err = $crate::units::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let text = text.trim();
                let found = Self::KEYWORDS.iter().find(|(keyword, _)| *keyword == text);
                found.map(|(_, value)| *value).ok_or_else(|| $crate::units::text::not_one_of::<Self>(text))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let (keyword, _) = Self::KEYWORDS.iter().find(|(_, value)| value == self).expect("each value has one");
                f.write_str(keyword)
            }
        }

        impl $crate::units::text::TextForm for $type {
            const WHAT: &'static str = $what;

            fn forms() -> Vec<$crate::units::text::Form> {
                Self::KEYWORDS.iter().map(|(keyword, _)| $crate::units::text::Form::keyword(keyword)).collect()
            }
        }

        $crate::units::text::text_form!($type);
    };
}
pub(crate) use keyword_form;

/// Parses a string, or the digits of a plain number, with `FromStr`.
pub(crate) struct TextVisitor<T>(PhantomData<T>);

impl<T> TextVisitor<T> {
    pub(crate) fn new() -> Self {
        TextVisitor(PhantomData)
    }
}

impl<T: TextForm> serde::de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&description::<T>())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Checks of what every text form promises, for the tests of each type.
#[cfg(test)]
pub(crate) mod checks {
    use super::{TextForm, schema};
    use std::fmt::Debug;

    fn matches_schema<T: TextForm>(text: &str) -> bool {
        let schema = serde_json::to_value(schema::<T>()).expect("a schema is JSON");
        let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
        validator.is_valid(&serde_json::Value::from(text))
    }

    /// Each example parses, and its normal form parses back to the same value.
    pub(crate) fn examples_are_valid<T: TextForm + Debug + PartialEq>() {
        for form in T::forms() {
            let example = form.example;
            assert!(example.parse::<T>().is_ok(), "{example}: {}", example.parse::<T>().expect_err(example));
            any_text_is_handled::<T>(example);
        }
    }

    /// Any text either parses, matches the published pattern and has a normal form that parses back to the same value;
    /// or it is refused in words.
    pub(crate) fn any_text_is_handled<T: TextForm + Debug + PartialEq>(text: &str) {
        match text.parse::<T>() {
            Ok(value) => {
                let normal = value.to_string();
                assert_eq!(normal.parse::<T>().ok(), Some(value), "{text:?} is {normal}");
                assert!(matches_schema::<T>(text), "{text:?} parses and does not match {:?}", schema::<T>());
                assert!(matches_schema::<T>(&normal), "{normal:?} does not match {:?}", schema::<T>());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    /// Texts that are near enough to the grammars to get past the first step of a parser.
    pub(crate) fn texts() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        prop_oneof![
            any::<String>(),
            "[-+]?[0-9]{0,21}[.]{0,3}[0-9]{0,21} ?(|[kKmMgGtTbB]|[kKmMgGtT]i?[bB]|ms|us|ns|s|h|µs)(/s|/m)?",
            "(log:|edges:|pick:|each:|slow:|pause:|each:edges:)?[0-9]{1,4}(k|KiB|s|ms)?((,|[.][.])[0-9]{0,4}(k|KiB|s|ms)?){0,3}",
            "[0-9a-f.:]{1,20}(/[0-9]{1,3})?(,[0-9.:]{1,9})?",
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::alternatives;

    #[test]
    fn alternatives_are_joined_by_commas_and_or() {
        assert_eq!(alternatives(&[0; 0]), "");
        assert_eq!(alternatives(&["a"]), "a");
        assert_eq!(alternatives(&["a", "b"]), "a or b");
        assert_eq!(alternatives(&["a", "b", "c"]), "a, b or c");
    }
}
