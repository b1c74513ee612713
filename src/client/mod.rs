//! The engine: opens the connections of a run, lets each follow its plan, checks what comes back, and measures.
//!
//! - [`run`] starts the workers and collects what they bring;
//! - `worker` is one thread: one wait for all its sockets, one sweep for all stalls and deadlines, one heap for all
//!   pauses; `opening` is how it connects, `arrivals` when open loops begin, `together` which of its slots wait for
//!   others before they end, `keeping` what it does with findings;
//! - `connection` is the protocol of one connection, with no runtime in it;
//! - [`limits`] asks before the run whether the system will let it happen.

mod arrivals;
mod blocked;
mod busy;
mod clock;
mod connection;
mod inflight;
mod keeping;
mod ledger;
pub mod limits;
mod opening;
mod order;
mod pacer;
mod recent;
mod share;
mod slot;
mod socket;
pub mod target;
mod together;
mod turn;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arrivals::Arrivals;
use ledger::SentLedger;
use order::ConnectOrder;
use together::Together;

use crate::measure::{Counters, Figures};
use crate::plan::{Profile, Shard, Slot, Slots};
use crate::stream::{ConnId, Finding, Stream};
use crate::sys;
use target::SourceChoice;

/// All that a run needs to know, resolved.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// What all randomness follows from.
    pub seed: u64,
    /// Where to connect: the connections go round these.
    pub targets: Vec<SocketAddr>,
    /// From where.
    pub sources: SourceChoice,
    /// The load groups, which run at the same time.
    pub groups: Vec<Arc<Profile>>,
    /// Their slots.
    pub slots: Slots,
    /// This process's share of them.
    pub shard: Shard,
    /// If not empty: these connections alone.
    pub only: Vec<ConnId>,
    /// Threads.
    pub workers: usize,
    /// Findings kept in full; all are counted.
    pub findings: usize,
    /// What, with `--only-conn N` behind it, runs a connection again.
    pub replay: Option<String>,
}

impl RunPlan {
    /// Where this connection connects to.
    fn target(&self, conn: ConnId) -> SocketAddr {
        self.targets[target::of_connection(conn, self.targets.len())]
    }

    /// The slots that this process opens, by themselves or in its share: one for each connection at a time.
    pub fn own_slots(&self) -> impl Iterator<Item = Slot> {
        let alone = self.only.iter().filter_map(|conn| self.slots.of(*conn).ok()).map(|(slot, _)| slot);
        let share = self.only.is_empty().then(|| self.slots.of_shard(self.shard));
        alone.chain(share.into_iter().flatten())
    }
}

/// What can be done to a running run from outside: a look, and a stop.
pub struct Control {
    interrupt: AtomicBool,
    live: Vec<Mutex<Counters>>,
    began: Instant,
}

impl Control {
    /// For a run of this plan that begins now.
    pub fn new(plan: &RunPlan) -> Arc<Control> {
        Arc::new(Control {
            interrupt: AtomicBool::new(false),
            live: (0..plan.workers).map(|_| Mutex::default()).collect(),
            began: Instant::now(),
        })
    }

