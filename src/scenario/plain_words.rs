//! What the TOML parser and serde say about a file, in plain words and with what to write instead.
//!
//! Their messages are all there is: `toml::de::Error` keeps them as text. They speak of maps, sequences and variants.
//! They know what was expected, but not what the author of the file meant. The text of the file tells that.

use std::ops::Range;

use super::key_homes::homes_of;
use crate::units::nearest::nearest;

/// The problem of a file that is no TOML.
pub(super) fn of_syntax(message: &str, text: &str, span: Range<usize>) -> String {
    let line = line_of(text, span.start);
    let before = text.get(..span.start).unwrap_or_default();
    let here = text.get(span.start..).unwrap_or_default();
    let marked = text.get(span).unwrap_or_default();
    if here.starts_with("${") || (before.ends_with('$') && here.starts_with('{')) {
        let variable = here.trim_start_matches('$').split_inclusive('}').next().unwrap_or_default();
        return format!("a variable stands inside of quotes: write \"${variable}\"");
    }
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    let digits = value.replace(',', "");
    let plain = message.split(", expected").next().unwrap_or(message);
    match plain {
        "unexpected key or value" if value != digits && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("a number has no commas: write {digits}")
        }
        "unexpected key or value" => "a line has one value: write KEY = VALUE, with quotes around a text".to_owned(),
        "string values must be quoted" if marked.is_empty() => {
            "the value is missing: write one after the '=', with quotes around a text".to_owned()
        }
        "string values must be quoted" => format!("a text stands in quotes: write \"{marked}\""),
        "invalid boolean" => "write true or false, in small letters".to_owned(),
        "unexpected leading zero" => "a number does not begin with 0: leave it out".to_owned(),
        "key with no value" => "the key has no value: write KEY = VALUE".to_owned(),
        "duplicate key" if line.starts_with('[') => {
            "the table is there twice: leave one of them out; for several loads, write [[load]] each time".to_owned()
        }
        "duplicate key" => "the key is there twice: leave one of them out".to_owned(),
        _ => message.to_owned(),
    }
}

/// The problem of a file whose keys or values are not those of a scenario.
pub(super) fn of_content(message: &str, text: &str, span: Range<usize>) -> String {
    // Of all keys, only a scenario's name must be there.
    if message == "missing field `name`" {
        return "the scenario has no `name`: write name = \"WHAT IT SHOWS\" as its first line".to_owned();
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|types| types.split_once(", expected "))
    {
        return of_type(found, expected, text, span);
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let (Some(unknown), true) = (words.next(), message.starts_with("unknown")) else { return message.to_owned() };
    let message = message.replacen("unknown field", "unknown key", 1).replacen("unknown variant", "unknown value", 1);
    let problem = message.split(", expected").next().unwrap_or(&message);
    let homes = if problem.starts_with("unknown key") { homes_of(unknown) } else { Vec::new() };
    match nearest(unknown, words) {
        _ if !homes.is_empty() => format!("{problem} here: it belongs {}", homes.join(" or ")),
        _ if ["target", "targets"].contains(&unknown) => {
            format!("{problem}: no file names a target: leave out [server], and give --target HOST:PORT")
        }
        Some(nearest) => format!("{problem}: did you mean `{nearest}`?"),
        None => message,
    }
}

/// The problem of a value of another type than its key has.
fn of_type(found: &str, expected: &str, text: &str, span: Range<usize>) -> String {
    let value = text.get(span.clone()).unwrap_or_default();
    let line = line_of(text, span.start);
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_table = found == "map" && value.starts_with('[');
    match expected {
        "a sequence" if is_table => format!("there may be several: write [{value}]"),
        "a sequence" => format!("it must be a list: write {}", as_list(key, value)),
        "a boolean" => "it must be true or false: write one of them, without quotes".to_owned(),
        _ if is_table => format!("there is only one: write [{}]", value.trim_matches(['[', ']'])),
        "a string" if ["map", "sequence"].contains(&found) => "it must be one text: write \"…\"".to_owned(),
        "a string" => format!("it must be a text: write \"{value}\""),
        "a map" => format!("it must be a table: write {key} = {{ NAME = \"VALUE\" }}"),
        _ if expected.starts_with("struct ") => {
            let header = if ["load", "process"].contains(&key) { format!("[[{key}]]") } else { format!("[{key}]") };
            format!("it must be a table: write {header}, and its keys on the lines below it")
        }
        // The parser reads a date without quotes as a table.
        _ if found == "map" && value.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("it needs quotes: write \"{value}\"")
        }
        _ => format!("it must be {expected}"),
    }
}

