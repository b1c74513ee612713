//! What a finding about the end of a connection says: who ended it, what led to it, and what was still owed.

use std::time::Duration;

use super::text::show_time;
use crate::stream::{Divergence, EndedBy, Ending, FindingKind};

/// An EOF this soon after the own FIN is an answer to it.
const ANSWER_MS: f64 = 1000.0;
/// Bytes this soon after the probe were there before it.
const AT_ONCE_MS: f64 = 100.0;
/// Less than this is shown as no time at all.
const NO_TIME_MS: f64 = 0.1;

/// One sentence, without its full stop; `None` if this is no finding about an end. `bytes` says a number of bytes.
pub(super) fn sentence(divergence: &Divergence, bytes: impl Fn(u64) -> String) -> Option<String> {
    let missing = bytes(divergence.extent);
    let Some(ending) = divergence.ending.as_deref() else { return without_details(divergence, &missing) };
    let all_came = divergence.extent == 0;
    Some(match divergence.kind {
        FindingKind::Truncated => truncated(ending, all_came, &missing),
        FindingKind::Reset => reset(ending, all_came, &missing),
        FindingKind::Stalled if ending.probed => stalled_and_probed(ending, all_came, &missing, bytes),
        FindingKind::Stalled => stalled(ending, all_came, &missing),
        FindingKind::NoFin => {
            let waited = after(ending.own_fin_ms.unwrap_or(0.0));
            format!("every byte came back, but no EOF followed this side's FIN within {waited}")
        }
        FindingKind::TooSlow => too_slow(ending, all_came, &missing),
        FindingKind::Lost => format!(
            "{missing} did not come back: after {} of silence this side half-closed, and EOF came without them, although \
             this run has shown that half-closed connections stay open",
            after(ending.silent_ms)
        ),
        _ => return None,
    })
}

/// The sentence for a report that was written without details, and for a connection whose stream had not begun.
fn without_details(divergence: &Divergence, missing: &str) -> Option<String> {
    Some(match divergence.kind {
        FindingKind::Truncated if divergence.extent == 0 => "EOF came before the stream had begun".to_owned(),
        FindingKind::Stalled if divergence.extent == 0 => "the stream did not begin in time".to_owned(),
        FindingKind::Reset if divergence.extent == 0 => {
            "the other side reset the connection before the stream had begun".to_owned()
        }
        FindingKind::Truncated => format!("EOF came with {missing} missing"),
        FindingKind::Stalled => format!("nothing more came before the stall time-out, with {missing} missing"),
        FindingKind::Reset => format!("the other side reset the connection, with {missing} missing"),
        FindingKind::NoFin => "every byte came back, but no EOF followed this side's FIN".to_owned(),
        FindingKind::TooSlow => format!("the time and the grace after it were over, with {missing} missing"),
        _ => return None,
    })
}

fn truncated(ending: &Ending, all_came: bool, missing: &str) -> String {
    match ending.own_fin_ms {
        None if ending.sent == 0 => format!("EOF came {}", before_a_byte(ending)),
        None if all_came => format!(
            "EOF came after {} of silence, although this side was not done; every byte sent so far had come back",
            after(ending.silent_ms)
        ),
        None => format!("EOF came with {missing} missing, before this side had ended its direction"),
        Some(since) => {
            let advice = if since <= ANSWER_MS {
                ". What closes both directions when one ends can be tested with '--close after-echo' ('check': '--assume \
                 no-half-close')"
            } else {
                ""
            };
            format!("EOF came {} after this side's own FIN, with {missing} missing{advice}", after(since))
        }
    }
}

