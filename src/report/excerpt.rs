//! The hex dump of a finding: the bytes that should have come above those that came, each row with its characters, and
//! marks below the bytes that differ. It is 75 columns wide, so that it fits a terminal of 80 under a case.
//!
//! `--` is a byte that does not exist: none was sent there, or none came. `..` is a byte that is not known, because the
//! excerpt ends before it.

use std::fmt::Write as _;

use super::style::{Role, Style};
use super::text::show_count;
use crate::stream::{Divergence, FindingKind};

/// Bytes in one row, and in one where the screen is narrow.
const ROW_BYTES: usize = 16;
const NARROW_ROW_BYTES: usize = 8;
/// Columns of a row.
const ROW_COLUMNS: usize = 75;
const DOES_NOT_EXIST: &str = "--";
const IS_NOT_KNOWN: &str = "..";

/// The hex dump; empty if no byte differs.
pub(super) fn render(divergence: &Divergence, style: Style) -> String {
    let Divergence { expected, received, .. } = divergence;
    if is_all_right(divergence) {
        return String::new();
    }
    let row_bytes = if style.columns() < ROW_COLUMNS { NARROW_ROW_BYTES } else { ROW_BYTES };
    let mut text = format!("  {}:\n", place("hex dump from offset", divergence.excerpt_offset));
    let (after_received, len) = if nothing_more_came(divergence) {
        (DOES_NOT_EXIST, expected.len())
    } else {
        // A row of which nothing is known says nothing.
        (IS_NOT_KNOWN, expected.len().min(received.len().next_multiple_of(row_bytes)))
    };
    let len = len.max(received.len());
    let rows =
        [("expected", &expected[..], DOES_NOT_EXIST, Role::Good), ("received", received, after_received, Role::Bad)];
    for start in (0..len).step_by(row_bytes) {
        let row = start..len.min(start + row_bytes);
        let differs = |n: usize| received.get(n).is_some_and(|byte| expected.get(n) != Some(byte));
        for (name, bytes, absent, role) in rows {
            let painted = |n: usize, text: &str| match differs(n) {
                true => style.paint(role, text),
                false => text.to_owned(),
            };
            let cell = |n| bytes.get(n).map_or_else(|| absent.to_owned(), |byte| painted(n, &format!("{byte:02x}")));
            let cells = row.clone().map(cell).collect::<Vec<_>>().join(" ");
            let room = " ".repeat(3 * (row_bytes - row.len()) + 2);
            let letter = |n: usize| bytes.get(n).map(|byte| painted(n, &letter(*byte)));
            let letters: String = row.clone().filter_map(letter).collect();
            let _ = writeln!(text, "{}", format!(" {name:<9}{cells}{room}{letters}").trim_end());
        }
        if row.clone().any(differs) {
            let marks: Vec<&str> = row.clone().map(|n| if differs(n) { "^^" } else { "  " }).collect();
            let _ = writeln!(text, "{}", format!("{:10}{}", "", marks.join(" ")).trim_end());
        }
    }
    text
}

/// A place in a stream: `offset 4,096 (0x1000)`.
pub(super) fn place(name: &str, offset: u64) -> String {
    format!("{name} {} ({offset:#x})", show_count(offset))
}

/// Whether foreign bytes came in place of right ones, and of how many.
pub(super) fn instead_of(divergence: &Divergence) -> String {
    match divergence.replaced {
        0 => "in between".to_owned(),
        all if all == divergence.extent => "in place of the right ones".to_owned(),
        some => format!("in place of {} of the right ones", show_count(some)),
    }
}

/// Whether no byte differs. Bytes that are only missing, because the connection ended, are of no interest.
pub(super) fn is_all_right(divergence: &Divergence) -> bool {
    let Divergence { expected, received, kind, .. } = divergence;
    match kind {
        FindingKind::Lost => expected.is_empty() && received.is_empty(),
        _ => expected.starts_with(received),
    }
}

