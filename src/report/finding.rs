//! A finding as people read it: a paragraph that says what happened, where and when; the hex dump (`excerpt`); the
//! writes and reads before it; and the command that runs it again.

use std::fmt::Write as _;
use std::time::Duration;

use super::ending;
use super::excerpt::{self, instead_of, place};
use super::style::{Role, Style};
use super::text::{hanging, show_count, show_time, visible, wrapped};
use super::two_sides;
use crate::stream::{Change, Corruption, Divergence, Finding, FindingKind, Op, OpKind, StreamSource};

/// As many bytes at the start of a connection can be lost to SYN cookies.
const MAX_SYN_COOKIE_BYTES: u64 = 3;

/// The whole finding, ending in a line break.
pub fn render(finding: &Finding, style: Style) -> String {
    let kind = style.paint(Role::Kind, finding.divergence.kind.name());
    let mut text = wrapped(&format!("{}. {}", heading_of(&finding.divergence, &kind), sentences(finding)), style);
    text.push_str(&excerpt::render(&finding.divergence, style));
    if !finding.recent.is_empty() {
        let ops = format!("before it: {}", operations(finding).join(", "));
        let _ = writeln!(text, "  {}", hanging(&ops, "  ", style.indented(2)));
    }
    if let Some(replay) = &finding.replay {
        // On one line, so that it can be copied.
        let _ = writeln!(text, "  replay: {}", visible(replay));
    }
    text
}

/// `connection 12: crosstalk at offset 65,536 (0x10000)`.
pub(super) fn heading(divergence: &Divergence) -> String {
    heading_of(divergence, divergence.kind.name())
}

/// The same with this word for the kind.
fn heading_of(divergence: &Divergence, kind: &str) -> String {
    let mut text = format!("connection {}: {kind}", divergence.conn);
    // Where nothing is missing, the end has no place in the stream.
    let is_placed = divergence.extent > 0 || divergence.ending.is_none() && divergence.at_backend.is_none();
    if divergence.kind != FindingKind::ConnectFailed && is_placed {
        let _ = write!(text, " at {}", place("offset", divergence.offset));
    }
    text
}

/// What happened, what the system said, where and when.
pub(super) fn sentences(finding: &Finding) -> String {
    let happened = what_happened(&finding.divergence, finding.source_shard.as_deref());
    let happened = two_sides::retold(finding, happened);
    let mut text = format!("{}.", capitalized(&happened));
    if let Some(other) = two_sides::other_side(finding) {
        let _ = write!(text, " {other}");
    }
    if let Some(cause) = &finding.cause {
        let _ = write!(text, " The system said: {}.", visible(cause));
    }
    let _ = write!(text, " {}.", capitalized(&where_and_when(finding)));
    text
}

/// The writes and reads before it, oldest first.
pub(super) fn operations(finding: &Finding) -> Vec<String> {
    finding.recent.iter().map(|op| operation(op, finding.at_ms)).collect()
}

/// One sentence, without its full stop.
fn what_happened(divergence: &Divergence, shard: Option<&str>) -> String {
    if let Some(sentence) = ending::sentence(divergence, bytes) {
        return sentence;
    }
    if divergence.urgent {
        let byte = divergence.received.first().map_or_else(String::new, |byte| format!(" (0x{byte:02x})"));
        return format!("a byte{byte} came as urgent data, beside the stream, where a read does not find it");
    }
    if let Some(fault) = divergence.at_backend {
        return two_sides::backend_fault(fault, divergence.source);
    }
    let extent = bytes(divergence.extent);
    match divergence.kind {
        FindingKind::Corrupt => changed(divergence),
        FindingKind::Lost => format!("{extent} did not come back{}", cause_of_loss(divergence)),
        FindingKind::Duplicated => {
            format!("{extent} came back twice{}", from(divergence, ", those", shard).trim_end_matches(','))
        }
        FindingKind::Reordered => {
            format!("{extent} came back after {} that were sent after them", bytes(divergence.overtaken_by))
        }
        FindingKind::Crosstalk | FindingKind::Stale => {
            format!("{extent}{} came {}", from(divergence, "", shard), instead_of(divergence))
        }
        FindingKind::Surplus => format!("{extent} came that nobody had sent{}", looks_like(divergence)),
        FindingKind::ConnectFailed => "the connection could not be opened".to_owned(),
        other => other.description().trim_end_matches('.').to_owned(),
    }
}

