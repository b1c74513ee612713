//! The JSON Schema of scenario files, which is published as `scenarios/scenario.schema.json` and printed by
//! `echo-tester schema scenario`.

use schemars::transform::transform_subschemas;
use schemars::{Schema, json_schema, schema_for};
use serde_json::{Value, json};

use super::file::ScenarioFile;

/// Matches a text with a variable in it. The text can have any form, because only the value of the variable must have
/// the right one.
const WITH_VARIABLE: &str = r"\$\{";

/// The schema of [`ScenarioFile`], in which every string with a form of its own may have a variable instead.
pub fn of_files() -> Schema {
    let mut schema = schema_for!(ScenarioFile);
    allow_variables(&mut schema);
    schema
}

fn allow_variables(schema: &mut Schema) {
    transform_subschemas(&mut (allow_variables as fn(&mut Schema)), schema);
    if let Some(Value::String(pattern)) = schema.get_mut("pattern") {
        *pattern = format!("(?:{pattern})|{WITH_VARIABLE}");
    }
    let is_word = |schema: &Value| schema.get("const").is_some_and(Value::is_string);
    let words = schema.get("enum").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    if words.is_some_and(|words| words.iter().all(|word| word.is_string() || is_word(word))) {
        *schema = json_schema!({ "anyOf": [schema.clone(), json!({ "type": "string", "pattern": WITH_VARIABLE })] });
    }
}
