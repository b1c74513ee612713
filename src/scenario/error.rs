//! Why a scenario can't be read: the problem, its place in the file, and the nearest valid word.
//!
//! Errors are shown as rustc shows them: the problem, file, line and column, and the line with a mark under it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// An invisible character that some editors put at the start of a file. It does not count as a column.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// The path of the file.
    path: String,
    /// The text of the file, without a byte order mark.
    text: Arc<str>,
    /// The part, in bytes of that text.
    span: Range<usize>,
}

/// Why a scenario can't be read. As text it is plain; [`styled`](Self::styled) is for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The problem, and what to write instead.
    problem: String,
    location: Location,
    /// Another place that the problem is about, and what stands there.
    related: Option<Box<(Location, &'static str)>>,
}

impl Location {
    /// The part `span` of a text, in bytes. A span that reaches beyond the text, or begins or ends within a letter, is
    /// cut to letters of the text.
    pub(super) fn new(path: &str, text: &str, span: Range<usize>) -> Location {
        let mark = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let start = text.floor_char_boundary(span.start.min(text.len())).max(mark);
        let end = text.ceil_char_boundary(span.end.min(text.len())).max(start);
        Location { path: path.to_owned(), text: text[mark..].into(), span: start - mark..end - mark }
    }

    fn snippet(
        &self,
        kind: AnnotationKind,
        label: Option<&'static str>,
    ) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        Snippet::source(&*self.text).path(self.path.as_str()).annotation(kind.span(self.span.clone()).label(label))
    }
}

impl ScenarioError {
    /// This problem, at this place.
    pub(super) fn new(problem: impl Into<String>, location: Location) -> ScenarioError {
        ScenarioError { problem: problem.into(), location, related: None }
    }

    /// The same error with another place that it is about.
    #[must_use]
    pub(super) fn with_related(self, location: Location, label: &'static str) -> ScenarioError {
        ScenarioError { related: Some(Box::new((location, label))), ..self }
    }

    /// The error in colours.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        // The command line says 'error' before any error.
        let title = Level::ERROR.no_name().primary_title(self.problem.as_str());
        let mut report = title.element(self.location.snippet(AnnotationKind::Primary, None));
        if let Some((location, label)) = self.related.as_deref() {
            report = report.element(location.snippet(AnnotationKind::Context, Some(label)));
        }
        renderer.render(&[report])
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for ScenarioError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, span: Range<usize>) -> String {
        ScenarioError::new("wrong", Location::new("a.toml", text, span)).to_string()
    }

    #[test]
    fn an_error_reads_like_this() {
        let text = "# A case.\nname = 'n'\ncons = 5\n";
        let cons = text.find("cons").expect("it is in the text");
        insta::assert_snapshot!(error(text, cons..cons + 4), @r"
        wrong
         --> a.toml:3:1
          |
        3 | cons = 5
          | ^^^^
        ");
    }

    #[test]
    fn a_part_of_several_lines_is_marked_from_its_first_to_its_last() {
        let text = "a = [\n  1,\n  2,\n]\n";
        insta::assert_snapshot!(error(text, 4..17), @r"
        wrong
         --> a.toml:1:5
          |
        1 |   a = [
          |  _____^
        2 | |   1,
        3 | |   2,
        4 | | ]
          | |_^
        ");
    }

    #[test]
    fn an_error_about_two_places_shows_both() {
        let here = Location::new("b.toml", "name = 'n'\n", 7..10);
        let error = ScenarioError::new("twice", here);
        let error = error.with_related(Location::new("a.toml", "\nname = 'n'\n", 8..11), "the other one");
        insta::assert_snapshot!(error.to_string(), @r"
        twice
         --> b.toml:1:8
          |
        1 | name = 'n'
          |        ^^^
          |
         ::: a.toml:2:8
          |
        2 | name = 'n'
          |        --- the other one
        ");
        let plain = anstream::adapter::strip_str(&error.styled()).to_string();
        assert!(plain == error.to_string() && error.styled() != plain, "colours change no letter");
    }

    /// The line with the place, and the part of the text above the mark.
    fn marked(text: &str, word: &str) -> (String, String) {
        let at = text.find(word).expect("the word is in the text");
        let shown = error(text, at..at + word.len());
        let lines: Vec<&str> = shown.lines().collect();
        let (from, until) = (lines[4].find('^').expect("a mark"), lines[4].rfind('^').expect("a mark"));
        let above: String = lines[3].chars().skip(from).take(until + 1 - from).collect();
        (lines[1].trim().to_owned(), above)
    }

    #[test]
    fn the_mark_stands_under_the_part_that_is_wrong() {
        for (text, word, place) in [
            ("a = 1\nb = 22\n", "22", "--> a.toml:2:5"),
            ("a = 1\n\tb =\t22\t# c\n", "22", "--> a.toml:2:6"),
            ("\u{feff}b = 22\n", "22", "--> a.toml:1:5"),
            ("\u{feff}b = 22\n", "b", "--> a.toml:1:1"),
            ("\u{feff}a = 1\nb = 22", "b", "--> a.toml:2:1"),
            ("é = 1\r\né = 22\r\n", "22", "--> a.toml:2:5"),
        ] {
            assert_eq!(marked(text, word), (place.to_owned(), word.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn any_span_of_any_text_has_a_place() {
        for text in ["", "\u{feff}", "\n", "\u{feff}\n", "é\t", "a\r\n"] {
            for start in 0..text.len() + 2 {
                for end in start..text.len() + 2 {
                    assert!(error(text, start..end).contains("--> a.toml:1:") || text.contains('\n'), "{text:?}");
                    assert!(error(text, start..end).contains("--> a.toml:"), "{text:?}");
                }
            }
        }
    }
}
