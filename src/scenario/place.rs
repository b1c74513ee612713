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

/// What some editors put before the first letter of a file, and nobody sees.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// A tab is as wide as a terminal makes it; shown are spaces, so that the mark stands where it should.
const TAB: &str = "    ";

/// The place alone: `a.toml:1:8`.
pub(super) fn at(path: &str, text: &str, span: &Range<usize>) -> String {
    let (line_start, start) = start(text, span);
    format!("{path}:{}:{}", text[..start].matches('\n').count() + 1, text[line_start..start].chars().count() + 1)
}

/// Where the span's line begins, and where the span does.
fn start(text: &str, span: &Range<usize>) -> (usize, usize) {
    let first = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    let start = text.floor_char_boundary(span.start.min(text.len())).max(first);
    (text[..start].rfind('\n').map_or(first, |at| at + 1), start)
}

/// The place, the line with a mark under it, and what is wrong with it.
pub(super) fn mark(path: &str, text: &str, span: Range<usize>, problem: &str) -> String {
    let (line_start, start) = start(text, &span);
    let line = text[line_start..].lines().next().unwrap_or("");
    let number = text[..start].matches('\n').count() + 1;
    let end = text.floor_char_boundary(span.end.clamp(start, (line_start + line.len()).max(start)));
    let shown = |part: &str| part.replace('\t', TAB);
    let width = |part: &str| shown(part).chars().count();
    let margin = " ".repeat(number.to_string().len());
    let mark =
        format!("{}{}", " ".repeat(width(&text[line_start..start])), "^".repeat(width(&text[start..end]).max(1)));
    let place = at(path, text, &span);
    format!("{place}: {problem}\n{margin} |\n{number} | {}\n{margin} | {mark}", shown(line))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands over the mark.
    fn marked(text: &str, word: &str) -> (String, String) {
        let at = text.find(word).expect("it is there");
        let shown = mark("a.toml", text, at..at + word.len(), "wrong");
        let lines: Vec<&str> = shown.lines().collect();
        let (from, until) = (lines[3].find('^').expect("a mark"), lines[3].rfind('^').expect("a mark"));
        let over: String = lines[2].chars().skip(from).take(until + 1 - from).collect();
        (lines[0].to_owned(), over)
    }

    #[test]
    fn the_mark_stands_under_what_is_wrong() {
        for (text, word, place) in [
            ("a = 1\nb = 22\n", "22", "a.toml:2:5: wrong"),
            ("a = 1\n\tb =\t22\t# c\n", "22", "a.toml:2:6: wrong"),
            ("\u{feff}b = 22\n", "22", "a.toml:1:5: wrong"),
            ("\u{feff}b = 22\n", "b", "a.toml:1:1: wrong"),
            ("\u{feff}a = 1\nb = 22", "b", "a.toml:2:1: wrong"),
            ("é = 1\r\né = 22\r\n", "22", "a.toml:2:5: wrong"),
        ] {
            assert_eq!(marked(text, word), (place.to_owned(), word.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn any_span_of_any_text_has_a_place() {
        for text in ["", "\u{feff}", "\n", "\u{feff}\n", "é\t", "a\r\n"] {
            for start in 0..text.len() + 2 {
                for end in start..text.len() + 2 {
                    assert!(mark("a.toml", text, start..end, "wrong").starts_with("a.toml:"), "{text:?}");
                }
            }
        }
    }
}
