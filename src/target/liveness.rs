//! Whether a server still accepts a connection and echoes a byte: probed when a load has ended, for servers that are
//! not bundled.
//!
//! An accept loop that breaks at the last close breaks nothing that the run itself could see. The probe is repeated for
//! as long as a connection may wait, because a server at its limit must first notice that the other connections have
//! gone.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::echo_probe::{self, NoEcho};
use crate::client::{RunOutcome, RunPlan};
use crate::interrupt;
use crate::scenario::Scenario;
use crate::transport::Destination;

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The shortest time limit of one probe.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(10);

/// How many round trips are measured, of which the shortest counts: packets get lost, and processors are busy.
const ROUND_TRIPS: u32 = 5;
/// How long all of them may take.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a probe: an error says what is wrong. `None`: the server was not probed.
pub type Probed = Option<Result<(), String>>;

/// Probes the server of a run that has ended, if the run ever reached it.
pub fn probe(scenario: &Scenario, plan: &RunPlan, outcome: &RunOutcome) -> Probed {
    let opened: u64 = outcome.groups.iter().map(|figures| figures.counters.opened).sum();
    // Between two ends that are ours, nothing echoes.
    let has_echo = scenario.expect.need_an_echo(scenario.expected_loads()) && plan.backend.is_none();
    if !has_echo || opened == 0 || outcome.interrupted {
        return None;
    }
    let patience = scenario.loads.iter().map(|load| load.connect_timeout.max(load.stall_timeout)).max()?;
    let source = plan.sources.of(0, 0, 1);
    // Connections take turns among the addresses of a name, so a run reaches at most one address a connection.
    let reached = || plan.targets.iter().take(usize::try_from(opened).unwrap_or(usize::MAX));
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(MIN_PROBE_TIMEOUT);
        let why = match reached().try_for_each(|target| echo_probe::echoes(target, source, left)) {
            Ok(()) => return Some(Ok(())),
            Err(NoEcho::Interrupted) => return None,
            Err(why) => why,
        };
        if Instant::now() >= until {
            return Some(Err(match why {
                // It says for how long.
                NoEcho::Silent(_) => why.to_string(),
                why => format!("{why}, for {}", humantime::format_duration(patience)),
            }));
        }
        interrupt::pause(PROBE_INTERVAL);
    }
}

/// Connects to the target, and closes the connection again.
///
/// # Errors
/// What the target does instead, as the end of a sentence: 'taking no connection (…)'.
pub fn connects(target: &Destination, source: Option<IpAddr>, patience: Duration) -> Result<(), String> {
    echo_probe::connects(target, source, patience).map_err(|why| why.to_string())
}

/// The round trip of a byte, at the first of these addresses that echoes. `None`: none echoes soon, which the run will
/// find out with more patience.
pub fn round_trip(targets: &[Destination], source: impl Fn(IpAddr) -> Option<IpAddr>) -> Option<Duration> {
    let of = |target: &Destination| {
        echo_probe::round_trip(target, source(target.address().ip()), ROUND_TRIPS, ROUND_TRIP_TIMEOUT).ok()
    };
    targets.iter().find_map(of)
}

/// Whether any of these addresses takes a connection now.
pub fn is_there(targets: &[Destination], source: Option<IpAddr>, patience: Duration) -> bool {
    targets.iter().any(|target| echo_probe::connects(target, source, patience).is_ok())
}
