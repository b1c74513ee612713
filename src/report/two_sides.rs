//! What a report says where both ends are ours: how much went each way, what came to the backend, and in a finding,
//! what the other end had done.

use std::time::Duration;

use super::backend_connections::BackendReport;
use super::excerpt::{instead_of, place};
use super::run::RunReport;
use super::text::{show_bytes, show_count, show_time};
use crate::measure::Counters;
use crate::stream::{BackendFault, Divergence, Finding, FindingKind, OtherSide, StreamDirection, StreamSource};
use crate::units::counted;

/// Less than this is shown as no time at all.
const JUST_MS: f64 = 0.1;

/// What may be wrong where the client receives what it has sent.
const ECHO: &str =
    "The target sends the client's own bytes back: is it an echo server, or a proxy that leads to itself?";

/// The rows of the totals: each direction, and the backend.
pub(super) fn rows(report: &RunReport) -> Vec<Vec<String>> {
    let Some(backend) = &report.backend else { return Vec::new() };
    let (mut up, mut down) = (Counters::default(), Counters::default());
    for load in &report.loads {
        load.backend.iter().for_each(|counters| up.add(counters));
        down.add(&load.counters);
    }
    let row = |name: &str, verified: u64| {
        let rate = report.per_second(verified).map_or_else(String::new, |rate| format!("{}/s", show_bytes(rate)));
        vec![name.to_owned(), show_bytes(verified as f64), rate]
    };
    let others = [
        (backend.repeated, "more named one again"),
        (backend.late, "more came after their clients had ended"),
        (backend.unknown, "more were not of this run"),
        (backend.tls, "of these began with TLS, which the proxy did not end"),
        (backend.silent, "more sent too little to say"),
        (backend.broken_headers, "more began with a broken PROXY header"),
        (backend.without_token, "more had no token or a wrong one: give 'echo-tester backend' the same one"),
        (backend.unwanted_backends, "more came from 'echo-tester backend': give --backend-token"),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let others: Vec<String> = others.map(|(count, what)| format!("{} {what}", show_count(count))).collect();
    let of = format!("of {} reached the backend", show_count(report.total.opened));
    let of = [vec![of], others].concat().join(", ");
    let mut rows = vec![
        row("  to the server", up.bytes_verified),
        row("  to the client", down.bytes_verified),
        vec!["backend".to_owned(), show_count(backend.recognized), of],
    ];
    if let Some(address) = backend.seen_from {
        rows.push(vec!["  seen from".to_owned(), address.to_string(), header(backend)]);
    }
    rows
}

/// What the headers of the PROXY protocol said, if there were any.
fn header(backend: &BackendReport) -> String {
    let (all, own) = (backend.with_header, backend.with_client_address);
    match all - own.min(all) {
        _ if all == 0 => String::new(),
        0 => format!("{} with a PROXY header that names the client's address", show_count(all)),
        others => format!(
            "{} with a PROXY header, {} of which do not name the client's address",
            show_count(all),
            show_count(others)
        ),
    }
}

/// ` on the way to the server`, with a blank before it; nothing where only one end is ours.
pub(super) fn on_the_way(finding: &Finding) -> &'static str {
    match finding.direction {
        None => "",
        Some(StreamDirection::Up) => " on the way to the server",
        Some(StreamDirection::Down) => " on the way back",
    }
}

/// What the other end had done: one sentence with its full stop; nothing where only one end is ours.
pub(super) fn other_side(finding: &Finding) -> Option<String> {
    let other = finding.other.as_deref()?;
    let is_client = found_by_backend(finding);
    if !other.reached {
        return is_echo(finding).then(|| ECHO.to_owned());
    }
    let name = if is_client { "client" } else { "server" };
    let ago = |ms: Option<f64>| ms.map(|ms| format!(" (last {})", before(finding.at_ms - ms))).unwrap_or_default();
    let sent = format!("sent {}{}", counted(other.sent, "byte"), ago(other.last_sent_ms));
    let received = format!("received {}{}", counted(other.received, "byte"), ago(other.last_received_ms));
    let held = match other.held {
        0 => "nothing of it was on the way".to_owned(),
        held => format!("{} of it were on the way", counted(held, "byte")),
    };
    Some(format!("The {name} had {sent} and {received}; {held}. {}", end_of(other, name, finding.at_ms)))
}

fn end_of(other: &OtherSide, name: &str, at_ms: f64) -> String {
    match (other.fin_ms, other.ended_ms) {
        (Some(fin), None) => format!("The {name} had sent its FIN {}, and still read.", before(at_ms - fin)),
        (None, None) => format!("The {name} was still open."),
        (Some(fin), Some(end)) => {
            let (fin, end) = (before(at_ms - fin), before(at_ms - end));
            let over = if other.reset { "reset the connection" } else { "was over" };
            format!("The {name} had sent its FIN {fin}, and {over} {end}.")
        }
        (None, Some(end)) if other.reset => format!("The {name} had reset the connection {}.", before(at_ms - end)),
        (None, Some(end)) => format!("The {name} had closed the connection {}.", before(at_ms - end)),
    }
}

