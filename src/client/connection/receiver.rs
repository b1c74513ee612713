//! The receiving side of a connection: when it may read, and the check of what it reads.

use std::io;

use super::turn::{Transport, TurnContext};
use super::write_stall::WriteStall;
use crate::client::clock::nanos;
use crate::plan::{Profile, Read, Verify};
use crate::stream::{Circumstances, ConnId, End, Verifier};

/// How many times a second a slow reader reads, at most: it waits until this part of a second's bytes is allowed.
const SLOW_READS_PER_SECOND: u64 = 20;

/// How many single bytes `dribble` reads before it reads as it comes, and the time from one to the next.
const DRIBBLED_BYTES: u64 = 1000;
const DRIBBLE_INTERVAL_NS: u64 = 1_000_000;

/// How much a connection may read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadAllowance {
    /// This many bytes.
    Bytes(usize),
    /// Nothing before this time, in nanoseconds since the start of the run.
    NotBefore(u64),
    /// Nothing until something else happens.
    Nothing,
}

impl ReadAllowance {
    #[inline]
    pub(super) fn may_read(self) -> bool {
        matches!(self, ReadAllowance::Bytes(_))
    }
}

/// The receiving side of a connection.
pub(super) struct Receiver {
    verifier: Verifier,
    received: u64,
    /// When bytes last came, or the connection was opened, in nanoseconds since the start of the run.
    last_came: u64,
    /// When the connection was opened, in nanoseconds since the start of the run: pauses and slow reading count from
    /// it.
    opened: u64,
    /// `read = "after-stall"`: it has begun to read, and goes on.
    has_begun: bool,
    /// The wire may still have other bytes than the stream, or more of them.
    has_marks: bool,
}

impl Receiver {
    pub(super) fn new(conn: ConnId, opened: u64, has_marks: bool) -> Receiver {
        let verifier = Verifier::new(conn);
        Receiver { verifier, received: 0, last_came: opened, opened, has_begun: false, has_marks }
    }

    pub(super) fn conn(&self) -> ConnId {
        self.verifier.conn()
    }

    /// Bytes received, right or wrong.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// See [`Verifier::position`].
    pub(super) fn position(&self) -> u64 {
        self.verifier.position()
    }

    /// See [`Verifier::reached`].
    #[inline]
    pub(super) fn reached(&self) -> u64 {
        self.verifier.reached()
    }

    /// See [`Verifier::verified`].
    pub(super) fn verified(&self) -> u64 {
        self.verifier.verified()
    }

    /// Bytes came at `now`.
    #[inline]
    pub(super) fn came(&mut self, now: u64) {
        self.last_came = now;
    }

