//! What the two halves of a connection know of each other, where both ends are ours: how far each has come, and how it
//! has ended. So a finding says on which way bytes were lost, and an end that one half made is not held against the
//! proxy by the other.
//!
//! Both halves of a connection belong to one worker, and take turns there. The thread that accepts only asks whether
//! there is such a pair.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::stream::{ConnId, OtherSide};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Client => Side::Backend,
            Side::Backend => Side::Client,
        }
    }
}

/// How a half has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfEnd {
    /// Not yet.
    Open = 0,
    /// Both directions came to their ends.
    Whole = 1,
    /// Without the end of one direction: a close with bytes unread, or because the other half had ended so.
    Abrupt = 2,
    /// As planned, by a reset.
    Reset = 3,
    /// With a finding.
    Failed = 4,
}

/// What a half may expect of the other one's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherState {
    /// It may still send.
    Open,
    /// It has sent its FIN: every byte must come, and then EOF.
    Finished,
    /// It has ended in another way, as planned: an end must come, and perhaps not every byte.
    Broken,
    /// It has ended with a finding of its own: whatever follows from that is the same fault.
    Failed,
}

/// One half, as the other one sees it. Times are nanoseconds since the start of the run; 0: not yet.
#[derive(Default)]
struct HalfState {
    sent: AtomicU64,
    received: AtomicU64,
    sent_at: AtomicU64,
    received_at: AtomicU64,
    fin_at: AtomicU64,
    ended_at: AtomicU64,
    end: AtomicU8,
    /// It never reads, and has nothing more to write, or can't.
    rests: AtomicBool,
}

/// A connection has ended unserved, and can't reach the backend any more.
const UNSERVED: u64 = u64::MAX;

/// The two halves of a connection.
pub(super) struct Pair {
    conn: ConnId,
    worker: usize,
    /// The slot of the client's half in that worker.
    slot: usize,
    /// When the connection reached the backend, in nanoseconds since the start of the run; 0: it has not;
    /// [`UNSERVED`]: it has ended without.
    reached: AtomicU64,
    /// The backend was down while it was open, so it need not reach it.
    may_be_unserved: AtomicBool,
    /// The address of the client's socket, if it has one.
    client_address: Option<SocketAddr>,
    /// Where the connection to the backend came from. A socket no longer knows that once both ways have ended.
    seen_from: OnceLock<SocketAddr>,
    halves: [HalfState; 2],
}

impl Pair {
    /// The pair of a connection that the client has opened, in this slot of this worker.
    pub(super) fn new(conn: ConnId, worker: usize, slot: usize) -> Pair {
        Pair {
            conn,
            worker,
            slot,
            reached: AtomicU64::new(0),
            may_be_unserved: AtomicBool::new(false),
            client_address: None,
            seen_from: OnceLock::new(),
            halves: Default::default(),
        }
    }

    /// The address of the client's socket, if it has one.
    pub(super) fn client_address(&self) -> Option<SocketAddr> {
        self.client_address
    }

    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    /// The connection to the backend came from this address.
    pub(super) fn came_from(&self, address: SocketAddr) {
        // It comes once.
        let _ = self.seen_from.set(address);
    }

    /// Where the connection to the backend came from, if it was reached and the system said so.
    pub(super) fn seen_from(&self) -> Option<SocketAddr> {
        self.seen_from.get().copied()
    }

