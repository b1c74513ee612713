//! One direction of a simulated connection: the sender's buffer, the network, and the receiver's buffer. In a faulty
//! world one fault waits at one place of it.

#![cfg(all(test, unix))]

use std::collections::VecDeque;
use std::fmt;

use super::dice::Dice;

/// How long, in nanoseconds, bytes wait at a fault's place for others that it needs.
const PATIENCE: u64 = 300_000_000;

/// What is wrong with a way, at one place. Lengths are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WayFault {
    Lose(usize),
    Duplicate(usize),
    Change(usize),
    /// The first bytes change places with the second ones.
    Reorder(usize, usize),
    /// Bytes that nobody has sent.
    Insert(usize),
    /// They change places with as many bytes of another connection.
    Swap(usize),
    /// A FIN comes instead of the rest.
    Cut,
    /// The rest does not come, and the FIN comes when the sender sends it.
    LoseRest,
    /// Nothing moves any more.
    Stand,
    /// All is taken, and nothing comes any more.
    Swallow,
    /// Both ends are reset.
    Reset,
}

/// A fault that has happened, with the lengths that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Injected {
    pub(super) fault: WayFault,
    pub(super) at: u64,
    /// The connection with which bytes were swapped, and their place there.
    pub(super) other: Option<(usize, u64)>,
}

/// What becomes of bytes that reach the end of the sender's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    Open,
    /// They are dropped; the FIN passes.
    Dropped,
    /// They are dropped, and so is the FIN.
    Swallowed,
    /// They stay.
    Stopped,
}

/// What was carried.
pub(super) struct Carried {
    /// Bytes that have arrived.
    pub(super) bytes: usize,
    /// The fault resets the connection.
    pub(super) resets: bool,
}

/// One direction.
pub(super) struct LinkWay {
    /// Handed over by the sender, and not carried yet.
    waiting: VecDeque<u8>,
    /// At the receiver, and not read yet.
    pub(super) arrived: VecDeque<u8>,
    /// The most bytes that may wait, and that may lie unread.
    buffer: usize,
    window: usize,
    fin_sent: bool,
    fin_arrived: bool,
    /// Bytes carried up to the place of the fault.
    carried: u64,
    planned: Option<(WayFault, u64)>,
    /// When the place of the fault was reached.
    reached_at: Option<u64>,
    pub(super) injected: Option<Injected>,
    passage: Passage,
    noise: Dice,
}

impl fmt::Display for LinkWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkWay { waiting, arrived, buffer, window, fin_sent, fin_arrived, carried, .. } = self;
        let (waiting, arrived) = (waiting.len(), arrived.len());
        write!(f, "{waiting} of {buffer} B wait behind {carried} carried, {arrived} of {window} B unread; ")?;
        write!(f, "FIN sent {fin_sent}, arrived {fin_arrived}; {:?}, {:?}", self.passage, self.injected)
    }
}

impl LinkWay {
    /// A way with buffers of these sizes. `noise`: the seed of bytes that nobody has sent.
    pub(super) fn new(buffer: usize, window: usize, noise: u64) -> LinkWay {
        LinkWay {
            waiting: VecDeque::new(),
            arrived: VecDeque::new(),
            buffer,
            window,
            fin_sent: false,
            fin_arrived: false,
            carried: 0,
            planned: None,
            reached_at: None,
            injected: None,
            passage: Passage::Open,
            noise: Dice::new(noise),
        }
    }

    /// A fault is to happen before the byte of this offset.
    pub(super) fn plan(&mut self, fault: WayFault, at: u64) {
        self.planned = Some((fault, at));
    }