/// Whether the server's half has found it, so that the other one is the client.
fn found_by_backend(finding: &Finding) -> bool {
    let write_failed = finding.divergence.ending.as_ref().is_some_and(|ending| ending.write_failed);
    (finding.direction == Some(StreamDirection::Up)) != write_failed
}

/// `2.05 s before`, or `just before`.
fn before(ms: f64) -> String {
    if ms < JUST_MS { "just before".to_owned() } else { format!("{} before", time(ms)) }
}

fn time(ms: f64) -> String {
    show_time(Duration::from_nanos((ms.max(0.0) * 1e6) as u64))
}

/// What happened, for a finding of two sides: with the way on which it did. `happened` says it as of an echo.
pub(super) fn retold(finding: &Finding, happened: String) -> String {
    let Some(direction) = finding.direction.filter(|_| finding.divergence.at_backend.is_none()) else {
        return happened;
    };
    let way = on_the_way(finding);
    let (sender, receiver) = match direction {
        StreamDirection::Up => ("client", "server"),
        StreamDirection::Down => ("server", "client"),
    };
    let divergence = &finding.divergence;
    if let Some(source) = divergence.source.filter(|_| divergence.other_way) {
        return of_other_way(divergence, source, direction, way);
    }
    let lacking = match divergence.extent {
        0 => String::new(),
        extent => format!(", with {} missing", counted(extent, "byte")),
    };
    let Some(ending) = divergence.ending.as_deref() else {
        return match divergence.kind {
            FindingKind::Lost if divergence.extent == 1 => format!("1 byte was lost{way}"),
            FindingKind::Lost => format!("{} were lost{way}", counted(divergence.extent, "byte")),
            FindingKind::ConnectFailed => happened,
            kind => with_way(kind, happened.replace(" came back", " arrived"), way),
        };
    };
    let silent = time(ending.silent_ms);
    if let Some(other) = finding.other.as_deref().filter(|other| !other.reached) {
        let what = match divergence.kind {
            FindingKind::Truncated => "EOF came".to_owned(),
            FindingKind::Reset => "the connection was reset".to_owned(),
            _ => format!("nothing came for {silent}"),
        };
        return match other.late {
            true => format!("{what}, and the backend had not been reached yet: this one's bytes came there later"),
            false => {
                format!("{what}, and the backend was never reached: no connection there began with this one's bytes")
            }
        };
    }
    let has_sent_fin = finding.other.as_deref().is_some_and(|other| other.fin_ms.is_some());
    match divergence.kind {
        FindingKind::Truncated if has_sent_fin => format!("EOF came{way}{lacking}"),
        FindingKind::Truncated => format!("EOF came{way}{lacking}, although the {sender} had not ended its direction"),
        FindingKind::Reset if ending.write_failed => {
            format!("the way to the {receiver} was closed to the {sender}'s writes, although the {receiver} still read")
        }
        FindingKind::Reset => format!("the connection was reset{way}{lacking}"),
        FindingKind::Stalled => format!("nothing came for {silent}{way}{lacking}"),
        FindingKind::NoFin => {
            let was_reset = finding.other.as_deref().is_some_and(|other| other.reset);
            let done = if was_reset { "reset the connection" } else { "ended its direction" };
            format!("no end came for {silent}{way}, although the {sender} had {done}{lacking}")
        }
        FindingKind::TooSlow => format!("the time of the connection was up, and the grace after it too{lacking}{way}"),
        _ => format!("{happened}{way}"),
    }
}

/// What came to the backend beside the bytes of the connection: a sentence without its full stop.
pub(super) fn backend_fault(fault: BackendFault, source: Option<StreamSource>) -> String {
    match fault {
        BackendFault::BeganAgain => {
            "another connection to the backend began with this one's first bytes, so the server \
                                     got them twice"
                .to_owned()
        }
        BackendFault::HeaderOfAnother => {
            let whose = source.map_or_else(String::new, |source| format!(" of connection {}", source.conn));
            format!("its PROXY header named the client{whose}, which was open too")
        }
    }
}

/// Bytes that arrived are those of the other direction.
fn of_other_way(divergence: &Divergence, source: StreamSource, direction: StreamDirection, way: &str) -> String {
    let other = if direction == StreamDirection::Down { "the way to the server" } else { "the way back" };
    let arrived = counted(divergence.extent, "byte");
    let whose = match source.conn == divergence.conn {
        true => "this connection's own bytes".to_owned(),
        false => format!("bytes of connection {}", source.conn),
    };
    let from = place("offset", source.offset);
    format!("{arrived} arrived {}{way}: they are {whose} of {other}, from {from} on", instead_of(divergence))
}

/// Whether what the client received first is what it had sent first, and nothing reached the backend.
fn is_echo(finding: &Finding) -> bool {
    let divergence = &finding.divergence;
    let begins = divergence.source.is_some_and(|source| source.conn == divergence.conn && source.offset == 0);
    let is_of_client = finding.direction == Some(StreamDirection::Down);
    is_of_client && divergence.other_way && divergence.offset == 0 && begins
}