fn from(divergence: &Divergence, those: &str, shard: Option<&str>) -> String {
    let Some(StreamSource { conn, offset, open }) = divergence.source else { return String::new() };
    let from = place("offset", offset);
    if let Some(earlier) = &divergence.earlier {
        return format!("{those} of connection {conn} of the earlier case '{earlier}', from its {from} on,");
    }
    if let Some(shard) = shard {
        return format!(
            "{those} of connection {conn}, which belongs to another process of the run (shard {shard}), from its {from} \
             on,"
        );
    }
    match (conn == divergence.conn, open) {
        (true, _) => format!("{those} from {from} on"),
        (false, true) => format!("{those} of connection {conn}, from its {from} on,"),
        (false, false) => format!("{those} of connection {conn}, which is closed, from its {from} on,"),
    }
}

/// What was changed: '307 of 512 bytes came back changed (1,272 bits)'.
fn changed(divergence: &Divergence) -> String {
    let extent = bytes(divergence.extent);
    let came = match divergence.detail {
        Some(Corruption { bytes: changed, bits, .. }) if bits > 0 => {
            let of = if changed < divergence.extent { format!("{} of ", show_count(changed)) } else { String::new() };
            let bits = if bits == 1 { "1 bit".to_owned() } else { format!("{} bits", show_count(bits)) };
            format!("{of}{extent} came back changed ({bits})")
        }
        _ => format!("{extent} came back changed"),
    };
    came + &looks_like(divergence)
}

/// What the bytes look like, after a semicolon; nothing if they look like nothing known.
fn looks_like(divergence: &Divergence) -> String {
    let change = divergence.detail.and_then(|detail| detail.looks_like);
    match change {
        Some(Change::ZeroFilled) if divergence.extent == 1 => "; it is zero".to_owned(),
        change => change.map_or_else(String::new, |change| format!("; {}", looks(change))),
    }
}

/// The typical cause of a loss, after a semicolon, if there is one.
fn cause_of_loss(divergence: &Divergence) -> &'static str {
    if divergence.offset == 0 && divergence.extent <= MAX_SYN_COOKIE_BYTES {
        "; typically by SYN cookies: when the queue of a listener overflows, Linux may take a connection up at a later \
         segment and lose up to 3 bytes before it. A longer backlog prevents that (listen, net.core.somaxconn)"
    } else {
        ""
    }
}

fn looks(change: Change) -> &'static str {
    match change {
        Change::ZeroFilled => "all are zero",
        Change::MostlyZero => "nearly all are zero",
        Change::ConstantFill => "all are the same byte",
        Change::HighBitStripped => "bit 7 was cleared in all of them",
        Change::Inverted => "all bits were inverted",
        Change::UpperCased => "letters were made upper case",
        Change::LowerCased => "letters were made lower case",
        Change::LfToCrLf => "LF was converted to CR LF, as in text",
        Change::CrLfToLf => "CR LF was converted to LF, as in text",
        Change::CrToLf => "CR was converted to LF, as in text",
        Change::Latin1ToUtf8 => "they were taken for Latin-1 text and encoded as UTF-8",
        Change::Utf8Replaced => "they were taken for UTF-8 text, and invalid sequences were replaced by U+FFFD",
    }
}

fn where_and_when(finding: &Finding) -> String {
    let local = finding.local.as_ref().map(|local| format!("from {local} "));
    let remote = finding.remote.as_ref().map(|remote| format!("to {remote}"));
    let addresses = local.unwrap_or_default() + &remote.unwrap_or_default();
    let time = time(finding.at_ms);
    match addresses.trim_end() {
        "" => format!("found {time} after the start"),
        addresses => format!("{addresses}, found {time} after the start"),
    }
}