/// A single value as a list. Of a command, each word is one item.
fn as_list(key: &str, value: &str) -> String {
    let quote = value.chars().next().filter(|first| ['\'', '"'].contains(first));
    match quote {
        Some(quote) if key == "command" => {
            let words = value.trim_matches(quote).split_whitespace();
            format!("[{}]", words.map(|word| format!("{quote}{word}{quote}")).collect::<Vec<_>>().join(", "))
        }
        _ => format!("[{value}]"),
    }
}

/// The line around a place of a text.
fn line_of(text: &str, at: usize) -> &str {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = after.find('\n').map_or(text.len(), |newline| at + newline);
    text.get(start..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::super::case::Scenario;

    #[test]
    fn a_value_of_the_wrong_type_is_answered_with_what_to_write() {
        for (text, remedy) in [
            ("name = 'n'\n[load]", "write [[load]]"),
            ("name = 'n'\nload = { conns = 1 }", "write [{ conns = 1 }]"),
            ("name = 'n'\nload = ['x']", "write [[load]], and its keys"),
            ("name = 'n'\n[[server]]\nmodel = 'auto'\n[[load]]", "there is only one: write [server]"),
            ("name = 'n'\nserver = 'auto'\n[[load]]", "write [server], and its keys"),
            ("name = 'n'\nneeds = 'ipv6'\n[[load]]", "write ['ipv6']"),
            ("name = 'n'\nneeds = 5\n[[load]]", "write [5]"),
            ("name = 'n'\n[server]\ncommand = \"x {addr}\"\n[[load]]", "write [\"x\", \"{addr}\"]"),
            ("name = 'n'\n[server]\nenv = 'x'\n[[load]]", "write env = { NAME = \"VALUE\" }"),
            ("name = 5\n[[load]]", "write \"5\""),
            ("name = ['x']\n[[load]]", "one text"),
            ("name = 'n'\nlong = 'yes'\n[[load]]", "true or false"),
            ("name = 'n'\n[[load]]\nconns = [5]", "it must be a count such as 500"),
            ("name = 'n'\n[run]\nstart_at = 2026-01-01T00:00:00Z\n[[load]]", "write \"2026-01-01T00:00:00Z\""),
        ] {
            let error = Scenario::parse("a.toml", text).expect_err(text).to_string();
            let is_foreign = ["invalid type", "sequence", "struct", " map"].iter().any(|word| error.contains(word));
            assert!(error.contains(remedy) && !is_foreign, "{text}\n{error}");
        }
    }

    #[test]
    fn a_slip_in_the_notation_is_answered_with_what_to_write() {
        for (line, remedy) in [
            ("messages = ${N}", "write \"${N}\""),
            ("messages = ${N:-5} # five", "write \"${N:-5}\""),
            ("messages = 1,000", "write 1000"),
            ("messages = 5 6", "write \"5 6\""),
            ("messages = 05", "leave it out"),
            ("messages =", "the value is missing"),
            ("messages 5", "write KEY = VALUE"),
            ("size = 16KiB", "write \"16KiB\""),
            ("exact = True", "small letters"),
            ("size = 5\nsize = 6", "leave one of them out"),
        ] {
            let text = format!("name = 'n'\n[[load]]\n{line}\n");
            let error = Scenario::parse("a.toml", &text).expect_err(&text).to_string();
            assert!(error.contains(remedy) && !error.contains("expected"), "{text}\n{error}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        for (text, remedy) in [
            ("name = 'n'\n[server]\nsuite = 'conformance'", "belongs at the top of the file, before any [table]"),
            ("name = 'n'\n[server]\nconns = 5\n[[load]]", "belongs in [[load]]"),
            ("name = 'n'\n[[load]]\nverdict = 'pass'", "belongs in [expect]"),
            ("name = 'n'\n[server]\ntarget = 'a:1'\n[[load]]", "give --target HOST:PORT"),
        ] {
            let error = Scenario::parse("a.toml", text).expect_err(text).to_string();
            assert!(error.contains(remedy), "{text}\n{error}");
        }
    }
}