fn reset(ending: &Ending, all_came: bool, missing: &str) -> String {
    let broke = match ending.by {
        EndedBy::Vanished => "the system gave the connection up",
        _ => "the other side reset the connection",
    };
    match ending.own_fin_ms {
        None if ending.sent == 0 => format!("{broke} {}", before_a_byte(ending)),
        None if all_came => {
            format!("{broke} after {} of silence; every byte sent so far had come back", after(ending.silent_ms))
        }
        Some(since) if all_came => {
            format!("{broke} {} after this side's own FIN, instead of ending it; every byte had come", after(since))
        }
        Some(since) => format!("{broke} {} after this side's own FIN, with {missing} missing", after(since)),
        None if ending.received == 0 && ending.by == EndedBy::Reset => format!(
            "{broke} before any of the echo had come, with {missing} missing{}. If not every connection \
             ends so, a full backlog may be why, or a server that is short of something: see cases 5.4 and 5.2 of \
             'check'",
            blocked(ending)
        ),
        None => format!("{broke}, with {missing} missing{}", blocked(ending)),
    }
}

fn stalled(ending: &Ending, all_came: bool, missing: &str) -> String {
    let silence = format!("nothing came for {}", after(ending.silent_ms));
    let own_fin = if ending.own_fin_ms.is_some() { " after this side's own FIN" } else { "" };
    let gave_up = if ending.by == EndedBy::Vanished { ", and the system gave the connection up" } else { "" };
    match all_came {
        true => format!("{silence}{own_fin}{}{gave_up}", blocked(ending)),
        false => format!("{silence}{own_fin}, with {missing} missing{}{gave_up}", blocked(ending)),
    }
}

fn stalled_and_probed(ending: &Ending, all_came: bool, missing: &str, bytes: impl Fn(u64) -> String) -> String {
    let (silence, later) = (after(ending.silent_ms), after(ending.own_fin_ms.unwrap_or(0.0)));
    let probe = format!("nothing came for {silence}{}; then this side half-closed as a probe", blocked(ending));
    let came = bytes(ending.received_after_fin);
    let end = match ending.by {
        EndedBy::Fin => format!("EOF came {later} later"),
        EndedBy::Reset => format!("the other side reset the connection {later} later"),
        EndedBy::Vanished => format!("the system gave the connection up {later} later"),
        EndedBy::Silence | EndedBy::Overtime => format!("the silence went on for {later}"),
    };
    match (all_came, ending.received_after_fin) {
        (true, 0) => format!("{probe}, and {end}"),
        // A lost wake-up needs a connection that is served. One that waits for its turn gets it sooner or later, and
        // the probe has nothing to do with it.
        (true, all) if all == ending.received => format!(
            "{probe}, and the {came} of the whole echo came {later} later: until then the other side had not begun to \
             serve this connection"
        ),
        (true, _) if ending.own_fin_ms.is_some_and(|ms| ms <= AT_ONCE_MS) => format!(
            "{probe}, and the {came} that were missing came at once: the other side had them, but nothing had woken it up \
             to send them"
        ),
        (true, _) => format!("{probe}, and the {came} that were missing came {later} later"),
        (false, 0) => format!("{probe}, and {end}, with {missing} missing"),
        (false, _) => format!("{probe}, {came} came, and {end}, with {missing} missing"),
    }
}

fn too_slow(ending: &Ending, all_came: bool, missing: &str) -> String {
    let late = "the time of the connection was up, and the grace after it too";
    match all_came {
        true => format!("{late}: every byte had come back, but no EOF after this side's FIN"),
        false => format!("{late}, with {missing} missing; the last byte came {} before", after(ending.silent_ms)),
    }
}

/// The end of a connection that was of no use at all.
fn before_a_byte(ending: &Ending) -> String {
    let when = if ending.silent_ms < NO_TIME_MS { "right".to_owned() } else { after(ending.silent_ms) };
    format!(
        "{when} after the connection was accepted, before a byte was sent. Limits of connections do this, and forwarders \
         whose own target is down"
    )
}

fn blocked(ending: &Ending) -> &'static str {
    if ending.writes_blocked { ", while this side's writes were blocked" } else { "" }
}