    /// Ends the run as soon as it can: what is open is closed, and counted as cut short.
    pub fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// Whether it was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// The counters, a tenth of a second old at most.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.live {
            sum.add(&worker.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn publish(&self, worker: usize, counters: Counters) {
        *self.live[worker].lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// For each group its figures, in the plan's order.
    pub groups: Vec<Figures>,
    /// For each group, at most the number asked for: the findings in the order of time.
    pub findings: Vec<Vec<Finding>>,
    /// When it began, by the clock that other machines have too.
    pub began: SystemTime,
    /// From the first connect to the last close.
    pub elapsed: Duration,
    /// It was interrupted.
    pub interrupted: bool,
    /// The first finding ended it, as asked.
    pub failed_fast: bool,
    /// What the client itself used.
    pub client: ClientUsage,
}

/// What the client itself used. `None` where the system does not tell.
#[derive(Clone, Debug, Default)]
pub struct ClientUsage {
    /// CPU time of the process during the run.
    pub cpu: Option<Duration>,
    /// The most memory that was resident, in bytes.
    pub peak_memory: Option<u64>,
    /// Memory resident before the first connection, in bytes.
    pub memory_before: Option<u64>,
    /// For each worker, which part of its busiest second it was busy: 0 to 1.
    pub busy: Vec<Option<f64>>,
    /// Processors that this process may use.
    pub cores: Option<usize>,
}

/// A run shorter than this may be nothing but starting up.
const TELLING: Duration = Duration::from_secs(1);
/// A worker, or a machine, busier than this had no time left to be faster.
pub const SATURATED: f64 = 0.95;

impl ClientUsage {
    /// Whether the client may have been the bottleneck: its busiest worker had no time left. `None`: not known.
    pub fn was_bottleneck(&self) -> Option<bool> {
        let busiest = self.busy.iter().copied().collect::<Option<Vec<f64>>>()?.into_iter().fold(0.0, f64::max);
        Some(busiest >= SATURATED)
    }

    /// Whether the machine had no time left for the client and a server that is on it too and used so much: then each
    /// may be faster alone. `None`: not known, or the run was too short to tell it from starting up.
    pub fn filled_the_machine(&self, server: Option<Duration>, elapsed: Duration) -> Option<bool> {
        let available = elapsed.as_secs_f64() * self.cores.filter(|_| elapsed >= TELLING)? as f64;
        Some((self.cpu? + server?).as_secs_f64() >= SATURATED * available)
    }
}

/// What the workers of a run share.
struct Shared {
    plan: RunPlan,
    stream: Stream,
    ledger: SentLedger,
    control: Arc<Control>,
    /// Slots that still have something to do of their own. At 0, what only waited for the others closes.
    working: AtomicU32,
    failed_fast: AtomicBool,
    order: ConnectOrder,
    arrivals: Arrivals,
    together: Together,
    /// The start, from which all times count.
    epoch: Instant,
}

/// Runs the plan to its end; returns when every connection is closed. An interrupt through `control` ends it early.
///
/// # Errors
/// A worker could not be started, or it panicked.
pub fn run(plan: RunPlan, control: &Arc<Control>) -> std::io::Result<RunOutcome> {
    let shares = share::shares(&plan);
    let working = shares.iter().map(Vec::len).sum::<usize>() as u32;
    let memory_before = sys::resident_memory();
    let cpu_before = sys::process_cpu_time();
    let cores = sys::available_cores();
    let groups = plan.groups.len();
    let mut slots = vec![0; groups];
    shares.iter().flatten().for_each(|share| slots[share.slot(&plan).group as usize] += 1);
    let arrivals = Arrivals::new(plan.groups.iter().map(|profile| &**profile).zip(slots.iter().copied()));
    let together = Together::new(slots);
    let keep = plan.findings;
    let mut polls = shares.iter().map(|_| mio::Poll::new()).collect::<std::io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| mio::Waker::new(poll.registry(), worker::WAKE));
    let order = ConnectOrder::new(wakers.collect::<std::io::Result<_>>()?);
    let (epoch, began) = (Instant::now(), SystemTime::now());
    let shared = Arc::new(Shared {
        stream: Stream::new(plan.seed),
        ledger: SentLedger::new(plan.slots.clone(), plan.shard),
        control: Arc::clone(control),
        working: AtomicU32::new(working),
        failed_fast: AtomicBool::new(false),
        order,
        arrivals,
        together,
        epoch,
        plan,
    });
    let mut threads = Vec::new();
    for (index, (share, poll)) in shares.into_iter().zip(polls.drain(..)).enumerate() {
        let shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("blast-{index}"));
        threads.push(thread.spawn(move || worker::work(shared, index, share, poll))?);
    }
    let mut outcome = RunOutcome {
        groups: vec![Figures::default(); groups],
        findings: vec![Vec::new(); groups],
        began,
        elapsed: Duration::ZERO,
        interrupted: false,
        failed_fast: false,
        client: ClientUsage { memory_before, cores, ..ClientUsage::default() },
    };
    for thread in threads {
        let work = thread.join().map_err(|_| std::io::Error::other("a worker of the client panicked"))??;
        outcome.client.busy.push(work.busy);
        for (group, (figures, findings)) in work.groups.into_iter().enumerate() {
            outcome.groups[group].add(&figures);
            outcome.findings[group].extend(findings);
        }
    }
    for findings in &mut outcome.findings {
        findings.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        findings.truncate(keep);
    }
    outcome.elapsed = epoch.elapsed();
    outcome.interrupted = control.is_interrupted();
    outcome.failed_fast = shared.failed_fast.load(Ordering::Relaxed);
    outcome.client.cpu = sys::process_cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    outcome.client.peak_memory = sys::peak_memory();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_full_when_client_and_server_together_have_used_all_its_cores() {
        let second = Duration::from_secs;
        let usage = ClientUsage { cpu: Some(second(10)), cores: Some(2), ..ClientUsage::default() };
        assert_eq!(usage.filled_the_machine(Some(second(10)), second(10)), Some(true));
        assert_eq!(usage.filled_the_machine(Some(second(8)), second(10)), Some(false));
        assert_eq!(usage.filled_the_machine(None, second(10)), None);
        assert_eq!(ClientUsage { cores: None, ..usage.clone() }.filled_the_machine(Some(second(10)), second(10)), None);
        assert_eq!(usage.filled_the_machine(Some(second(10)), second(1) / 2), None);
    }
}
