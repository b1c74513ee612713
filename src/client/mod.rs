//! The engine: opens the connections of a run, lets each follow its plan, checks what comes back, and measures.
//!
//! - [`run`] starts the workers, and collects what they measured and found. [`RunPlan`] is what it is given,
//!   [`RunOutcome`] what it returns, [`Control`] the handle to watch and stop it.
//! - `worker` is one thread. Its parts are `wait` (poll and queue), `timers`, `connector` (opens connections; through
//!   proxies by `negotiating`),
//!   `group_stats`, `findings` and `signals` (the state of the run); `slot` is what it keeps for each connection.
//! - `connection` is the protocol of one connection, with no runtime in it.
//! - `run_state` is what workers share: the ledger of what was sent (`sent_ledger`), the order in which they connect
//!   (`connect_order`), the start of open loops (`start_schedule`), and which connections wait for others before they
//!   close (`close_barrier`).
//! - `intake` is the door for connections that reached the backend, where both ends are ours. `recognition` says which
//!   connection first bytes name, and `greeting` has those of a server that speaks first. `two_sides` has what the
//!   server's halves have in common, and `pair` what the two halves of a connection know of each other. A server's half
//!   is a slot of the worker that has the client's half.
//! - [`limits`] asks before the run whether the system will allow it.

mod backend_slots;
mod clock;
mod close_barrier;
mod connect_order;
mod connection;
mod connector;
mod control;
mod cpu_saturation;
mod cpu_starvation;
mod findings;
mod greeting;
mod group_stats;
mod half_close_evidence;
mod intake;
pub mod limits;
mod negotiating;
mod outcome;
mod pair;
mod recognition;
mod run_plan;
mod run_state;
mod sent_ledger;
mod signals;
mod simulation;
mod slot;
mod slot_assignment;
mod socket;
mod socket_options;
mod stand_still;
mod start_schedule;
pub mod target;
mod tcp_shortage;
mod timer_heap;
mod timers;
mod tls_session;
mod two_sides;
mod wait;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use mio::{Poll, Waker};

use crate::sys::FineWaits;
use crate::sys::advice;
pub use control::Control;
pub use intake::{FirstWords, Intake, IntakeCounts, Offered};
pub use outcome::{ClientUsage, RunOutcome, SATURATED};
pub use run_plan::RunPlan;
use run_state::RunState;
use slot_assignment::SlotAssignment;
use worker::WorkerResult;

/// Runs the plan to its end; returns when every connection is closed. An interrupt through `control` ends it early.
///
/// # Errors
/// A worker could not be started, its wait failed, or it panicked.
pub fn run(plan: RunPlan, control: &Arc<Control>) -> io::Result<RunOutcome> {
    let assignments = slot_assignment::assign(&plan);
    let slots = slot_assignment::slots_by_group(&assignments, &plan);
    let usage = ClientUsage::at_start();
    let _fine = FineWaits::new();
    let polls = assignments.iter().map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| Waker::new(poll.registry(), wait::WAKE)).collect::<io::Result<Vec<_>>>()?;
    let began = SystemTime::now();
    let run = Arc::new(RunState::new(plan, control, &slots, wakers, worker::SWEEP_INTERVAL));
    if let Some(backend) = &run.plan.backend {
        let run: Arc<dyn intake::TakesOver> = Arc::clone(&run) as Arc<dyn intake::TakesOver>;
        backend.begin(Arc::downgrade(&run));
    }
    let workers = start_workers(&run, assignments, polls)?;

    let mut outcome = RunOutcome::new(slots.len(), began, usage);
    for worker in workers {
        let result = worker.join().map_err(|_| io::Error::other("a worker of the client panicked"))??;
        outcome.client.add_worker(result.time);
        outcome.add(result.groups);
        outcome.add_backend(result.backend);
    }
    if let Some(backend) = &run.plan.backend {
        outcome.backend = Some(backend.end());
        outcome.note_late(&backend.take_late());
        backend.take_faults().iter().for_each(|fault| outcome.add_fault(&run, fault));
    }
    outcome.sort_findings(run.plan.findings);
    outcome.elapsed = run.start.elapsed();
    outcome.interrupted = control.is_interrupted();
    outcome.failed_fast = run.has_failed_fast();
    outcome.client.finish();
    Ok(outcome)
}

/// Starts one thread for each worker.
fn start_workers(
    run: &Arc<RunState>,
    assignments: Vec<Vec<SlotAssignment>>,
    polls: Vec<Poll>,
) -> io::Result<Vec<JoinHandle<io::Result<WorkerResult>>>> {
    let start = |(index, (assignments, poll)): (usize, (Vec<SlotAssignment>, Poll))| {
        let run = Arc::clone(run);
        let thread = thread::Builder::new().name(format!("blast-{index}"));
        thread
            .spawn(move || worker::work(&run, index, assignments, poll))
            .map_err(|error| advice::refused("thread", &error))
    };
    assignments.into_iter().zip(polls).enumerate().map(start).collect()
}