fn after(ms: f64) -> String {
    show_time(Duration::from_nanos((ms.max(0.0) * 1e6) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::ConnId;

    fn ending(by: EndedBy) -> Ending {
        Ending {
            by,
            own_fin_ms: None,
            probed: false,
            silent_ms: 10_000.0,
            received_after_fin: 0,
            writes_blocked: false,
            write_failed: false,
            sent: 500,
            received: 400,
        }
    }

    fn said(kind: FindingKind, missing: u64, ending: Ending) -> String {
        let mut divergence = Divergence::of_connection(kind, ConnId::new(1).expect("small"), 400, missing);
        divergence.ending = Some(Box::new(ending));
        let said = sentence(&divergence, |n| format!("{n} bytes")).expect("it is about an end");
        format!("{}, {missing} missing: {said}", kind.name())
    }

    #[test]
    fn a_finding_about_an_end_says_what_led_to_it() {
        use EndedBy::{Fin, Overtime, Reset, Silence, Vanished};
        let probed = |by| Ending { probed: true, own_fin_ms: Some(2_000.0), ..ending(by) };
        let own_fin = |by| Ending { own_fin_ms: Some(0.4), ..ending(by) };
        let unused = |by| Ending { sent: 0, received: 0, silent_ms: 0.7, ..ending(by) };
        let text = [
            said(FindingKind::Truncated, 0, Ending { silent_ms: 0.0, ..unused(Fin) }),
            said(FindingKind::Truncated, 0, ending(Fin)),
            said(FindingKind::Truncated, 100, ending(Fin)),
            said(FindingKind::Truncated, 100, own_fin(Fin)),
            said(FindingKind::Truncated, 100, Ending { own_fin_ms: Some(5_000.0), ..ending(Fin) }),
            said(FindingKind::Reset, 0, unused(Reset)),
            said(FindingKind::Reset, 0, Ending { silent_ms: 12_000.0, ..ending(Reset) }),
            said(FindingKind::Reset, 100, Ending { writes_blocked: true, ..ending(Reset) }),
            said(FindingKind::Reset, 500, Ending { received: 0, ..ending(Reset) }),
            said(FindingKind::Reset, 0, own_fin(Reset)),
            said(FindingKind::Reset, 100, own_fin(Reset)),
            said(FindingKind::Stalled, 100, ending(Silence)),
            said(FindingKind::Stalled, 100, Ending { own_fin_ms: Some(10_000.0), ..ending(Silence) }),
            said(FindingKind::Stalled, 100, ending(Vanished)),
            said(FindingKind::Stalled, 0, Ending { received_after_fin: 100, own_fin_ms: Some(0.4), ..probed(Fin) }),
            said(FindingKind::Stalled, 0, Ending { received_after_fin: 100, ..probed(Fin) }),
            said(FindingKind::Stalled, 0, Ending { received_after_fin: 500, received: 500, ..probed(Fin) }),
            said(FindingKind::Stalled, 100, Ending { own_fin_ms: Some(0.4), ..probed(Fin) }),
            said(FindingKind::Stalled, 100, probed(Reset)),
            said(FindingKind::Stalled, 100, Ending { writes_blocked: true, ..probed(Silence) }),
            said(FindingKind::Stalled, 40, Ending { received_after_fin: 60, ..probed(Silence) }),
            said(FindingKind::Lost, 100, probed(Fin)),
            said(FindingKind::NoFin, 0, Ending { own_fin_ms: Some(10_000.0), ..ending(Silence) }),
            said(FindingKind::TooSlow, 100, Ending { silent_ms: 300.0, ..ending(Overtime) }),
            said(FindingKind::TooSlow, 0, own_fin(Overtime)),
        ];
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn a_stream_that_did_not_begin_misses_no_bytes() {
        let said = |kind, extent| {
            let conn = ConnId::new(7).expect("small");
            sentence(&Divergence::of_connection(kind, conn, 0, extent), |n| format!("{n} bytes")).unwrap_or_default()
        };
        assert_eq!(said(FindingKind::Stalled, 0), "the stream did not begin in time");
        assert_eq!(said(FindingKind::Truncated, 0), "EOF came before the stream had begun");
        assert_eq!(said(FindingKind::Truncated, 5), "EOF came with 5 bytes missing");
    }
}