/// Whether the bytes after those received are known not to have come.
pub(super) fn nothing_more_came(divergence: &Divergence) -> bool {
    // Of bytes lost in mid-stream, those after them are known.
    divergence.received.len() as u64 <= divergence.offset.saturating_sub(divergence.excerpt_offset)
}

/// The byte as a character of ASCII, or a dot.
pub(super) fn letter(byte: u8) -> String {
    match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::ConnId;

    fn divergence(kind: FindingKind, expected: &[u8], received: &[u8]) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, ConnId::new(1).expect("small"), 65_536, 8);
        divergence.excerpt_offset = 65_528;
        (divergence.expected, divergence.received) = (expected.to_vec(), received.to_vec());
        divergence
    }

    #[test]
    fn bytes_that_came_are_shown_below_those_expected_with_their_characters() {
        let expected: Vec<u8> = (48..80).collect();
        let received = b"01234567HTTP/1.0 400 Bad";
        insta::assert_snapshot!(render(&divergence(FindingKind::Corrupt, &expected, received), Style::PLAIN), @r"
          hex dump from offset 65,528 (0xfff8):
         expected 30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  0123456789:;<=>?
         received 30 31 32 33 34 35 36 37 48 54 54 50 2f 31 2e 30  01234567HTTP/1.0
                                          ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^
         expected 40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO
         received 20 34 30 30 20 42 61 64 .. .. .. .. .. .. .. ..   400 Bad
                  ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^
        ");
    }

    #[test]
    fn a_byte_that_was_not_sent_did_not_come_or_is_not_known_has_its_mark() {
        let row: Vec<u8> = (0..12).collect();
        let surplus = render(&divergence(FindingKind::Surplus, &row[..8], &row), Style::PLAIN);
        assert!(surplus.contains(" expected 00 01 02 03 04 05 06 07 -- -- -- --              ........\n"), "{surplus}");
        let nothing_came = render(&divergence(FindingKind::Lost, &row, &row[..8]), Style::PLAIN);
        assert!(nothing_came.contains(" received 00 01 02 03 04 05 06 07 -- -- -- --"), "{nothing_came}");
        let not_known = render(&divergence(FindingKind::Lost, &row, &[0, 1, 2, 3, 4, 5, 6, 7, 9, 10]), Style::PLAIN);
        assert!(not_known.contains(" received 00 01 02 03 04 05 06 07 09 0a .. .."), "{not_known}");
    }

    #[test]
    fn without_a_byte_that_differs_there_is_no_dump() {
        let row: Vec<u8> = (0..12).collect();
        for kind in [FindingKind::NoFin, FindingKind::Stalled, FindingKind::Reset, FindingKind::Truncated] {
            assert_eq!(render(&divergence(kind, &row, &row[..8]), Style::PLAIN), "");
            assert_eq!(render(&divergence(kind, &row[..8], &row[..8]), Style::PLAIN), "");
        }
        assert_eq!(render(&divergence(FindingKind::Lost, &[], &[]), Style::PLAIN), "");
    }

    #[test]
    fn a_dump_fits_eighty_columns_under_a_case() {
        let dump = render(&divergence(FindingKind::Corrupt, &[b'a'; 32], &[b'b'; 32]), Style::PLAIN);
        assert_eq!(dump.lines().map(str::len).max(), Some(75), "{dump}");
        let narrow = render(&divergence(FindingKind::Corrupt, &[b'a'; 32], &[b'b'; 32]), Style::new(60, false));
        assert!(narrow.lines().all(|line| line.len() <= 60) && narrow.lines().count() > dump.lines().count());
    }

    #[test]
    fn the_bytes_that_differ_are_coloured_and_nothing_else() {
        let coloured = render(&divergence(FindingKind::Corrupt, b"ab", b"ax"), Style::new(80, true));
        let red = |text: &str| Style::new(80, true).paint(Role::Bad, text);
        assert!(coloured.contains(&format!(" received 61 {}", red("78"))), "{coloured}");
        assert!(coloured.contains(&format!("a{}\n", red("x"))), "{coloured}");
        let plain = render(&divergence(FindingKind::Corrupt, b"ab", b"ax"), Style::new(80, false));
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
    }
}
