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