    pub(super) fn room(&self) -> usize {
        self.buffer.saturating_sub(self.waiting.len())
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    pub(super) fn send_fin(&mut self) {
        self.fin_sent = true;
    }

    pub(super) fn is_fin_sent(&self) -> bool {
        self.fin_sent
    }

    pub(super) fn has_fin_arrived(&self) -> bool {
        self.fin_arrived
    }

    /// A reset discards what was not carried.
    pub(super) fn discard(&mut self) {
        self.waiting.clear();
        self.passage = Passage::Swallowed;
    }

    /// Whether the fault's place is reached, and there is something for it to act on.
    fn is_at_fault(&self) -> bool {
        let reached = self.planned.is_some_and(|(_, at)| at == self.carried);
        reached && (self.fin_sent || !self.waiting.is_empty())
    }

    /// Bytes that wait at the place of a planned swap, and how many of them it concerns.
    pub(super) fn at_swap(&mut self) -> Option<(usize, &mut VecDeque<u8>)> {
        match self.planned {
            Some((WayFault::Swap(len), _)) if self.is_at_fault() && !self.waiting.is_empty() => {
                Some((len.min(self.waiting.len()), &mut self.waiting))
            }
            _ => None,
        }
    }

    /// The offset of the planned fault.
    pub(super) fn place(&self) -> u64 {
        self.planned.map_or(0, |(_, at)| at)
    }

    /// `len` bytes were swapped for those of the other connection.
    pub(super) fn swapped(&mut self, len: usize, other: (usize, u64)) {
        self.inject(WayFault::Swap(len));
        if let Some(injected) = &mut self.injected {
            injected.other = Some(other);
        }
    }

    fn inject(&mut self, fault: WayFault) {
        self.injected = Some(Injected { fault, at: self.carried, other: None });
        self.planned = None;
    }

    /// Gives up a fault for which the bytes have waited too long.
    pub(super) fn give_up_at(&mut self, now: u64) {
        if self.is_at_fault() && now >= self.reached_at.get_or_insert(now).saturating_add(PATIENCE) {
            self.planned = None;
        }
    }

    /// Whether the fault happens now. If it needs more bytes than wait, it does not.
    fn is_ready(&self, fault: WayFault) -> bool {
        match fault {
            WayFault::Swap(_) => false,
            WayFault::Reorder(..) => self.waiting.len() >= 2,
            WayFault::Insert(_) | WayFault::Stand | WayFault::Swallow | WayFault::Reset => true,
            _ => !self.waiting.is_empty(),
        }
    }

    /// Lets the fault happen to the bytes that wait. Returns whether it resets the connection.
    fn happen(&mut self, fault: WayFault) -> bool {
        let most = self.waiting.len();
        match fault {
            WayFault::Lose(len) => {
                self.inject(WayFault::Lose(len.min(most)));
                self.waiting.drain(..len.min(most));
            }
            WayFault::Duplicate(len) => {
                let len = len.min(most);
                self.inject(WayFault::Duplicate(len));
                let copy: Vec<u8> = self.waiting.range(..len).copied().collect();
                copy.into_iter().rev().for_each(|byte| self.waiting.push_front(byte));
            }
            WayFault::Change(len) => {
                self.inject(WayFault::Change(len.min(most)));
                let noise = &self.noise;
                self.waiting.range_mut(..len.min(most)).for_each(|byte| *byte ^= noise.below(255) as u8 + 1);
            }
            WayFault::Reorder(first, second) => {
                let first = first.min(most - 1);
                let second = second.min(most - first);
                self.inject(WayFault::Reorder(first, second));
                self.waiting.make_contiguous()[..first + second].rotate_left(first);
            }
            WayFault::Insert(len) => {
                self.inject(fault);
                (0..len).for_each(|_| self.waiting.push_front(self.noise.below(256) as u8));
            }
            WayFault::Cut => {
                self.inject(fault);
                (self.fin_arrived, self.passage) = (true, Passage::Dropped);
            }
            WayFault::LoseRest => (self.passage, _) = (Passage::Dropped, self.inject(fault)),
            WayFault::Stand => (self.passage, _) = (Passage::Stopped, self.inject(fault)),
            WayFault::Swallow => (self.passage, _) = (Passage::Swallowed, self.inject(fault)),
            WayFault::Reset => self.inject(fault),
            WayFault::Swap(_) => {}
        }
        fault == WayFault::Reset
    }

    /// Bytes that can be carried now.
    fn movable(&self) -> usize {
        let space =
            if self.passage == Passage::Open { self.window.saturating_sub(self.arrived.len()) } else { usize::MAX };
        let to_fault = self.planned.map_or(u64::MAX, |(_, at)| at - self.carried);
        self.waiting.len().min(space).min(usize::try_from(to_fault).unwrap_or(usize::MAX))
    }

    fn is_fin_next(&self) -> bool {
        let passes = matches!(self.passage, Passage::Open | Passage::Dropped);
        passes && self.fin_sent && !self.fin_arrived && self.waiting.is_empty()
    }

    /// Whether [`carry`](Self::carry) would move something.
    pub(super) fn can_carry(&self) -> bool {
        if self.passage == Passage::Stopped {
            return false;
        }
        match self.planned {
            Some((fault, _)) if self.is_at_fault() => self.is_ready(fault),
            _ => self.movable() > 0 || self.is_fin_next(),
        }
    }

    /// Carries at most `most` bytes, or the FIN; or the fault happens. `None`: nothing can move now.
    pub(super) fn carry(&mut self, most: usize) -> Option<Carried> {
        if !self.can_carry() {
            return None;
        }
        if let Some((fault, _)) = self.planned.filter(|_| self.is_at_fault()) {
            let resets = self.happen(fault);
            return Some(Carried { bytes: 0, resets });
        }
        let n = self.movable().min(most);
        if n == 0 {
            self.fin_arrived = true;
            return Some(Carried { bytes: 0, resets: false });
        }
        let bytes = self.waiting.drain(..n);
        let before = self.arrived.len();
        match self.passage {
            Passage::Open => self.arrived.extend(bytes),
            _ => drop(bytes),
        }
        self.carried += n as u64;
        Some(Carried { bytes: self.arrived.len() - before, resets: false })
    }
}