/// What arrived, with the way on which it did: before what is only said of the bytes.
fn with_way(kind: FindingKind, arrived: String, way: &str) -> String {
    let of_the_bytes = match kind {
        FindingKind::Duplicated => arrived.find(", those"),
        FindingKind::Corrupt | FindingKind::Surplus => arrived.find("; "),
        _ => None,
    };
    let (arrived, of_the_bytes) = arrived.split_at(of_the_bytes.unwrap_or(arrived.len()));
    format!("{arrived}{way}{of_the_bytes}")
}

#[cfg(test)]
mod tests {
    use super::super::finding::sentences;
    use super::*;
    use crate::stream::{Change, ConnId, Corruption, EndedBy, Ending};

    /// A finding of three bytes on the way back, made one second after the start.
    fn finding(kind: FindingKind) -> Finding {
        let conn = ConnId::new(1).expect("small");
        Finding {
            divergence: Divergence::of_connection(kind, conn, 10, 3),
            direction: Some(StreamDirection::Down),
            other: None,
            source_shard: None,
            local: None,
            remote: None,
            at_ms: 1000.0,
            cause: None,
            recent: Vec::new(),
            replay: None,
        }
    }

    /// The other side, when nothing was on the way from it.
    fn other_side_at_rest() -> OtherSide {
        OtherSide {
            reached: true,
            late: false,
            sent: 5,
            received: 5,
            held: 0,
            last_sent_ms: None,
            last_received_ms: None,
            fin_ms: None,
            ended_ms: None,
            reset: false,
            recent: Vec::new(),
        }
    }

    fn ending_at_a_fin() -> Ending {
        Ending {
            by: EndedBy::Fin,
            own_fin_ms: Some(1.0),
            probed: false,
            silent_ms: 1.0,
            received_after_fin: 0,
            writes_blocked: false,
            write_failed: false,
            sent: 0,
            received: 0,
        }
    }

    #[test]
    fn the_way_comes_before_what_is_said_of_the_bytes() {
        let mut doubled = finding(FindingKind::Duplicated);
        doubled.divergence.source = Some(StreamSource { conn: doubled.divergence.conn, offset: 7, open: true });
        let expected = "3 bytes arrived twice on the way back, those from offset 7 (0x7) on.";
        assert!(sentences(&doubled).starts_with(expected), "{}", sentences(&doubled));
        let mut changed = finding(FindingKind::Corrupt);
        changed.divergence.detail = Some(Corruption { bytes: 3, bits: 9, looks_like: Some(Change::ZeroFilled) });
        let expected = "3 bytes arrived changed (9 bits) on the way back; all are zero.";
        assert!(sentences(&changed).starts_with(expected), "{}", sentences(&changed));
    }

    #[test]
    fn a_backend_that_was_reached_too_late_was_not_never_reached() {
        let told = |late| {
            let other = OtherSide { reached: false, late, ..other_side_at_rest() };
            let mut ended = Finding { other: Some(Box::new(other)), ..finding(FindingKind::Truncated) };
            ended.divergence.ending = Some(Box::new(ending_at_a_fin()));
            sentences(&ended)
        };
        let expected = "EOF came, and the backend had not been reached yet: this one's bytes came there later.";
        assert!(told(true).starts_with(expected), "{}", told(true));
        let expected = "EOF came, and the backend was never reached: no connection there began with this one's bytes.";
        assert!(told(false).starts_with(expected), "{}", told(false));
    }

    #[test]
    fn bytes_of_the_other_direction_are_named_and_an_echo_of_the_first_is_asked_about() {
        let mut echoed = finding(FindingKind::Crosstalk);
        (echoed.divergence.offset, echoed.divergence.other_way) = (0, true);
        echoed.divergence.source = Some(StreamSource { conn: echoed.divergence.conn, offset: 0, open: true });
        echoed.other = Some(Box::new(OtherSide { reached: false, ..other_side_at_rest() }));
        let expected = "3 bytes arrived in between on the way back: they are this connection's own bytes of the way to \
                        the server, from offset 0 (0x0) on. The target sends the client's own bytes back: is it an \
                        echo server, or a proxy that leads to itself?";
        assert!(sentences(&echoed).starts_with(expected), "{}", sentences(&echoed));
        echoed.divergence.replaced = 3;
        echoed.other = Some(Box::new(other_side_at_rest()));
        echoed.direction = Some(StreamDirection::Up);
        let said = sentences(&echoed);
        let expected = "3 bytes arrived in place of the right ones on the way to the server: they are this \
                        connection's own bytes of the way back, from offset 0 (0x0) on. The client had sent";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_reset_of_the_other_side_is_called_so() {
        let other = |fin_ms, reset| OtherSide { fin_ms, ended_ms: Some(400.0), reset, ..other_side_at_rest() };
        let told = |fin_ms, reset| end_of(&other(fin_ms, reset), "server", 1000.0);
        assert_eq!(told(None, true), "The server had reset the connection 600 ms before.");
        assert_eq!(told(None, false), "The server had closed the connection 600 ms before.");
        let both = "The server had sent its FIN 700 ms before, and reset the connection 600 ms before.";
        assert_eq!(told(Some(300.0), true), both);
    }
}
