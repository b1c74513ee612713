//! The steps of one connection. Each is drawn from the seed when it is asked for.

use std::sync::Arc;
use std::time::Duration;

use super::draw::{RandomWords, mix};
use super::flow::RECOGNIZED_BY_BYTES;
use super::options::{Close, Lifetime};
use super::profile::Profile;
use super::slots::Slot;
use crate::random::below;
use crate::stream::{ConnId, MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES};

/// The most bytes of one write, however large the fragment. It fits `usize` and a system call on every system.
pub const MAX_WRITE_BYTES: u64 = 1 << 30;

/// The message index whose words are for the connection as a whole. No plan gets that far: it would take 2^64 bytes.
const CONNECTION_WORDS_INDEX: u64 = u64::MAX;

/// The next step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanStep {
    /// Begins a message, once fewer than `pipeline` are in flight and it is due.
    Message {
        /// Counts from 0 in each connection.
        index: u64,
        /// Bytes. The writes that follow add up to this.
        len: u64,
        /// Open loop: the scheduled time, from which the round trip counts. It is relative to the start of the
        /// schedule, when all connections of the group are open.
        due: Option<Duration>,
    },
    /// One write: the next fragment of the message.
    Write {
        /// Bytes, at least 1 and at most [`MAX_WRITE_BYTES`].
        len: usize,
    },
    /// A pause before the next step. Never zero.
    Gap(Duration),
    /// The end. Always the last step.
    Close(Close),
}

/// Where in a message the plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlanState {
    /// Before a message, or the end.
    Between,
    /// Before a write.
    Writing,
    /// After a write, before the gap that may follow.
    Written,
    /// After `Close`.
    Closed,
}

/// The steps of one connection: an iterator that draws them as it goes. It holds at most 96 bytes, because there is one
/// for each open connection.
#[derive(Clone, Debug)]
pub struct ConnectionPlan {
    profile: Arc<Profile>,
    /// The mix of seed and connection id.
    key: u64,
    /// The words of the current message.
    words: RandomWords,
    /// Messages before the current one.
    index: u64,
    /// The number of this connection's first message in its slot's schedule.
    first_arrival: u64,
    /// Bytes of the current message that are not written yet.
    remaining: u64,
    /// Bytes that the connection may send in messages not begun yet.
    allowance: u64,
    /// The slot's number in its group.
    slot: u32,
    /// Writes of the current message so far.
    fragment: u32,
    state: PlanState,
    stopped: bool,
    /// Whether anything depends on the words: sizes, fragments or gaps that vary.
    is_random: bool,
}

impl ConnectionPlan {
    /// The plan of connection `conn`, which opens in `slot`, under this seed.
    pub fn new(profile: Arc<Profile>, seed: u64, slot: Slot, conn: ConnId) -> ConnectionPlan {
        let key = mix(seed, u64::from(conn.get()));
        // The first connection of a slot has the slot's number as its id, and words that no other shares.
        let most = if conn.get() == slot.number { MAX_STREAM_BYTES } else { MAX_SHARED_STREAM_BYTES };
        ConnectionPlan {
            key,
            words: RandomWords::of_message(key, CONNECTION_WORDS_INDEX),
            index: 0,
            first_arrival: 0,
            remaining: 0,
            allowance: profile.bytes.map_or(most, |bytes| bytes.min(most)),
            slot: slot.index,
            fragment: 0,
            state: PlanState::Between,
            stopped: false,
            is_random: profile.is_random(),
            profile,
        }
    }

    /// The common profile of the connections of its group.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The age at which the connection is to be [stopped](Self::stop), if its lifetime is a time.
    pub fn max_age(&self) -> Option<Duration> {
        match self.profile.lifetime? {
            Lifetime::Age(age) => Some(age.at(RandomWords::of_message(self.key, CONNECTION_WORDS_INDEX).next())),
            Lifetime::Messages(..) => None,
        }
    }

    /// Stops the plan, because the time of the run or of the connection is up. A message that is partly written is
    /// finished, and `Close` follows. A message that has begun but has had no `Write` yet is withdrawn.
    pub fn stop(&mut self) {
        self.stopped = true;
        if self.state == PlanState::Writing && self.fragment == 0 {
            self.remaining = 0;
            self.state = PlanState::Between;
        }
    }

    /// Bytes of the message that has begun, for which no [`PlanStep::Write`] has been taken yet.
    pub fn unwritten(&self) -> u64 {
        self.remaining
    }

