//! Whether a server still accepts a connection and echoes a byte: probed when a load has ended, for servers that are
//! not bundled.
//!
//! An accept loop that breaks at the last close breaks nothing that the run itself could see. The probe is repeated for
//! as long as a connection may wait, because a server at its limit must first notice that the other connections have
//! gone.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::echo_probe::{self, NoEcho};
use crate::client::{FirstWords, Intake, RunOutcome, RunPlan};
use crate::interrupt;
use crate::measure::LoadStats;
use crate::scenario::Scenario;
use crate::transport::Destination;

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The shortest time limit of one probe.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(10);

/// How many round trips are measured, of which the shortest counts: packets get lost, and processors are busy.
const ROUND_TRIPS: u32 = 5;

/// The result of a probe: an error says what is wrong. `None`: the server was not probed.
pub type Probed = Option<Result<(), String>>;

/// Probes the server of a run that has ended, if the run ever reached it.
pub fn probe(scenario: &Scenario, plan: &RunPlan, outcome: &RunOutcome) -> Probed {
    let opened: u64 = outcome.groups.iter().map(|figures| figures.counters.opened).sum();
    if opened == 0 || outcome.interrupted {
        return None;
    }
    let patience = scenario.loads.iter().map(|load| load.connect_timeout.max(load.stall_timeout)).max()?;
    let source = plan.sources.of(0, 0, 1);
    if plan.backend.is_some() {
        return probe_proxy(plan, outcome, patience);
    }
    if !scenario.expect.need_an_echo(scenario.expected_loads()) {
        return None;
    }
    // Connections take turns among the addresses of a name, so a run reaches at most one address a connection.
    let reached = || plan.targets.iter().take(usize::try_from(opened).unwrap_or(usize::MAX));
    served_within(patience, |left| reached().try_for_each(|target| echo_probe::echoes(target, source, left)))
}

/// Looks whether a proxy between two ends that are ours still takes connections, if not every one has passed: it may
/// have ended. Nothing echoes there.
fn probe_proxy(plan: &RunPlan, outcome: &RunOutcome, patience: Duration) -> Probed {
    let is_well = |figures: &LoadStats| figures.counters.passed == figures.counters.connects;
    if outcome.groups.iter().all(is_well) {
        return None;
    }
    let source = plan.sources.of(0, 0, 1);
    served_within(patience, |left| {
        plan.targets.iter().try_for_each(|target| echo_probe::connects(target, source, left))
    })
}

/// Tries until one try succeeds or the time is up; a try is given the time that is left.
fn served_within(patience: Duration, mut attempt: impl FnMut(Duration) -> Result<(), NoEcho>) -> Probed {
    let until = Instant::now() + patience;
    let mut known: Option<NoEcho> = None;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(MIN_PROBE_TIMEOUT);
        let why = match attempt(left) {
            Ok(()) => return Some(Ok(())),
            Err(NoEcho::Interrupted) => return None,
            Err(why) => why,
        };
        let is_over = Instant::now() >= until;
        // The last try has only the time that is left: that it got no answer says less than the answers before it.
        let is_cut = is_over && left < patience / 2;
        let why = known.take().filter(|_| is_cut).unwrap_or(why);
        if is_over {
            return Some(Err(match why {
                // It says for how long.
                NoEcho::Silent(_) => why.to_string(),
                why => format!("{why}, for {}", humantime::format_duration(patience)),
            }));
        }
        known = Some(why);
        interrupt::pause(PROBE_INTERVAL);
    }
}

/// Whether the server answered this probe, but with another byte.
pub fn is_wrong_echo(why: &str) -> bool {
    why.starts_with(echo_probe::WRONG_ECHO)
}

/// Connects to the target, and closes the connection again.
///
/// # Errors
/// What the target does instead, as the end of a sentence: 'taking no connection (…)'.
pub fn connects(target: &Destination, source: Option<IpAddr>, patience: Duration) -> Result<(), String> {
    echo_probe::connects(target, source, patience).map_err(|why| why.to_string())
}

/// Connects to a proxy, and looks whether that reaches the backend with this intake.
///
/// # Errors
/// What the proxy does instead, as [`connects`].
pub fn reaches(
    target: &Destination,
    source: Option<IpAddr>,
    patience: Duration,
    backend: &Arc<Intake>,
) -> Result<bool, String> {
    let mut words = FirstWords::default();
    // Words that nobody else sends: each state has keys of its own.
    words.chunks_mut(8).for_each(|word| {
        let random = RandomState::new().build_hasher().finish().to_le_bytes();
        word.copy_from_slice(&random[..word.len()]);
    });
    backend.expect_probe(words);
    let backend = Arc::clone(backend);
    let has_come = move || backend.probe_came(patience);
    // Some more, so that what is left of them is still seen to come if a few are lost.
    echo_probe::brings(target, source, patience, words.repeat(2), has_come).map_err(|why| why.to_string())
}

/// The round trip of a byte, at the first of these addresses that echoes. `patience`: for all tries at one of them.
/// `None`: none echoes in time, which the run will find out with more patience.
pub fn round_trip(
    targets: &[Destination],
    source: impl Fn(IpAddr) -> Option<IpAddr>,
    patience: Duration,
) -> Option<Duration> {
    let of = |target: &Destination| {
        let source = target.address().and_then(|address| source(address.ip()));
        echo_probe::round_trip(target, source, ROUND_TRIPS, patience).ok()
    };
    targets.iter().find_map(of)
}

/// Whether any of these addresses takes a connection now.
pub fn is_there(targets: &[Destination], source: Option<IpAddr>, patience: Duration) -> bool {
    targets.iter().any(|target| echo_probe::connects(target, source, patience).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_hides_no_answer_that_came_before_it() {
        let patience = Duration::from_millis(200);
        let mut tries = 0;
        let probed = served_within(patience, |left| {
            tries += 1;
            if left > patience / 4 {
                return Err(NoEcho::Wrong(b'E'));
            }
            // sleep: the server keeps silent for what is left of the time
            std::thread::sleep(left);
            Err(NoEcho::Silent(left))
        });
        let why = probed.and_then(Result::err).expect("no try succeeded");
        assert_eq!(why, "echoing a wrong byte (it sent 0x45 for 0x65), for 200ms");
        assert!(tries > 1 && is_wrong_echo(&why), "it was tried again");
        let silent = served_within(patience, |left| {
            // sleep: the server keeps silent for the whole time
            std::thread::sleep(left);
            Err(NoEcho::Silent(patience))
        });
        let why = silent.and_then(Result::err).expect("no try succeeded");
        assert_eq!(why, "echoing no byte (no answer within 200ms)");
        assert!(!is_wrong_echo(&why));
    }
}
