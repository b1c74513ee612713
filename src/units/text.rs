//! One form everywhere: what parses from a flag is what TOML and JSON hold.

/// Serializes a type by its `Display`, deserializes it by its `FromStr` (a plain number is read as its digits), and
/// describes it in a JSON Schema by the pattern and the examples given.
macro_rules! text_form {
    ($type:ty, $name:literal, $expecting:literal, $pattern:literal, [$($example:literal),+ $(,)?]) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::units::text::TextVisitor::new($expecting))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": $expecting,
                    "type": ["string", "integer"],
                    "minimum": 0,
                    "pattern": $pattern,
                    "examples": [$($example),+],
                })
            }
        }

        #[cfg(test)]
        impl $crate::units::text::Examples for $type {
            const EXAMPLES: &'static [&'static str] = &[$($example),+];
        }
    };
}
pub(crate) use text_form;

/// The examples that a type's schema shows, for the tests that hold them true.
#[cfg(test)]
pub(crate) trait Examples {
    /// Each of them parses.
    const EXAMPLES: &'static [&'static str];
}

/// Reads a string, or a plain number by its digits, with `FromStr`.
pub(crate) struct TextVisitor<T> {
    expecting: &'static str,
    made: std::marker::PhantomData<T>,
}

impl<T> TextVisitor<T> {
    pub(crate) fn new(expecting: &'static str) -> Self {
        TextVisitor { expecting, made: std::marker::PhantomData }
    }
}

impl<T> serde::de::Visitor<'_> for TextVisitor<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expecting)
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

/// What every text form promises, for the tests of each.
#[cfg(test)]
pub(crate) mod checks {
    use super::Examples;
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    fn pattern_of<T: schemars::JsonSchema>() -> serde_json::Value {
        serde_json::to_value(schemars::schema_for!(T)).expect("a schema is JSON")
    }

    /// Each example parses, its normal form parses back to the same value, and both match the published schema.
    pub(crate) fn examples_hold<T>()
    where
        T: Examples + FromStr + Display + Debug + PartialEq + schemars::JsonSchema,
        T::Err: Display,
    {
        let schema = pattern_of::<T>();
        let validator = jsonschema::validator_for(&schema).expect("a valid schema");
        for text in T::EXAMPLES {
            let value: T = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let normal = value.to_string();
            assert_eq!(normal.parse::<T>().ok(), Some(value), "{text} is {normal}");
            for form in [*text, &normal] {
                assert!(validator.is_valid(&serde_json::Value::from(form)), "{form} does not match {schema}");
            }
        }
    }

    /// Any text either parses, to a value whose normal form parses back to the same, or is refused in words.
    pub(crate) fn any_text_holds<T>(text: &str)
    where
        T: FromStr + Display + Debug + PartialEq,
        T::Err: Display,
    {
        match text.parse::<T>() {
            Ok(value) => {
                let normal = value.to_string();
                assert_eq!(normal.parse::<T>().ok(), Some(value), "{text:?} is {normal}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    /// Texts near enough to the grammars to get past their first step.
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
