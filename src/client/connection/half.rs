//! A connection as a half of a pair, where both ends are ours: what it may expect of the other half.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::client::pair::{HalfEnd, OtherState, Pair, Side};
use crate::measure::LoadStats;
use crate::plan::{ConnectionPlan, Flow, PlanStep};
use crate::stream::OtherSide;

/// What a message waits for before it may begin, and what completes it.
pub(super) enum Begin {
    /// It may begin, and nothing completes it.
    Now,
    /// It may begin, and is complete when everything before this offset of the other direction has come.
    AwaitingReply(u64),
    /// Not before more has come.
    NotYet,
    /// Never: nothing more will come that it could answer.
    NoMore,
}

/// The half of a pair.
pub(in crate::client) struct Half {
    pair: Arc<Pair>,
    side: Side,
    flow: Flow,
    /// What the other half sends.
    incoming: MessageEnds,
    /// The offset at which the message ends that is coming in.
    next_end: Option<u64>,
    /// Messages that have come in whole.
    whole: u64,
    /// Messages that were answered.
    answered: u64,
    /// The other half's FIN has come.
    is_read_to_end: bool,
}

impl Half {
    /// `other`: the plan of the other half.
    pub(in crate::client) fn new(pair: Arc<Pair>, side: Side, other: ConnectionPlan) -> Half {
        let flow = other.profile().flow;
        let mut incoming = MessageEnds { plan: other, end: 0 };
        // The client of a request takes the ends of the replies as it sends.
        let counts = side == Side::Backend || flow != Flow::Request;
        let next_end = if counts { incoming.next() } else { None };
        Half { pair, side, flow, incoming, next_end, whole: 0, answered: 0, is_read_to_end: false }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Bytes that the other half has sent so far.
    pub(super) fn expected(&self) -> u64 {
        self.pair.sent(self.side.other())
    }

    /// Whether the other half's FIN has come.
    pub(super) fn is_read_to_end(&self) -> bool {
        self.is_read_to_end
    }

    pub(super) fn pair(&self) -> &Arc<Pair> {
        &self.pair
    }

    /// This half ends. Returns whether it is the client's, and its connection has not reached the backend and need not.
    pub(super) fn end_unserved(&self) -> bool {
        self.side == Side::Client && self.pair.end_unserved()
    }

    /// What may be expected of the other half.
    pub(super) fn other_state(&self) -> OtherState {
        self.pair.state(self.side.other())
    }

    /// EOF has come, when the other direction had come to `reached`. Returns whether that is the FIN of the other half
    /// behind all its bytes, after which this half may go on writing.
    pub(super) fn take_fin(&mut self, reached: u64) -> bool {
        let is_right = self.other_state() == OtherState::Finished && reached == self.expected();
        self.is_read_to_end |= is_right;
        is_right
    }

    /// Whether silence is wrong while this half may read. `reached`: how far the other direction has come. `has_sent`:
    /// this half has sent something.
    pub(super) fn is_owed(&self, reached: u64, has_sent: bool) -> bool {
        let is_unreached = has_sent && !self.pair.is_reached();
        let other_ended = self.pair.has_ended(self.side.other());
        match self.is_read_to_end {
            // It is over itself, so nobody takes what this half writes.
            true => other_ended,
            false => is_unreached || other_ended || reached < self.expected() || self.other_state() != OtherState::Open,
        }
    }

    /// Whether the other half, which reads, misses some of what this one has sent.
    pub(super) fn is_other_owed(&self, sent: u64) -> bool {
        let other = self.side.other();
        self.pair.is_reached() && !self.pair.has_ended(other) && self.pair.received(other) < sent
    }

    /// Notes whether this half, which never reads, rests.
    pub(super) fn note_rests(&self, rests: bool) {
        self.pair.set_rests(self.side, rests);
    }

    /// Whether the other half never reads, and rests.
    pub(super) fn does_other_rest(&self) -> bool {
        self.pair.rests(self.side.other())
    }

    /// Notes how far this half has sent.
    #[inline]
    pub(super) fn note_sent(&self, sent: u64, fin_sent: bool, now: u64) {
        self.pair.set_sent(self.side, sent, now);
        if fin_sent {
            self.pair.set_fin(self.side, now);
        }
    }

    /// Notes how far this half has received, and counts the messages that have come whole.
    pub(super) fn note_received(&mut self, received: u64, reached: u64, now: u64, stats: &mut LoadStats) {
        self.pair.set_received(self.side, received, now);
        while let Some(end) = self.next_end.filter(|end| *end <= reached) {
            self.whole += 1;
            stats.counters.messages_echoed += 1;
            stats.open_loop.last_echo = now;
            self.next_end = self.incoming.next().filter(|next| *next > end);
        }
    }

    /// Notes that this half is over.
    pub(super) fn note_end(&self, end: HalfEnd, now: u64) {
        if !self.pair.has_ended(self.side) || end == HalfEnd::Failed {
            self.pair.set_end(self.side, end, now);
        }
    }

    /// The next message of this half is to begin.
    pub(super) fn begin(&mut self) -> Begin {
        match (self.flow, self.side) {
            (Flow::Request, Side::Client) => self.incoming.next().map_or(Begin::Now, Begin::AwaitingReply),
            (Flow::Request, Side::Backend) if self.answered < self.whole => {
                self.answered += 1;
                Begin::Now
            }
            (Flow::Request, Side::Backend) if self.is_read_to_end => Begin::NoMore,
            (Flow::Request, Side::Backend) => Begin::NotYet,
            _ => Begin::Now,
        }
    }

    /// Whether its messages answer those of the other half, so that the time of the run does not end them.
    pub(super) fn answers(&self) -> bool {
        self.flow == Flow::Request && self.side == Side::Backend
    }

    /// Whether its messages wait for replies.
    pub(super) fn awaits_replies(&self) -> bool {
        self.flow == Flow::Request && self.side == Side::Client
    }

    /// Where the connection to the backend came from.
    pub(in crate::client) fn seen_from(&self) -> Option<SocketAddr> {
        self.pair.seen_from()
    }

    /// The other half, as a finding of this one shows it.
    pub(in crate::client) fn shown_other(&self) -> OtherSide {
        self.pair.shown(self.side.other())
    }
}

/// Where the messages of a plan end in its stream, one after the other.
struct MessageEnds {
    plan: ConnectionPlan,
    end: u64,
}

impl Iterator for MessageEnds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            match self.plan.next()? {
                PlanStep::Message { len, .. } => {
                    self.end += len;
                    return Some(self.end);
                }
                PlanStep::Close(_) => return None,
                PlanStep::Write { .. } | PlanStep::Gap(_) => {}
            }
        }
    }
}
