//! The texts of a file that may have placeholders: `command`, `env` and `files` of each process and of the server, with
//! their places.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The keys whose texts may have placeholders.
const KEYS: [&str; 3] = ["command", "env", "files"];

/// A text, with its variables filled in, and the place of the value that it stands in.
pub(super) type PlacedText = (Range<usize>, String);

/// The texts of a file.
pub(super) struct ProcessTexts {
    /// Those of each `[[process]]`.
    pub(super) of_processes: Vec<Vec<PlacedText>>,
    /// Those of `[server]`.
    pub(super) of_server: Vec<PlacedText>,
}

impl ProcessTexts {
    /// Those of this document.
    pub(super) fn of(document: &DeTable<'_>) -> ProcessTexts {
        let of_table = |table: &DeTable<'_>| {
            let mut texts = Vec::new();
            for value in KEYS.iter().filter_map(|key| table.get(*key)) {
                collect(value.get_ref(), value.span(), &mut texts);
            }
            texts
        };
        let tables = document.get("process").and_then(|value| value.get_ref().as_array());
        let tables = tables.into_iter().flat_map(|tables| tables.iter());
        // Another value than a table is refused when the file is read; until then it keeps its place in the list.
        let of_value = |value: &DeValue<'_>| value.as_table().map(of_table).unwrap_or_default();
        ProcessTexts {
            of_processes: tables.map(|value| of_value(value.get_ref())).collect(),
            of_server: document.get("server").map(|value| of_value(value.get_ref())).unwrap_or_default(),
        }
    }
}

fn collect(value: &DeValue<'_>, span: Range<usize>, texts: &mut Vec<PlacedText>) {
    match value {
        DeValue::String(text) => texts.push((span, text.to_string())),
        DeValue::Array(values) => values.iter().for_each(|value| collect(value.get_ref(), value.span(), texts)),
        DeValue::Table(table) => table.iter().for_each(|(_, value)| collect(value.get_ref(), value.span(), texts)),
        _ => {}
    }
}
