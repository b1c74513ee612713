//! Values and foreign text as people read them: times, bytes and counts in the unit that shows them best, and text of
//! a server or a user, made safe for a document or a terminal.

use std::time::Duration;

use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use super::style::Style;
use crate::units::grouped;

/// A time in the unit that shows it best: `1.25 s`, `38.1 µs`.
pub fn show_time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// Bytes in the binary unit that shows them best: `61.0 MiB`.
pub fn show_bytes(bytes: f64) -> String {
    if bytes < 0.0 {
        return format!("-{}", show_bytes(-bytes));
    }
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{} {unit}", three_digits(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", three_digits(value))
}

/// A count with its thousands separated: `1,234,567`.
pub fn show_count(count: u64) -> String {
    grouped(count)
}

/// The first and the last lines of a text that may be long. A crash may print its message first and then pages of
/// state.
pub fn both_ends(lines: &[String], (first, last): (usize, usize)) -> Vec<String> {
    let left_out = lines.len().saturating_sub(first + last);
    if left_out <= 1 {
        return lines.to_vec();
    }
    // How many they are is not known here: the text may have been shortened before.
    let between = "(the lines between are not shown)".to_owned();
    lines[..first].iter().cloned().chain([between]).chain(lines[lines.len() - last..].iter().cloned()).collect()
}

/// Text for a document: without escape sequences of terminals, other control characters, and characters that no
/// document may hold (XML 1.0, section 2.2). A server does not always write text.
pub(super) fn plain(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let is_text = |letter: &char| match letter {
        '\n' | '\t' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        letter => !letter.is_control(),
    };
    stripped.chars().filter(is_text).collect()
}

/// Text for a terminal or the log of a CI system, either of which may obey what it reads. What it would obey is shown
/// escaped instead: control characters, characters that reverse the direction of writing, and the older form of
/// GitHub's commands, which the runner looks for anywhere in a line (`actions/runner`, ActionCommand.cs).
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(letter.escape_unicode());
            }
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown.replace("##[", "## [")
}

/// A paragraph, ending in a line break; its lines after the first are indented by two blanks. A word is never divided,
/// so that addresses and commands stay whole.
pub(crate) fn wrapped(text: &str, style: Style) -> String {
    hanging(text, "  ", style) + "\n"
}

/// A paragraph without a line break at the end; its lines after the first begin with `indent`.
pub(super) fn hanging(text: &str, indent: &str, style: Style) -> String {
    let options = Options::new(style.columns())
        .subsequent_indent(indent)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(&with_units(text), options).replace(UNBROKEN, " ")
}

/// A blank at which no line ends, while a text is wrapped.
const UNBROKEN: char = '\u{a0}';

/// The text with unbroken blanks between a number and its unit.
fn with_units(text: &str) -> String {
    const UNITS: &[&str] = &["ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB", "%", "×"];
    let mut words = text.split(' ');
    let mut joined = words.next().unwrap_or_default().to_owned();
    let is_number = |word: &str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    let mut follows_number = is_number(&joined);
    for word in words {
        let unit = word.trim_end_matches([',', '.', ';', ':', ')']);
        joined.push(if follows_number && UNITS.contains(&unit) { UNBROKEN } else { ' ' });
        joined.push_str(word);
        follows_number = is_number(word);
    }
    joined
}

fn three_digits(value: f64) -> String {
    match value {
        v if v == v.trunc() && v < 1000.0 => format!("{v:.0}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_both_ends_are_shown() {
        let lines: Vec<String> = (0..6).map(|n| n.to_string()).collect();
        assert_eq!(both_ends(&lines, (2, 3)), lines, "a remark would take the place of the one line that it is about");
        assert_eq!(both_ends(&lines, (1, 2)), ["0", "(the lines between are not shown)", "4", "5"]);
        assert!(both_ends(&[], (1, 2)).is_empty());
    }

    #[test]
    fn a_document_leaves_out_what_is_not_text() {
        assert_eq!(plain("a\u{1b}[31mb\u{1b}[0m\0\u{7}\r\n\té\u{fffe}\u{ffff}\u{85}"), "ab\n\té");
    }

    #[test]
    fn a_terminal_shows_what_it_would_otherwise_obey() {
        assert_eq!(visible("a\u{1b}[31mb\0\r\n\té\u{9b}\u{202e}"), "a\\u{1b}[31mb\\u{0}\\r\n\té\\u{9b}\\u{202e}");
        assert_eq!(visible("a ##[error]b"), "a ## [error]b");
    }

    #[test]
    fn no_line_ends_between_a_number_and_its_unit_or_within_a_word() {
        let text = "it was found after (464 µs earlier), and then 3 × lost: 12 MiB.";
        let narrow = Style::PLAIN.indented(100 - 24);
        let lines = wrapped(text, narrow);
        assert_eq!(lines, "it was found after\n  (464 µs earlier), and\n  then 3 × lost: 12 MiB.\n");
        assert_eq!(wrapped(&"x".repeat(50), narrow), "x".repeat(50) + "\n");
    }

    #[test]
    fn values_are_shown_in_the_unit_that_fits() {
        let nanos = Duration::from_nanos;
        assert_eq!(
            [show_time(nanos(0)), show_time(nanos(38_100)), show_time(nanos(1_250_000_000))],
            ["0 ns", "38.1 µs", "1.25 s"]
        );
        assert_eq!([show_bytes(0.0), show_bytes(1023.0), show_bytes(64e6)], ["0 B", "1023 B", "61.0 MiB"]);
        assert_eq!(show_bytes(-16384.0), "-16 KiB");
    }
}