    /// The worker that runs both halves.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// The slot of the client's half in that worker.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    fn half(&self, side: Side) -> &HalfState {
        &self.halves[side as usize]
    }

    /// The connection has reached the backend. Returns whether that is the first one to do so.
    pub(super) fn reach(&self, now: u64) -> bool {
        self.reached.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn is_reached(&self) -> bool {
        !matches!(get(&self.reached), 0 | UNSERVED)
    }

    /// The client's half ends. Returns whether the connection has not reached the backend, and need not: from now on it
    /// can't.
    pub(super) fn end_unserved(&self) -> bool {
        self.may_be_unserved.load(Ordering::Relaxed)
            && self.reached.compare_exchange(0, UNSERVED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it has ended so.
    pub(super) fn was_unserved(&self) -> bool {
        get(&self.reached) == UNSERVED
    }

    /// The half has handed this many bytes to its socket.
    pub(super) fn set_sent(&self, side: Side, sent: u64, now: u64) {
        let half = self.half(side);
        if sent != get(&half.sent) {
            set(&half.sent, sent);
            set(&half.sent_at, now.max(1));
        }
    }

    /// The half has received this many bytes.
    pub(super) fn set_received(&self, side: Side, received: u64, now: u64) {
        let half = self.half(side);
        set(&half.received, received);
        set(&half.received_at, now.max(1));
    }

    /// The half has sent its FIN.
    pub(super) fn set_fin(&self, side: Side, now: u64) {
        let fin_at = &self.half(side).fin_at;
        if get(fin_at) == 0 {
            set(fin_at, now.max(1));
        }
    }

    /// The half is over.
    pub(super) fn set_end(&self, side: Side, end: HalfEnd, now: u64) {
        let half = self.half(side);
        set(&half.ended_at, now.max(1));
        half.end.store(end as u8, Ordering::Relaxed);
    }

    /// The half never reads. `rests`: it has nothing more to write, or can't.
    pub(super) fn set_rests(&self, side: Side, rests: bool) {
        self.half(side).rests.store(rests, Ordering::Relaxed);
    }

    /// Whether the half never reads, and has nothing more to write, or can't.
    pub(super) fn rests(&self, side: Side) -> bool {
        self.half(side).rests.load(Ordering::Relaxed)
    }

    /// Bytes that the half has handed to its socket.
    pub(super) fn sent(&self, side: Side) -> u64 {
        get(&self.half(side).sent)
    }

    /// Bytes that the half has received.
    pub(super) fn received(&self, side: Side) -> u64 {
        get(&self.half(side).received)
    }

    /// Whether the half is over, however it ended.
    pub(super) fn has_ended(&self, side: Side) -> bool {
        self.half(side).end.load(Ordering::Relaxed) != HalfEnd::Open as u8
    }

    /// Whether the half has ended with a finding.
    pub(super) fn has_failed(&self, side: Side) -> bool {
        self.half(side).end.load(Ordering::Relaxed) == HalfEnd::Failed as u8
    }

    /// What the other half may expect of this one's direction.
    pub(super) fn state(&self, side: Side) -> OtherState {
        let half = self.half(side);
        match half.end.load(Ordering::Relaxed) {
            end if end == HalfEnd::Failed as u8 => OtherState::Failed,
            end if end >= HalfEnd::Abrupt as u8 => OtherState::Broken,
            _ if get(&half.fin_at) != 0 => OtherState::Finished,
            _ => OtherState::Open,
        }
    }

    /// The half of this side as a finding of the other one shows it.
    pub(super) fn shown(&self, side: Side) -> OtherSide {
        let half = self.half(side);
        let ms = |at: &AtomicU64| Some(get(at)).filter(|at| *at != 0).map(|at| at as f64 / 1e6);
        OtherSide {
            reached: side == Side::Client || self.is_reached(),
            sent: get(&half.sent),
            received: get(&half.received),
            held: get(&half.sent).saturating_sub(get(&self.half(side.other()).received)),
            last_sent_ms: ms(&half.sent_at),
            last_received_ms: ms(&half.received_at),
            fin_ms: ms(&half.fin_at),
            ended_ms: ms(&half.ended_at),
            reset: half.end.load(Ordering::Relaxed) == HalfEnd::Reset as u8,
            late: false,
            recent: Vec::new(),
        }
    }
}

fn get(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}

fn set(place: &AtomicU64, value: u64) {
    place.store(value, Ordering::Relaxed);
}

/// The pairs whose connections are open.
#[derive(Default)]
pub(super) struct Pairs(Mutex<OpenPairs>);

#[derive(Default)]
struct OpenPairs {
    of_conn: HashMap<ConnId, Arc<Pair>>,
    /// The backend serves nobody, as the case wants it.
    is_down: bool,
    /// When it served again, in nanoseconds since the start of the run; 0: it was never down.
    up_since: u64,
}

impl Pairs {
    /// The client has opened this connection, in this slot of this worker. `began`: when it began to connect.
    pub(super) fn open(
        &self,
        conn: ConnId,
        (worker, slot): (usize, usize),
        (client_address, began): (Option<SocketAddr>, u64),
    ) -> Arc<Pair> {
        let mut open = lock(&self.0);
        // The proxy may know of it, and have tried the backend, for some time.
        let may_be_unserved = AtomicBool::new(open.is_down || began < open.up_since);
        let pair = Arc::new(Pair { client_address, may_be_unserved, ..Pair::new(conn, worker, slot) });
        open.of_conn.insert(conn, Arc::clone(&pair));
        pair
    }

    pub(super) fn of(&self, conn: ConnId) -> Option<Arc<Pair>> {
        lock(&self.0).of_conn.get(&conn).cloned()
    }

    /// The connection whose client has this address.
    pub(super) fn with_address(&self, address: SocketAddr) -> Option<ConnId> {
        lock(&self.0).of_conn.values().find(|pair| pair.client_address == Some(address)).map(|pair| pair.conn)
    }

    /// Both halves are over.
    pub(super) fn close(&self, conn: ConnId) {
        lock(&self.0).of_conn.remove(&conn);
    }

    /// The backend goes down, or is up again. Those that are open when it goes down may be on their way to it.
    pub(super) fn set_down(&self, is_down: bool, now: u64) {
        let mut open = lock(&self.0);
        if open.is_down && !is_down {
            open.up_since = now;
        }
        open.is_down = is_down;
        if is_down {
            open.of_conn.values().for_each(|pair| pair.may_be_unserved.store(true, Ordering::Relaxed));
        }
    }

    pub(super) fn is_down(&self) -> bool {
        lock(&self.0).is_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_learns_from_the_other_what_may_still_come() {
        let pair = Pair::new(ConnId::new(7).expect("small"), 0, 0);
        assert_eq!(pair.state(Side::Client), OtherState::Open);
        pair.set_sent(Side::Client, 100, 5);
        pair.set_fin(Side::Client, 6);
        assert_eq!((pair.state(Side::Client), pair.sent(Side::Client)), (OtherState::Finished, 100));
        pair.set_end(Side::Client, HalfEnd::Whole, 7);
        assert_eq!(pair.state(Side::Client), OtherState::Finished);
        for end in [HalfEnd::Abrupt, HalfEnd::Reset] {
            pair.set_end(Side::Client, end, 8);
            assert_eq!(pair.state(Side::Client), OtherState::Broken);
            assert_eq!(pair.shown(Side::Client).reset, end == HalfEnd::Reset);
        }
        pair.set_end(Side::Client, HalfEnd::Failed, 9);
        assert_eq!(pair.state(Side::Client), OtherState::Failed);
        assert!(pair.has_failed(Side::Client) && !pair.has_ended(Side::Backend));
    }

    #[test]
    fn what_the_way_holds_is_what_one_side_sent_and_the_other_did_not_receive() {
        let pair = Pair::new(ConnId::new(7).expect("small"), 0, 0);
        pair.set_sent(Side::Client, 100, 2_000_000);
        pair.set_received(Side::Backend, 40, 3_000_000);
        let client = pair.shown(Side::Client);
        assert_eq!((client.sent, client.held, client.last_sent_ms), (100, 60, Some(2.0)));
        assert!(client.reached && !pair.shown(Side::Backend).reached);
        assert!(pair.reach(4) && !pair.reach(5), "only the first is the connection's");
    }

    /// The pair of a connection that is opened in an outage.
    fn open_while_down(pairs: &Pairs, id: u32) -> Arc<Pair> {
        pairs.set_down(true, 10);
        let pair = pairs.open(ConnId::new(id).expect("small"), (0, 0), (None, 15));
        pairs.set_down(false, 20);
        pair
    }

    #[test]
    fn what_is_open_while_the_backend_is_down_need_not_reach_it_and_later_ones_must() {
        let pairs = Pairs::default();
        let open = |id, began| pairs.open(ConnId::new(id).expect("small"), (0, 0), (None, began));
        let (served, before) = (open(1, 1), open(2, 2));
        assert!(served.reach(3));
        let meanwhile = open_while_down(&pairs, 3);
        let (late, after) = (open(4, 19), open(5, 21));
        assert!(!after.end_unserved(), "it began to connect when the backend was up again");
        let tried_again = open_while_down(&pairs, 6);
        assert!(tried_again.reach(9), "a proxy that tries again may still serve it");
        let unserved = [&served, &before, &meanwhile, &late, &tried_again].map(|pair| pair.end_unserved());
        assert_eq!(unserved, [false, true, true, true, false]);
        assert!(meanwhile.was_unserved() && !meanwhile.is_reached() && !meanwhile.reach(10), "it is over");
    }
}