    /// Open loop across reconnects: the number of the next message in the slot's schedule, for
    /// [`resume_schedule`](Self::resume_schedule) of the connection that follows.
    pub fn next_arrival(&self) -> u64 {
        // If the connection breaks now, a message that has begun but has had no write is still due.
        let begun = self.state == PlanState::Written || (self.state == PlanState::Writing && self.fragment > 0);
        self.first_arrival + self.index + u64::from(begun)
    }

    /// Resumes the slot's schedule where the previous connection left it, so the rate stays as requested. This moves
    /// due times alone. Sizes and fragments stay as they are.
    pub fn resume_schedule(&mut self, next_arrival: u64) {
        self.first_arrival = next_arrival;
    }

    /// How many messages this connection sends at most.
    fn messages(&self) -> u64 {
        let amount = self.profile.messages.unwrap_or(u64::MAX);
        match self.profile.lifetime {
            Some(Lifetime::Messages(low, high)) => {
                let word = RandomWords::of_message(self.key, CONNECTION_WORDS_INDEX).next();
                amount.min(low + below(word, (high - low).saturating_add(1)))
            }
            Some(Lifetime::Age(_)) | None => amount,
        }
    }

    fn has_ended(&self) -> bool {
        self.stopped || self.allowance == 0 || self.index >= self.messages()
    }

    /// When the current message is due. The group deals its messages to its slots in turn.
    fn due(&self) -> Option<Duration> {
        let rate = self.profile.rate?;
        let arrival = (self.first_arrival + self.index)
            .saturating_mul(u64::from(self.profile.conns))
            .saturating_add(u64::from(self.slot));
        Some(rate.due(arrival))
    }

    /// Open loop: how many messages that the connection would still have sent are due before `time`, counted from the
    /// start of the schedule, and have not begun.
    pub fn unsent(&self, time: Duration) -> u64 {
        let profile = &self.profile;
        let Some(rate) = profile.rate.filter(|_| !self.has_ended()) else { return 0 };
        let arrivals = rate.due_before(time);
        let due = arrivals.saturating_sub(u64::from(self.slot)).div_ceil(u64::from(profile.conns.max(1)));
        let begun = self.next_arrival();
        let more = self.messages().saturating_sub(begun - self.first_arrival);
        due.saturating_sub(begun).min(more)
    }

    /// The next word. If no draw depends on it, no word is made.
    #[inline]
    fn word(&mut self) -> u64 {
        if self.is_random { self.words.next() } else { 0 }
    }

    fn begin_message(&mut self) -> PlanStep {
        if self.is_random {
            self.words = RandomWords::of_message(self.key, self.index);
        }
        let word = self.word();
        let mut len = self.profile.size.at(word, self.index);
        if self.index == 0 && self.profile.is_named_by_client() {
            // The other end recognizes the connection by these.
            len = len.max(RECOGNIZED_BY_BYTES);
        }
        let len = len.min(self.allowance);
        self.allowance -= len;
        self.remaining = len;
        self.fragment = 0;
        self.state = PlanState::Writing;
        PlanStep::Message { index: self.index, len, due: self.due() }
    }

    fn write(&mut self) -> PlanStep {
        let word = self.word();
        let ordinal = self.index.wrapping_add(u64::from(self.fragment));
        let len = self.profile.fragment.as_ref().map_or(self.remaining, |fragment| fragment.at(word, ordinal));
        let len = len.min(self.remaining).min(MAX_WRITE_BYTES);
        self.remaining -= len;
        self.fragment = self.fragment.saturating_add(1);
        self.state = PlanState::Written;
        PlanStep::Write { len: len as usize }
    }

    /// Leaves `Written`. The gap's word is taken whether there is a gap or not, so `--gap` does not change the
    /// fragments.
    fn gap(&mut self) -> Option<PlanStep> {
        let gap = self.profile.gap.at(self.word());
        let is_within_message = self.remaining > 0;
        if is_within_message {
            self.state = PlanState::Writing;
        } else {
            self.state = PlanState::Between;
            self.index += 1;
        }
        let wanted = is_within_message || (self.profile.rate.is_none() && !self.has_ended());
        (wanted && !gap.is_zero()).then_some(PlanStep::Gap(gap))
    }
}

impl Iterator for ConnectionPlan {
    type Item = PlanStep;

    fn next(&mut self) -> Option<PlanStep> {
        if self.state == PlanState::Written
            && let Some(gap) = self.gap()
        {
            return Some(gap);
        }
        match self.state {
            PlanState::Between if self.has_ended() => {
                self.state = PlanState::Closed;
                Some(PlanStep::Close(self.profile.close))
            }
            PlanState::Between => Some(self.begin_message()),
            PlanState::Writing => Some(self.write()),
            PlanState::Written => unreachable!("gap() leaves this state"),
            PlanState::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests;
