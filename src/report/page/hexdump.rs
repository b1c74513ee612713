//! The bytes of a finding: those that should have come above those that came, with their characters, in pieces of
//! eight bytes that stand side by side where there is room. Bytes that differ are coloured.

use maud::{Markup, html};

use crate::report::excerpt::{is_all_right, letter, nothing_more_came};
use crate::report::text::show_count;
use crate::stream::Divergence;

/// Bytes of a piece: as wide as a phone.
const PIECE_BYTES: usize = 8;
/// A byte that does not exist: none was sent there, or none came.
const DOES_NOT_EXIST: &str = "--";
/// A byte that is not known: the excerpt ends before it.
const IS_NOT_KNOWN: &str = "..";

/// The dump; nothing if no byte differs.
pub(super) fn of(divergence: &Divergence) -> Markup {
    if is_all_right(divergence) {
        return html! {};
    }
    let Divergence { expected, received, .. } = divergence;
    let (after_received, len) = match nothing_more_came(divergence) {
        true => (DOES_NOT_EXIST, expected.len()),
        // A piece of which nothing is known says nothing.
        false => (IS_NOT_KNOWN, expected.len().min(received.len().next_multiple_of(PIECE_BYTES))),
    };
    let len = len.max(received.len());
    let differs = |n: usize| received.get(n).is_some_and(|byte| expected.get(n) != Some(byte));
    html! {
        div.dump {
            @for from in (0..len).step_by(PIECE_BYTES) {
                @let piece = from..len.min(from + PIECE_BYTES);
                pre {
                    span.offset { "offset " (show_count(divergence.excerpt_offset + from as u64)) } "\n"
                    (line("expected", expected, DOES_NOT_EXIST, piece.clone(), differs, "was"))
                    "\n"
                    (line("received", received, after_received, piece, differs, "is"))
                }
            }
        }
    }
}

/// One line: bytes and characters; those that differ have this class.
fn line(
    name: &str,
    bytes: &[u8],
    absent: &str,
    piece: std::ops::Range<usize>,
    differs: impl Fn(usize) -> bool + Copy,
    class: &str,
) -> Markup {
    let hex = |n: usize| bytes.get(n).map_or_else(|| absent.to_owned(), |byte| format!("{byte:02x}"));
    let character = |n: usize| bytes.get(n).map_or_else(|| " ".to_owned(), |byte| letter(*byte));
    let missing = PIECE_BYTES - piece.len();
    html! {
        (name) " "
        @for n in piece.clone() { @if differs(n) { b.(class) { (hex(n)) } } @else { (hex(n)) } " " }
        @for _ in 0..missing { "   " }
        " "
        @for n in piece { @if differs(n) { b.(class) { (character(n)) } } @else { (character(n)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ConnId, FindingKind};

    fn divergence(kind: FindingKind, expected: &[u8], received: &[u8]) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, ConnId::new(1).expect("small"), 8, 8);
        divergence.excerpt_offset = 0;
        (divergence.expected, divergence.received) = (expected.to_vec(), received.to_vec());
        divergence
    }

    /// The dump as text, with what is marked in brackets.
    fn text(divergence: &Divergence) -> String {
        let page = of(divergence).into_string().replace("<b class=\"is\">", "[").replace("<b class=\"was\">", "[");
        let page = page.replace("</b>", "]").replace("</pre><pre>", "\n");
        let mut text = String::new();
        let mut inside = false;
        for letter in page.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                letter if !inside => text.push(letter),
                _ => {}
            }
        }
        text
    }

    #[test]
    fn bytes_that_differ_are_marked_in_both_lines_and_in_both_forms() {
        let dump = text(&divergence(FindingKind::Corrupt, b"01234567abcdefgh", b"01234567aXcd"));
        insta::assert_snapshot!(dump, @r"
        offset 0
        expected 30 31 32 33 34 35 36 37  01234567
        received 30 31 32 33 34 35 36 37  01234567
        offset 8
        expected 61 [62] 63 64 65 66 67 68  a[b]cdefgh
        received 61 [58] 63 64 .. .. .. ..  a[X]cd
        ");
    }

    #[test]
    fn bytes_that_are_only_missing_have_no_dump() {
        assert_eq!(of(&divergence(FindingKind::Truncated, b"0123", b"01")).into_string(), "");
    }

    #[test]
    fn a_byte_that_would_be_markup_is_escaped() {
        let page = of(&divergence(FindingKind::Corrupt, b"<script>", b"&script>")).into_string();
        assert!(page.contains("&lt;") && page.contains("&amp;") && !page.contains("<script"), "{page}");
    }
}