    /// When the connection was opened, in nanoseconds since the start of the run.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// How long nothing has come, in nanoseconds.
    pub(super) fn silence(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_came)
    }

    /// The client itself stood still for this long, which is no silence of the peer's.
    pub(super) fn leave_out(&mut self, gap: u64) {
        self.last_came += gap;
    }

    /// How long this way of reading alone takes for everything up to stream offset `end`, in nanoseconds.
    pub(super) fn own_delay(&self, read: Read, end: u64, now: u64) -> u64 {
        match read {
            Read::Pause(pause) => (self.opened + nanos(pause)).saturating_sub(now),
            Read::Dribble(pause) => {
                let left = DRIBBLED_BYTES.saturating_sub(self.received).saturating_mul(DRIBBLE_INTERVAL_NS);
                (self.opened + nanos(pause)).saturating_sub(now).saturating_add(left)
            }
            Read::Slow { bytes_per_second } => {
                let owed = u128::from(end.saturating_sub(self.received));
                u64::try_from(owed * 1_000_000_000 / u128::from(bytes_per_second.max(1))).unwrap_or(u64::MAX)
            }
            Read::Normal | Read::AfterStall | Read::Never => 0,
        }
    }

    /// How much this way of reading allows now. `writes`: how long the connection's own writes have been blocked.
    /// `all_written`: it has nothing left to write.
    #[inline]
    pub(super) fn allowance(&self, read: Read, now: u64, writes: &WriteStall, all_written: bool) -> ReadAllowance {
        match read {
            Read::Normal => ReadAllowance::Bytes(usize::MAX),
            Read::Pause(pause) => {
                let until = self.opened + nanos(pause);
                if now >= until { ReadAllowance::Bytes(usize::MAX) } else { ReadAllowance::NotBefore(until) }
            }
            Read::Dribble(pause) => {
                let single = self.received < DRIBBLED_BYTES;
                let dribbled = self.received.min(DRIBBLED_BYTES) * DRIBBLE_INTERVAL_NS;
                let until = (self.opened + nanos(pause)).saturating_add(dribbled);
                match (now >= until, single) {
                    (false, _) => ReadAllowance::NotBefore(until),
                    (true, true) => ReadAllowance::Bytes(1),
                    (true, false) => ReadAllowance::Bytes(usize::MAX),
                }
            }
            Read::Slow { bytes_per_second } => self.slow_allowance(bytes_per_second.max(1), now),
            Read::AfterStall if self.has_begun || all_written || writes.have_stalled(now) => {
                ReadAllowance::Bytes(usize::MAX)
            }
            Read::AfterStall => writes.stall_at().map_or(ReadAllowance::Nothing, ReadAllowance::NotBefore),
            Read::Never => ReadAllowance::Nothing,
        }
    }

    /// How much `rate` bytes a second allow now: nothing, or at least what a twentieth of a second allows.
    fn slow_allowance(&self, rate: u64, now: u64) -> ReadAllowance {
        let quantum = (rate / SLOW_READS_PER_SECOND).max(1);
        let allowed = ((u128::from(now - self.opened) * u128::from(rate)) / 1_000_000_000) as u64;
        if self.received + quantum <= allowed {
            return ReadAllowance::Bytes((allowed - self.received) as usize);
        }
        let due = u128::from(self.received + quantum) * 1_000_000_000 / u128::from(rate);
        ReadAllowance::NotBefore(self.opened + due as u64 + 1)
    }

    /// Reads at most `most` bytes and checks them against the `sent` ones. Returns how many came; 0 is the peer's FIN.
    #[inline(always)]
    pub(super) fn receive(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        most: usize,
        profile: &Profile,
        sent: u64,
    ) -> io::Result<usize> {
        let most = most.min(turn.scratch.len());
        let mut n = socket.read(&mut turn.scratch[..most])?;
        if n > 0 && self.has_marks {
            n = self.unmark(turn, profile, n);
            if n == 0 {
                // Only the urgent byte came.
                n = socket.read(&mut turn.scratch[..most])?;
            }
        }
        if n == 0 {
            return Ok(0);
        }
        self.has_begun = true;
        self.received += n as u64;
        turn.stats.counters.bytes_received += n as u64;
        turn.stats.counters.reads += 1;
        match profile.verify {
            Verify::Full => {
                let (before, found) = (self.verifier.verified(), turn.found.len());
                let ledger = turn.ledger_of_incoming(self.conn(), sent);
                self.verifier.check(turn.incoming, &ledger, &turn.scratch[..n], turn.found);
                turn.stats.counters.bytes_verified += self.verifier.verified().saturating_sub(before);
                if turn.found.len() > found {
                    self.show_the_wire(turn, profile, found);
                }
            }
            Verify::Off => self.verifier.trust(n as u64),
        }
        Ok(n)
    }

    /// Makes bytes of the stream of what came where the wire has others, and takes out the urgent byte if it came at
    /// its place. Returns how many there are then.
    #[cold]
    fn unmark(&mut self, turn: &mut TurnContext<'_>, profile: &Profile, n: usize) -> usize {
        self.has_marks = self.received < profile.marked_until();
        let (conn, bytes) = (self.conn(), &mut turn.scratch[..n]);
        if let Some(first) = profile.first_bytes {
            first.exchange(turn.incoming, conn, self.received, bytes);
        }
        let Some(at) = profile.urgent.filter(|_| self.has_marks) else { return n };
        let Some(index) = usize::try_from(at - self.received).ok().filter(|index| *index < n) else { return n };
        let mut own = [0];
        turn.incoming.fill(conn, at, &mut own);
        if bytes[index] != !own[0] {
            return n;
        }
        bytes.copy_within(index + 1.., index);
        self.has_marks = false;
        n - 1
    }

    /// Lets the excerpts of findings from the `found`th on show the first bytes as they stood on the wire.
    #[cold]
    fn show_the_wire(&self, turn: &mut TurnContext<'_>, profile: &Profile, found: usize) {
        let Some(first) = profile.first_bytes else { return };
        for divergence in &mut turn.found[found..] {
            let offset = divergence.excerpt_offset;
            first.exchange(turn.incoming, self.conn(), offset, &mut divergence.expected);
            first.exchange(turn.incoming, self.conn(), offset, &mut divergence.received);
        }
    }

    /// Notes the circumstances of bytes that were just found wrong, and of which it is not certain yet what happened to
    /// them. Returns whether there are any.
    #[inline]
    pub(super) fn note(&mut self, circumstances: impl FnOnce() -> Circumstances) -> bool {
        self.verifier.note(circumstances)
    }

    /// The connection has ended in this way: finds what is missing or wrong.
    pub(super) fn end(&mut self, turn: &mut TurnContext<'_>, profile: &Profile, sent: u64, end: End) {
        let (before, found) = (self.verifier.verified(), turn.found.len());
        let ledger = turn.ledger_of_incoming(self.conn(), sent);
        self.verifier.end(turn.incoming, &ledger, end, turn.found);
        self.show_the_wire(turn, profile, found);
        turn.stats.counters.bytes_verified += self.verifier.verified().saturating_sub(before);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ReadAllowance::{Bytes, NotBefore, Nothing};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn receiver(opened: u64) -> Receiver {
        Receiver::new(ConnId::new(0).expect("0 is an id"), opened, false)
    }

    #[test]
    fn each_way_of_reading_allows_what_the_table_says() {
        let (receiver, idle) = (receiver(SECOND), WriteStall::default());
        let at = |read, now| receiver.allowance(read, now, &idle, false);
        assert_eq!(at(Read::Normal, SECOND), Bytes(usize::MAX));
        assert_eq!(at(Read::Never, 9 * SECOND), Nothing);
        let pause = Read::Pause(Duration::from_secs(2));
        assert_eq!((at(pause, 2 * SECOND), at(pause, 3 * SECOND)), (NotBefore(3 * SECOND), Bytes(usize::MAX)));
        let dribble = Read::Dribble(Duration::from_secs(2));
        assert_eq!((at(dribble, 2 * SECOND), at(dribble, 3 * SECOND)), (NotBefore(3 * SECOND), Bytes(1)));
        let slow = Read::Slow { bytes_per_second: 200 };
        assert_eq!(at(slow, SECOND), NotBefore(SECOND + SECOND / 20 + 1), "ten bytes are a twentieth of a second");
        assert_eq!(at(slow, SECOND + SECOND / 2), Bytes(100));
    }

    #[test]
    fn reading_after_a_stall_begins_with_the_stall_or_with_the_last_write_and_goes_on() {
        let (mut receiver, mut writes) = (receiver(0), WriteStall::default());
        assert_eq!(receiver.allowance(Read::AfterStall, SECOND, &writes, false), Nothing);
        assert_eq!(receiver.allowance(Read::AfterStall, SECOND, &writes, true), Bytes(usize::MAX));
        writes.block(SECOND);
        let stall_at = writes.stall_at().expect("the writes are blocked");
        assert_eq!(receiver.allowance(Read::AfterStall, SECOND, &writes, false), NotBefore(stall_at));
        assert_eq!(receiver.allowance(Read::AfterStall, stall_at, &writes, false), Bytes(usize::MAX));
        receiver.has_begun = true;
        writes.unblock();
        assert_eq!(receiver.allowance(Read::AfterStall, stall_at, &writes, false), Bytes(usize::MAX));
    }
}
