//! What the workers of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::Waker;

use super::close_barrier::CloseBarrier;
use super::connect_order::ConnectOrder;
use super::control::Control;
use super::half_close_evidence::HalfCloseEvidence;
use super::run_plan::RunPlan;
use super::sent_ledger::SentLedger;
use super::start_schedule::StartSchedule;
use crate::stream::Stream;

/// What the workers of a run share.
pub(super) struct RunState {
    pub(super) plan: RunPlan,
    pub(super) stream: Stream,
    pub(super) ledger: SentLedger,
    pub(super) control: Arc<Control>,
    pub(super) connect_order: ConnectOrder,
    pub(super) start_schedule: StartSchedule,
    pub(super) close_barrier: CloseBarrier,
    pub(super) half_close: HalfCloseEvidence,
    /// The start of the run, from which all times count.
    pub(super) start: Instant,
    failed_fast: AtomicBool,
}

impl RunState {
    /// The state of a run that starts now. `slots`: how many slots of each group this process opens. `wakers`: one for
    /// each worker, to interrupt its wait. `lead`: see [`StartSchedule::new`].
    pub(super) fn new(
        plan: RunPlan,
        control: &Arc<Control>,
        slots: &[u32],
        wakers: Vec<Waker>,
        lead: Duration,
    ) -> RunState {
        let start = Instant::now();
        let groups = plan.groups.iter().map(|profile| &**profile).zip(slots.iter().copied());
        RunState {
            stream: Stream::new(plan.seed),
            ledger: SentLedger::new(plan.slots.clone(), plan.shard).after(plan.earlier.clone()),
            control: Arc::clone(control),
            connect_order: ConnectOrder::new(wakers),
            start_schedule: StartSchedule::new(groups, lead),
            close_barrier: CloseBarrier::new(slots),
            half_close: HalfCloseEvidence::default(),
            start,
            failed_fast: AtomicBool::new(false),
            plan,
        }
    }

    /// The first connection of a slot is open, has failed or was put off. The last one of an open-loop group starts its
    /// schedule, and the workers are told.
    pub(super) fn first_is_settled(&self, group: usize, now: u64) {
        if self.start_schedule.settle(group, now) && self.plan.groups[group].rate.is_some() {
            self.connect_order.wake_all();
        }
    }

    /// Ends the run because of a finding.
    pub(super) fn fail_fast(&self) {
        self.failed_fast.store(true, Ordering::Relaxed);
    }

    /// Whether a finding has ended the run.
    pub(super) fn has_failed_fast(&self) -> bool {
        self.failed_fast.load(Ordering::Relaxed)
    }
}
