//! Whether a run can be trusted in what it says about time. Pure.
//!
//! A client that stood still, a machine without a processor to spare, or one without memory for TCP makes every server
//! look slow. Then what depends on time (a stall, a missing FIN, a round trip) is inconclusive: it accuses nobody.
//! Wrong bytes stay wrong.
//!
//! A kernel that is short of memory for TCP also ends connections: one that a process has closed, and that still has
//! bytes to send, is reset (tcp(7), `tcp_max_orphans`; `TCPAbortOnMemory` in `nstat`).
//!
//! An `echo-tester backend` on another machine that was lost during the run ended what it carried, and the proxy has to
//! pass that on.
//!
//! A client that wants a processor and gets none knows when that was, and leaves that time out of every silence that it
//! measures. So a silence is one of the server even then. Round trips are longer for it, and stay in doubt.

use std::time::Duration;

use super::measured::RunResources;
use crate::measure::{BackendLoss, Counters};
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
    /// What it explains besides figures of time, which are in doubt in any case.
    pub explains: Explained,
}

/// What is no fault of the server while there is a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// No finding.
    Nothing,
    /// That the other side did not answer soon enough.
    Silence,
    /// That, and that a connection was reset.
    SilenceAndResets,
    /// All that may come of connections that end early, and of those that can't be opened.
    Endings,
}

impl TimeDoubt {
    /// Whether it explains all that was found wrong.
    pub(super) fn explains_all(&self, counters: &Counters) -> bool {
        let is_explained = |(kind, count): (&FindingKind, &u64)| match (self.explains, kind) {
            (Explained::Nothing, _) => false,
            (Explained::SilenceAndResets, FindingKind::Reset) => true,
            (Explained::Endings, FindingKind::Reset | FindingKind::Truncated | FindingKind::ConnectFailed) => true,
            (_, FindingKind::ConnectFailed) => *count <= counters.connect_timeouts,
            _ => kind.depends_on_time(),
        };
        counters.findings.iter().all(is_explained)
    }
}

/// Why figures of time say nothing about the server; `None`: they do.
pub fn of(resources: &RunResources) -> Option<TimeDoubt> {
    let doubt = |explains, sentence| Some(TimeDoubt { sentence, explains });
    let RunResources { stood_still, starved, tcp_memory_short, stolen, elapsed, .. } = *resources;
    if let Some(lost) = resources.lost_backend {
        return Some(of_lost_backend(lost));
    }
    if let Some(short) = tcp_memory_short.filter(|short| !short.is_zero()) {
        let short = rounded(short);
        let why = format!(
            "this machine was short of memory for TCP for {short} (net.ipv4.tcp_mem), and its kernel drops segments and \
             resets connections then: open fewer connections, or give them smaller buffers (--rcvbuf, --sndbuf)"
        );
        return doubt(Explained::SilenceAndResets, why);
    }
    if stood_still >= SHORTEST_GAP {
        let gap = rounded(stood_still);
        let why = format!("the client itself stood still for {gap}: stopped, suspended, or held up by its machine");
        return doubt(Explained::Silence, why);
    }
    let most = SHORTEST_STOLEN.max(elapsed.mul_f64(SMALLEST_STOLEN_PART));
    if let Some(stolen) = stolen.filter(|stolen| *stolen >= most) {
        let stolen = rounded(stolen);
        let why = format!("this virtual machine did not get {stolen} of processor time from its host");
        return doubt(Explained::Silence, why);
    }
    let starved = rounded(starved.filter(|starved| *starved >= SHORTEST_STARVATION)?);
    let why = format!("the machine had no processor for the client for {starved}: other processes had them");
    doubt(Explained::Nothing, why)
}

/// The doubt about a run in which the `echo-tester backend` at this address has gone.
pub fn of_lost_backend(lost: BackendLoss) -> TimeDoubt {
    let (address, after) = (lost.address, rounded(lost.after));
    let sentence = match lost.is_silent {
        true => format!("echo-tester backend at {address} does not answer after {after}: what it carries stands still"),
        false => format!("echo-tester backend at {address} has gone after {after}, and what it carried with it"),
    };
    TimeDoubt { explains: Explained::Endings, sentence }
}

pub(super) fn rounded(time: Duration) -> Time {
    Time(Duration::from_millis(time.as_millis() as u64 / 100 * 100))
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
        let lost = |is_silent| {
            let lost_backend = BackendLoss { address: [10, 0, 0, 7].into(), after: ms(2_850), is_silent };
            of(&RunResources { lost_backend: Some(lost_backend), tcp_memory_short, ..RunResources::default() })
        };
        let short_of_memory = of(&RunResources { tcp_memory_short, ..RunResources::default() });
        for (run, why, explains) in [
            (run(ms(6_130), second(12), ms(0)), "stood still for 6.1s", Explained::Silence),
            (run(ms(0), second(12), ms(0)), "no processor for the client for 12s", Explained::Nothing),
            (run(ms(0), second(12), second(3)), "did not get 3s of processor time", Explained::Silence),
            (lost(false), "backend at 10.0.0.7 has gone after 2.8s", Explained::Endings),
            (lost(true), "backend at 10.0.0.7 does not answer after 2.8s", Explained::Endings),
            (short_of_memory, "short of memory for TCP for 1.5s", Explained::SilenceAndResets),
        ] {
            let doubt = run.unwrap_or_else(|| panic!("{why}"));
            assert!(doubt.sentence.contains(why) && doubt.explains == explains, "{doubt:?}");
        }
    }

    #[test]
    fn wrong_bytes_are_never_explained() {
        let doubt = |explains| TimeDoubt { sentence: String::new(), explains };
        let explains = |what, counters: &Counters| doubt(what).explains_all(counters);
        let mut counters = Counters::default();
        counters.found(FindingKind::Stalled);
        counters.found(FindingKind::NoFin);
        assert!(explains(Explained::Silence, &counters) && !explains(Explained::Nothing, &counters));
        counters.found(FindingKind::ConnectFailed);
        assert!(!explains(Explained::Silence, &counters), "the connect was refused");
        counters.connect_timeouts = 1;
        assert!(explains(Explained::Silence, &counters), "nobody answered in time");
        counters.found(FindingKind::Reset);
        assert!(!explains(Explained::Silence, &counters), "silence is no reset");
        assert!(explains(Explained::SilenceAndResets, &counters), "a kernel without memory resets too");
        counters.found(FindingKind::Truncated);
        assert!(!explains(Explained::SilenceAndResets, &counters), "a reset cuts nothing short behind an EOF");
        assert!(explains(Explained::Endings, &counters), "a backend that is gone sends nothing more");
        counters.connect_timeouts = 0;
        assert!(explains(Explained::Endings, &counters), "nobody listens there");
        counters.found(FindingKind::Lost);
        assert!(!explains(Explained::SilenceAndResets, &counters) && !explains(Explained::Endings, &counters));
    }
}
