//! Where in a file something stands, and how that is shown: file, line, column, the line with a mark under it (as rustc
//! does), and the nearest right word.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step into a TOML document.
#[derive(Clone, Copy)]
pub(super) enum Step<'s> {
    /// Into a table.
    Key(&'s str),
    /// Into a list.
    Index(usize),
}

/// Where a value stands; what does not exist is answered with the place of what should hold it.
pub(super) fn span_of(text: &str, steps: &[Step<'_>]) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else { return 0..0 };
    let mut span = 0..0;
    let mut table = Some(document.get_ref());
    let mut value: Option<&DeValue<'_>> = None;
    for step in steps {
        let next = match step {
            Step::Key(key) => table.and_then(|table| table.get(*key)),
            Step::Index(i) => value.and_then(|value| value.get(*i)),
        };
        let Some(next) = next else { break };
        span = next.span();
        value = Some(next.get_ref());
        table = next.get_ref().as_table();
    }
    span
}

/// The place alone: `a.toml:1:8`.
pub(super) fn at(path: &str, text: &str, span: &Range<usize>) -> String {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let line_start = line_start(text, start);
    format!("{path}:{}:{}", text[..start].matches('\n').count() + 1, text[line_start..start].chars().count() + 1)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |at| at + 1)
}

/// The place, the line with a mark under it, and what is wrong with it.
pub(super) fn mark(path: &str, text: &str, span: Range<usize>, problem: &str) -> String {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let line_start = line_start(text, start);
    let line = text[line_start..].lines().next().unwrap_or("");
    let number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let end = text.floor_char_boundary(span.end.clamp(start, (line_start + line.len()).max(start)));
    let width = text[start..end].chars().count().max(1);
    let margin = " ".repeat(number.to_string().len());
    let mark = format!("{}{}", " ".repeat(column), "^".repeat(width));
    let place = at(path, text, &span);
    format!("{place}: {problem}\n{margin} |\n{number} | {line}\n{margin} | {mark}")
}

/// The one of these words that was most likely meant, if any is near enough.
pub(super) fn nearest<'w>(wrong: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let likeness = |word: &str| strsim::jaro_winkler(wrong, word);
    let nearest = words.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest.filter(|word| likeness(word) > 0.7)
}

/// serde names the wrong word first and then all right ones, each in backticks: the nearest is what was meant.
pub(super) fn with_suggestion(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let (Some(wrong), true) = (words.next(), message.starts_with("unknown")) else { return message.to_owned() };
    match nearest(wrong, words) {
        Some(nearest) => {
            format!("{}: did you mean `{nearest}`?", message.split(", expected").next().unwrap_or(message))
        }
        None => message.to_owned(),
    }
}
