//! What the workers of a run share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::Waker;
use mio::net::TcpStream;

use super::clock::nanos;
use super::close_barrier::CloseBarrier;
use super::connect_order::ConnectOrder;
use super::control::Control;
use super::half_close_evidence::HalfCloseEvidence;
use super::intake::{FirstWords, NamedClient, Offered, TakesOver};
use super::pair::{Pair, Side};
use super::recognition::candidates;
use super::run_plan::RunPlan;
use super::sent_ledger::SentLedger;
use super::start_schedule::StartSchedule;
use super::two_sides::TwoSides;
use crate::stream::{ConnId, Ledger, Stream};

/// How many bytes of a connection that is not recognized are looked through for a piece of a stream.
const MOST_DAMAGED: usize = 512;

/// The streams of a connection: what it sends, and what it receives.
pub(super) struct Streams<'r> {
    pub(super) sent: (&'r Stream, &'r SentLedger),
    pub(super) received: (&'r Stream, &'r SentLedger),
}

/// What the workers of a run share.
pub(super) struct RunState {
    pub(super) plan: RunPlan,
    pub(super) stream: Stream,
    pub(super) ledger: SentLedger,
    /// The server's halves of the connections, where both ends are ours.
    pub(super) two_sides: Option<TwoSides>,
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
            two_sides: TwoSides::of(&plan, wakers.len()),
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

    /// The streams that a connection of this side sends and receives, with their ledgers.
    #[inline]
    pub(super) fn streams(&self, side: Option<Side>) -> Streams<'_> {
        let up = (&self.stream, &self.ledger);
        let down = self.two_sides.as_ref().map_or(up, |two_sides| (&two_sides.stream, &two_sides.ledger));
        match side {
            None => Streams { sent: up, received: up },
            Some(Side::Client) => Streams { sent: up, received: down },
            Some(Side::Backend) => Streams { sent: down, received: up },
        }
    }

    /// The first connection of a slot is open, has failed or was put off. The last one of an open-loop group starts its
    /// schedule, and the workers are told.
    pub(super) fn first_is_settled(&self, group: usize, now: u64) {
        if self.start_schedule.settle(group, now) && self.plan.groups[group].has_schedule() {
            self.connect_order.wake_all();
        }
    }

    /// The connection of this run that sent these first bytes, and is over.
    fn over(&self, first: &FirstWords) -> Option<ConnId> {
        let is_over = |conn: &ConnId| self.ledger.sent(*conn).is_some_and(|sent| !sent.open);
        candidates(&self.stream, first).into_iter().flatten().find(is_over)
    }

    /// The pair of a connection with these first bytes, or what it is instead.
    fn pair_of(&self, two_sides: &TwoSides, first: &FirstWords, stream: &TcpStream) -> Result<Arc<Pair>, Offered> {
        if let Some(pair) = two_sides.recognized(&self.stream, first) {
            return Ok(pair);
        }
        if let Some(conn) = self.over(first) {
            return Err(Offered::Late(conn));
        }
        // A way that damages the first bytes is found out by what comes behind them.
        let mut bytes = [0; MOST_DAMAGED];
        let len = stream.peek(&mut bytes).unwrap_or(0);
        two_sides.recognized_damaged(&self.stream, &bytes[..len]).ok_or(Offered::Unknown)
    }

    /// Whether the backend serves nobody now, as the case wants it.
    pub(super) fn is_backend_down(&self) -> bool {
        self.two_sides.as_ref().is_some_and(|sides| sides.pairs.is_down())
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

impl TakesOver for RunState {
    fn offer(&self, first: &FirstWords, stream: TcpStream, header: Option<SocketAddr>) -> (Offered, NamedClient) {
        let Some(two_sides) = &self.two_sides else { return (Offered::Unknown, NamedClient::Unknown) };
        let pair = match self.pair_of(two_sides, first, &stream) {
            Ok(pair) => pair,
            Err(offered) => return (offered, NamedClient::Unknown),
        };
        let conn = pair.conn();
        // Before it is handed over: it may be over a moment later.
        let named = header.map_or(NamedClient::Unknown, |address| two_sides.named(&pair, address));
        let offered = match two_sides.hand_over(stream, pair, nanos(self.start.elapsed())) {
            Ok(worker) => {
                self.connect_order.wake_worker(worker);
                Offered::TakenOver(conn)
            }
            Err(offered) => offered,
        };
        (offered, named)
    }

    fn knows(&self, first: &FirstWords, stream: &TcpStream) -> bool {
        let Some(two_sides) = &self.two_sides else { return false };
        !matches!(self.pair_of(two_sides, first, stream), Err(Offered::Unknown))
    }

    fn greet(&self, stream: TcpStream, from: Option<IpAddr>) -> Result<bool, TcpStream> {
        match &self.two_sides {
            Some(two_sides) => two_sides.greet(stream, from),
            None => Err(stream),
        }
    }

    fn greets(&self) -> bool {
        self.two_sides.as_ref().is_some_and(TwoSides::greets)
    }

    fn set_down(&self, is_down: bool) {
        let now = nanos(self.start.elapsed());
        self.two_sides.iter().for_each(|sides| sides.pairs.set_down(is_down, now));
    }
}
