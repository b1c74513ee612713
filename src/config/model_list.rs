//! Several models of the bundled server: the key `models` of a scenario, and `check --model`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::error::ConfigError;
use crate::server::models::{self, TABLE};

/// Several models: `all`, or names as a list or with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelList {
    /// Every model of this system.
    All,
    /// These models.
    Named(Vec<String>),
}

impl ModelList {
    /// The names of the models in the table; `auto` is the best model of this system.
    ///
    /// # Errors
    /// The list is empty, a model is listed twice, or no model has that name.
    pub fn names(&self) -> Result<Vec<&'static str>, ConfigError> {
        let named = match self {
            ModelList::All => return Ok(TABLE.iter().filter(|m| m.run.is_some()).map(|model| model.name).collect()),
            ModelList::Named(named) => named,
        };
        let mut names = Vec::new();
        for (item, name) in named.iter().enumerate() {
            let wrong = |problem: String| ConfigError::new("models", name, problem).in_item(item);
            if name == "all" {
                return Err(wrong("all is every model of this system".to_owned()).remedy("write all alone"));
            }
            let model = models::find(name).map_err(wrong)?;
            if names.contains(&model.name) {
                return Err(wrong("it is listed twice".to_owned()).remedy("leave one of them out"));
            }
            names.push(model.name);
        }
        if names.is_empty() {
            return Err(ConfigError::new("models", "[]", "the list is empty").remedy("name a model, or write all"));
        }
        Ok(names)
    }
}

impl From<&str> for ModelList {
    fn from(text: &str) -> Self {
        match text.trim() {
            "all" => ModelList::All,
            names => ModelList::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }
}

impl fmt::Display for ModelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelList::All => f.write_str("all"),
            ModelList::Named(names) => write!(f, "{names:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for ModelList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModelListVisitor)
    }
}

struct ModelListVisitor;

impl<'de> Visitor<'de> for ModelListVisitor {
    type Value = ModelList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all, or models as a list or with commas")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ModelList, E> {
        Ok(ModelList::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<ModelList, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(ModelList::Named)
    }
}

impl JsonSchema for ModelList {
    fn schema_name() -> Cow<'static, str> {
        "ModelList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "all (every model of this system), or models, as a list or with commas between them",
            "oneOf": [
                { "type": "string", "examples": ["all", "epoll,io-uring"] },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
            ],
        })
    }
}
