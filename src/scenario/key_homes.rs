//! In which tables of a scenario file a key may stand. The JSON Schema knows, so there is no second list of keys.

use serde_json::Value;

use super::schema;

/// The tables of a file, as they are written.
const TABLES: &[(&str, &str)] = &[
    ("server", "in [server]"),
    ("process", "in [[process]]"),
    ("backend", "in [backend]"),
    ("outage", "in [outage]"),
    ("run", "in [run]"),
    ("load", "in [[load]]"),
    ("expect", "in [expect]"),
];

/// Where this key may stand: `in [run]`.
pub(super) fn homes_of(key: &str) -> Vec<&'static str> {
    let schema = schema::of_files().to_value();
    let has = |table: &Value| table["properties"].get(key).is_some();
    let top = has(&schema).then_some("at the top of the file, before any [table]");
    let tables = TABLES.iter().filter(|(name, _)| has(table_of(&schema, &schema["properties"][*name])));
    top.into_iter().chain(tables.map(|(_, place)| *place)).collect()
}

/// The table that a property is, or that its list holds, or that it is unless it is absent.
fn table_of<'s>(schema: &'s Value, property: &'s Value) -> &'s Value {
    let places = ["/$ref", "/items/$ref", "/anyOf/0/$ref", "/allOf/0/$ref"];
    let reference = places.iter().find_map(|place| property.pointer(place)?.as_str()?.strip_prefix('#'));
    reference.and_then(|reference| schema.pointer(reference)).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_found_in_the_schema() {
        let schema = schema::of_files().to_value();
        for (name, _) in TABLES {
            assert!(table_of(&schema, &schema["properties"][*name])["properties"].is_object(), "{name}");
        }
        assert_eq!(homes_of("grade"), ["at the top of the file, before any [table]"]);
        assert_eq!(homes_of("conns"), ["in [[load]]"]);
        assert!(homes_of("nonsense").is_empty());
    }
}
