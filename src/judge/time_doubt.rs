//! Whether a run can be trusted in what it says about time. Pure.
//!
//! A client that stood still, a machine without a processor to spare, or one without memory for TCP makes every server
//! look slow. Then what
//! depends on time (a stall, a missing FIN, a round trip) is inconclusive: it accuses nobody. Wrong bytes stay wrong.
//!
//! A client that wants a processor and gets none knows when that was, and leaves that time out of every silence that it
//! measures. So a silence is one of the server even then. Round trips are longer for it, and stay in doubt.

use std::time::Duration;

use super::measured::RunResources;
use crate::measure::Counters;
use crate::stream::FindingKind;
use crate::units::Time;

/// A client that stood still for less than this has figures that are still about the server.
const SHORTEST_GAP: Duration = Duration::from_secs(1);
/// The same for a client that waited for a processor.
const SHORTEST_STARVATION: Duration = Duration::from_secs(2);

/// A host that took less than this part of the run's length, in time of all processors, or less than this time, hardly
/// slows anything down.
const SMALLEST_STOLEN_PART: f64 = 0.25;
const SHORTEST_STOLEN: Duration = Duration::from_secs(1);

/// Why figures of time say nothing about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeDoubt {
    /// Why, as a sentence.
    pub sentence: String,
    /// Whether it explains that the other side did not answer soon enough.
    pub explains_silence: bool,
}

/// Why figures of time say nothing about the server; `None`: they do.
pub fn of(resources: &RunResources) -> Option<TimeDoubt> {
    let doubt = |sentence, explains_silence| Some(TimeDoubt { sentence, explains_silence });
    let RunResources { stood_still, starved, tcp_memory_short, stolen, elapsed, .. } = *resources;
    let rounded = |time: Duration| Time(Duration::from_millis(time.as_millis() as u64 / 100 * 100));
    if stood_still >= SHORTEST_GAP {
        let gap = rounded(stood_still);
        let why = format!("the client itself stood still for {gap}: stopped, suspended, or held up by its machine");
        return doubt(why, true);
    }
    if let Some(starved) = starved.filter(|starved| *starved >= SHORTEST_STARVATION) {
        let starved = rounded(starved);
        let why = format!("the machine had no processor for the client for {starved}: other processes had them");
        return doubt(why, false);
    }
    if let Some(short) = tcp_memory_short.filter(|short| !short.is_zero()) {
        let short = rounded(short);
        let why = format!(
            "this machine was short of memory for TCP for {short} (net.ipv4.tcp_mem), and its kernel drops segments then: \
             open fewer connections, or give them smaller buffers (--rcvbuf, --sndbuf)"
        );
        return doubt(why, true);
    }
    let most = SHORTEST_STOLEN.max(elapsed.mul_f64(SMALLEST_STOLEN_PART));
    let stolen = rounded(stolen.filter(|stolen| *stolen >= most)?);
    doubt(format!("this virtual machine did not get {stolen} of processor time from its host"), true)
}

/// Whether all that was found wrong depends on time: the other side did not answer soon enough.
pub(super) fn explains_all(counters: &Counters) -> bool {
    let is_of_time = |(kind, count): (&FindingKind, &u64)| match kind {
        FindingKind::ConnectFailed => *count <= counters.connect_timeouts,
        _ => kind.depends_on_time(),
    };
    counters.findings.iter().all(is_of_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_pause_is_no_reason_to_doubt() {
        let (ms, second) = (Duration::from_millis, Duration::from_secs);
        let run = |stood_still, starved, stolen| {
            let elapsed = second(10);
            let (starved, stolen) = (Some(starved), Some(stolen));
            of(&RunResources { elapsed, stood_still, starved, stolen, ..RunResources::default() })
        };
        assert_eq!(run(ms(900), second(1), second(2)), None);
        let tcp_memory_short = Some(ms(1_500));
        let short_of_memory = of(&RunResources { tcp_memory_short, ..RunResources::default() });
        for (run, why, explains_silence) in [
            (run(ms(6_130), ms(0), ms(0)), "stood still for 6.1s", true),
            (run(ms(0), second(12), ms(0)), "no processor for the client for 12s", false),
            (run(ms(0), ms(0), second(3)), "did not get 3s of processor time", true),
            (short_of_memory, "short of memory for TCP for 1.5s", true),
        ] {
            let doubt = run.unwrap_or_else(|| panic!("{why}"));
            assert!(doubt.sentence.contains(why) && doubt.explains_silence == explains_silence, "{doubt:?}");
        }
    }

    #[test]
    fn wrong_bytes_are_never_explained_by_time() {
        let mut counters = Counters::default();
        counters.found(FindingKind::Stalled);
        counters.found(FindingKind::NoFin);
        assert!(explains_all(&counters));
        counters.found(FindingKind::ConnectFailed);
        assert!(!explains_all(&counters), "the connect was refused");
        counters.connect_timeouts = 1;
        assert!(explains_all(&counters), "nobody answered in time");
        counters.found(FindingKind::Lost);
        assert!(!explains_all(&counters));
    }
}
