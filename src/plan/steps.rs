//! The steps of one connection, drawn from the seed as they are asked for.

use std::sync::Arc;
use std::time::Duration;

use super::draw::{RandomWords, mix};
use super::profile::Profile;
use super::slots::Slot;
use super::words::{Close, Lifetime};
use crate::random::below;
use crate::stream::{ConnId, MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES};

/// The most bytes of one write, however large the fragment: fits `usize` and a system call everywhere.
pub const MAX_WRITE_BYTES: u64 = 1 << 30;

/// The message number whose words decide what concerns the whole connection. No plan gets that far: it would take 2^64
/// bytes.
const LIFE: u64 = u64::MAX;

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begins a message: wait until fewer than `pipeline` are in flight, and until it is due.
    Message {
        /// Counts from 0 in each connection.
        index: u64,
        /// Bytes; the writes that follow add up to it.
        len: u64,
        /// Open loop: the scheduled time, from which its round trip counts; after the beginning of the schedule, which
        /// is when all connections of the group are open.
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
enum Phase {
    /// Before a message, or the end.
    Between,
    /// Before a write.
    Writing,
    /// After a write, before the gap that may follow.
    Written,
    /// `Close` was given.
    Closed,
}

/// The steps of one connection: an iterator that draws as it goes. Holds no more than 96 bytes, because there is one
/// for each open connection.
#[derive(Clone, Debug)]
pub struct ConnectionPlan {
    profile: Arc<Profile>,
    /// What `(seed, conn)` mix to.
    key: u64,
    /// The words of the current message.
    words: RandomWords,
    /// Messages before the current one.
    index: u64,
    /// The number in the slot's schedule of this connection's first message.
    first_arrival: u64,
    /// Of the current message, not yet written.
    remaining: u64,
    /// What the connection may still begin to send.
    allowance: u64,
    /// The slot's number in its group.
    slot: u32,
    /// Writes of the current message so far.
    fragment: u32,
    phase: Phase,
    stopped: bool,
    /// Whether anything depends on the words: sizes, fragments or gaps that differ.
    draws: bool,
}

impl ConnectionPlan {
    /// The plan of connection `conn`, which opens in `slot`, under this seed.
    pub fn new(profile: Arc<Profile>, seed: u64, slot: Slot, conn: ConnId) -> ConnectionPlan {
        let key = mix(seed, u64::from(conn.get()));
        // The first connection of a slot has the slot's number, and its words for itself.
        let most = if conn.get() == slot.number { MAX_STREAM_BYTES } else { MAX_SHARED_STREAM_BYTES };
        ConnectionPlan {
            key,
            words: RandomWords::of_message(key, LIFE),
            index: 0,
            first_arrival: 0,
            remaining: 0,
            allowance: profile.bytes.map_or(most, |bytes| bytes.min(most)),
            slot: slot.index,
            fragment: 0,
            phase: Phase::Between,
            stopped: false,
            draws: profile.draws(),
            profile,
        }
    }

    /// What the connections of its group have in common.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The age after which the connection is to be [stopped](Self::stop), if it has a lifetime in time.
    pub fn max_age(&self) -> Option<Duration> {
        match self.profile.lifetime? {
            Lifetime::Age(age) => Some(age.at(RandomWords::of_message(self.key, LIFE).next())),
            Lifetime::Messages(..) => None,
        }
    }

    /// The run's or the connection's time is up: a message that has begun to be written is finished, then the next step
    /// is `Close`. A message that was announced but of which no `Write` was given yet is taken back.
    pub fn stop(&mut self) {
        self.stopped = true;
        if self.phase == Phase::Writing && self.fragment == 0 {
            self.remaining = 0;
            self.phase = Phase::Between;
        }
    }

    /// Open loop across reconnects: the number in the slot's schedule of the next message, for
    /// [`resume_schedule`](Self::resume_schedule) of the connection that follows.
    pub fn next_arrival(&self) -> u64 {
        // One that was announced and of which nothing was written is still due, if the connection breaks now.
        let begun = self.phase == Phase::Written || (self.phase == Phase::Writing && self.fragment > 0);
        self.first_arrival + self.index + u64::from(begun)
    }

    /// Takes the slot's schedule up where the connection before left it, so that the rate stays what was asked for.
    /// Moves due times alone; sizes and fragments stay as they are.
    pub fn resume_schedule(&mut self, next_arrival: u64) {
        self.first_arrival = next_arrival;
    }

    /// How many messages this connection sends at most.
    fn messages(&self) -> u64 {
        let amount = self.profile.messages.unwrap_or(u64::MAX);
        match self.profile.lifetime {
            Some(Lifetime::Messages(low, high)) => {
                let word = RandomWords::of_message(self.key, LIFE).next();
                amount.min(low + below(word, (high - low).saturating_add(1)))
            }
            Some(Lifetime::Age(_)) | None => amount,
        }
    }

    fn has_ended(&self) -> bool {
        self.stopped || self.allowance == 0 || self.index >= self.messages()
    }

    /// When message `index` is due: the group's arrivals go round its slots.
    fn due(&self) -> Option<Duration> {
        let rate = self.profile.rate?;
        let arrival = (self.first_arrival + self.index)
            .saturating_mul(u64::from(self.profile.conns))
            .saturating_add(u64::from(self.slot));
        Some(rate.due(arrival))
    }

    /// Open loop: how many messages are due before `time`, after the beginning of the schedule, that were not begun and
    /// that the connection would still have sent.
    pub fn unsent(&self, time: Duration) -> u64 {
        let profile = &self.profile;
        let Some(rate) = profile.rate.filter(|_| !self.has_ended()) else { return 0 };
        let arrivals = rate.due_before(time);
        let due = arrivals.saturating_sub(u64::from(self.slot)).div_ceil(u64::from(profile.conns.max(1)));
        let begun = self.next_arrival();
        let more = self.messages().saturating_sub(begun - self.first_arrival);
        due.saturating_sub(begun).min(more)
    }

    /// The next word. Where all that a word could choose among is one and the same, none is made.
    #[inline]
    fn word(&mut self) -> u64 {
        if self.draws { self.words.next() } else { 0 }
    }

    fn begin_message(&mut self) -> Step {
        if self.draws {
            self.words = RandomWords::of_message(self.key, self.index);
        }
        let word = self.word();
        let len = self.profile.size.at(word, self.index).min(self.allowance);
        self.allowance -= len;
        self.remaining = len;
        self.fragment = 0;
        self.phase = Phase::Writing;
        Step::Message { index: self.index, len, due: self.due() }
    }

    fn write(&mut self) -> Step {
        let word = self.word();
        let ordinal = self.index.wrapping_add(u64::from(self.fragment));
        let len = self.profile.fragment.as_ref().map_or(self.remaining, |fragment| fragment.at(word, ordinal));
        let len = len.min(self.remaining).min(MAX_WRITE_BYTES);
        self.remaining -= len;
        self.fragment = self.fragment.saturating_add(1);
        self.phase = Phase::Written;
        Step::Write { len: len as usize }
    }

    /// Leaves `Written`. The gap's word is taken whether there is a gap or not: so `--gap` does not change the
    /// fragments.
    fn gap(&mut self) -> Option<Step> {
        let gap = self.profile.gap.at(self.word());
        let is_within_message = self.remaining > 0;
        if is_within_message {
            self.phase = Phase::Writing;
        } else {
            self.phase = Phase::Between;
            self.index += 1;
        }
        let wanted = is_within_message || (self.profile.rate.is_none() && !self.has_ended());
        (wanted && !gap.is_zero()).then_some(Step::Gap(gap))
    }
}

impl Iterator for ConnectionPlan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.phase == Phase::Written
            && let Some(gap) = self.gap()
        {
            return Some(gap);
        }
        match self.phase {
            Phase::Between if self.has_ended() => {
                self.phase = Phase::Closed;
                Some(Step::Close(self.profile.close))
            }
            Phase::Between => Some(self.begin_message()),
            Phase::Writing => Some(self.write()),
            Phase::Written => unreachable!("gap() leaves this phase"),
            Phase::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests;