fn time(ms: f64) -> String {
    show_time(Duration::from_nanos((ms.max(0.0) * 1e6) as u64))
}

fn operation(op: &Op, found_at_ms: f64) -> String {
    let earlier = time(found_at_ms - op.at_ms);
    let (len, offset) = (show_count(op.len), show_count(op.offset));
    match op.kind {
        OpKind::Write => format!("wrote {len} at {offset} ({earlier} earlier)"),
        OpKind::Read => format!("read {len} at {offset} ({earlier} earlier)"),
        OpKind::HalfClose => format!("sent FIN ({earlier} earlier)"),
        OpKind::Probe => format!("half-closed as a probe ({earlier} earlier)"),
        OpKind::StoodStill => {
            format!("the client itself stood still for {} (until {earlier} earlier)", time(op.len as f64))
        }
    }
}

fn bytes(n: u64) -> String {
    if n == 1 { "1 byte".to_owned() } else { format!("{} bytes", show_count(n)) }
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ConnId, FINDING_KINDS};

    fn conn(id: u32) -> ConnId {
        ConnId::new(id).expect("small")
    }

    fn finding(divergence: Divergence) -> Finding {
        Finding {
            divergence,
            direction: None,
            other: None,
            source_shard: None,
            local: Some("127.0.0.1:40312".to_owned()),
            remote: Some("127.0.0.1:7777".to_owned()),
            at_ms: 1250.5,
            cause: None,
            recent: Vec::new(),
            replay: None,
        }
    }

    #[test]
    fn a_finding_reads_like_this() {
        let mut divergence = Divergence::of_connection(FindingKind::Crosstalk, conn(12), 65536, 1460);
        divergence.source = Some(StreamSource { conn: conn(7), offset: 4096, open: true });
        divergence.replaced = 1460;
        divergence.excerpt_offset = 65528;
        divergence.expected = (0..24).collect();
        divergence.received = (0..8).chain(100..114).collect();
        let mut finding = finding(divergence);
        finding.recent = vec![
            Op { kind: OpKind::Write, offset: 65536, len: 16384, at_ms: 1249.0 },
            Op { kind: OpKind::Read, offset: 65000, len: 2000, at_ms: 1250.25 },
        ];
        finding.replay = Some("echo-tester blast 127.0.0.1:7777 --seed 1 --only-conn 12,7".to_owned());
        insta::assert_snapshot!(render(&finding, Style::PLAIN), @r"
        connection 12: crosstalk at offset 65,536 (0x10000). 1,460 bytes of connection 7, from its offset
          4,096 (0x1000) on, came in place of the right ones. From 127.0.0.1:40312 to 127.0.0.1:7777, found
          1.25 s after the start.
          hex dump from offset 65,528 (0xfff8):
         expected 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ................
         received 00 01 02 03 04 05 06 07 64 65 66 67 68 69 6a 6b  ........defghijk
                                          ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^
         expected 10 11 12 13 14 15 16 17                          ........
         received 6c 6d 6e 6f 70 71 .. ..                          lmnopq
                  ^^ ^^ ^^ ^^ ^^ ^^
          before it: wrote 16,384 at 65,536 (1.50 ms earlier), read 2,000 at 65,000 (250 µs earlier)
          replay: echo-tester blast 127.0.0.1:7777 --seed 1 --only-conn 12,7
        ");
    }

    #[test]
    fn the_error_of_the_system_is_in_the_paragraph() {
        let mut finding = finding(Divergence::of_connection(FindingKind::ConnectFailed, conn(3), 0, 0));
        finding.cause = Some("Connection refused (os error 111)".to_owned());
        finding.local = None;
        insta::assert_snapshot!(render(&finding, Style::PLAIN), @r"
        connection 3: connect-failed. The connection could not be opened. The system said: Connection
          refused (os error 111). To 127.0.0.1:7777, found 1.25 s after the start.
        ");
    }

    #[test]
    fn bytes_of_another_process_name_its_shard() {
        let mut divergence = Divergence::of_connection(FindingKind::Crosstalk, conn(12), 0, 8);
        divergence.source = Some(StreamSource { conn: conn(7), offset: 16, open: true });
        let finding = Finding { source_shard: Some("1/2".to_owned()), ..finding(divergence) };
        insta::assert_snapshot!(render(&finding, Style::PLAIN), @r"
        connection 12: crosstalk at offset 0 (0x0). 8 bytes of connection 7, which belongs to another
          process of the run (shard 1/2), from its offset 16 (0x10) on, came in between. From
          127.0.0.1:40312 to 127.0.0.1:7777, found 1.25 s after the start.
        ");
    }

    #[test]
    fn changed_bytes_are_counted_in_bytes_and_bits() {
        let sentence = |extent, bytes, bits| {
            let mut divergence = Divergence::of_connection(FindingKind::Corrupt, conn(1), 10, extent);
            divergence.detail = Some(Corruption { bytes, bits, looks_like: None });
            what_happened(&divergence, None)
        };
        assert_eq!(sentence(1, 1, 1), "1 byte came back changed (1 bit)");
        assert_eq!(sentence(1, 1, 5), "1 byte came back changed (5 bits)");
        assert_eq!(sentence(307, 307, 1272), "307 bytes came back changed (1,272 bits)");
        assert_eq!(sentence(4000, 1307, 5272), "1,307 of 4,000 bytes came back changed (5,272 bits)");
        assert_eq!(sentence(4000, 0, 0), "4,000 bytes came back changed", "not counted");
    }

    #[test]
    fn the_first_bytes_of_a_connection_are_lost_to_syn_cookies() {
        let lost = |offset, extent| {
            what_happened(&Divergence::of_connection(FindingKind::Lost, conn(1), offset, extent), None)
        };
        assert!(lost(0, 1).contains("SYN cookies") && lost(0, 3).contains("SYN cookies"));
        assert_eq!((lost(0, 4), lost(1, 1)), ("4 bytes did not come back".into(), "1 byte did not come back".into()));
    }

    #[test]
    fn every_kind_has_a_sentence() {
        let mut sentences = Vec::new();
        for row in FINDING_KINDS {
            let mut divergence = Divergence::of_connection(row.kind, conn(1), 10, 3);
            divergence.overtaken_by = 8;
            let conn = conn(if row.kind == FindingKind::Duplicated { 1 } else { 2 });
            divergence.source = Some(StreamSource { conn, offset: 20, open: row.kind != FindingKind::Stale });
            divergence.detail = (row.kind == FindingKind::Corrupt).then_some(Corruption {
                bytes: 2,
                bits: 9,
                looks_like: Some(Change::ZeroFilled),
            });
            sentences.push(format!("{}: {}", row.name, what_happened(&divergence, None)));
        }
        insta::assert_snapshot!(sentences.join("\n"), @r"
        corrupt: 2 of 3 bytes came back changed (9 bits); all are zero
        lost: 3 bytes did not come back
        duplicated: 3 bytes came back twice, those from offset 20 (0x14) on
        reordered: 3 bytes came back after 8 bytes that were sent after them
        crosstalk: 3 bytes of connection 2, from its offset 20 (0x14) on, came in between
        stale: 3 bytes of connection 2, which is closed, from its offset 20 (0x14) on, came in between
        truncated: EOF came with 3 bytes missing
        surplus: 3 bytes came that nobody had sent
        stalled: nothing more came before the stall time-out, with 3 bytes missing
        reset: the other side reset the connection, with 3 bytes missing
        no-fin: every byte came back, but no EOF followed this side's FIN
        too-slow: the time and the grace after it were over, with 3 bytes missing
        connect-failed: the connection could not be opened
        ");
    }
}
