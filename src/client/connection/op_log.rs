//! What last happened on a connection, kept in a few bytes in case there is a finding.

use crate::stream::{Op, OpKind};

/// How many operations are kept.
const KEPT_OPS: usize = 6;
/// Times are kept in ticks of 2^16 ns (65.5 µs), so that 32 bits reach back 78 hours.
const TICK_SHIFT: u32 = 16;
/// The kind of an operation stands above its length.
const KIND_SHIFT: u32 = 29;
const MAX_LEN: u32 = (1 << KIND_SHIFT) - 1;
/// The kinds by their numbers.
const KINDS: [OpKind; 5] = [OpKind::Write, OpKind::Read, OpKind::HalfClose, OpKind::Probe, OpKind::StoodStill];

/// A ring of the last operations, 8 bytes each. The offset of each follows from the lengths of those after it.
#[derive(Default)]
pub(super) struct OpLog {
    ops: [PackedOp; KEPT_OPS],
    next: u8,
}

#[derive(Clone, Copy, Default)]
struct PackedOp {
    /// The number of the kind, and the length. 0: no operation yet, since a write moves at least one byte.
    kind_and_len: u32,
    ticks: u32,
}

impl OpLog {
    /// Adds an operation, in place of the oldest.
    #[inline]
    pub(super) fn push(&mut self, kind: OpKind, len: usize, now: u64) {
        let kind_and_len = ((kind as u32) << KIND_SHIFT) | (len as u32).min(MAX_LEN);
        self.ops[self.next as usize] = PackedOp { kind_and_len, ticks: (now >> TICK_SHIFT) as u32 };
        self.next = (self.next + 1) % KEPT_OPS as u8;
    }

    /// The operations, oldest first. `sent` and `received` are the totals of the connection, `now` is in nanoseconds
    /// since the start of the run.
    pub(super) fn list(&self, mut sent: u64, mut received: u64, now: u64) -> Vec<Op> {
        let mut list = Vec::with_capacity(KEPT_OPS);
        let newest_first = (1..=KEPT_OPS).map(|back| self.ops[(self.next as usize + KEPT_OPS - back) % KEPT_OPS]);
        for op in newest_first.take_while(|op| op.kind_and_len != 0) {
            let kind = KINDS[(op.kind_and_len >> KIND_SHIFT) as usize];
            let len = u64::from(op.kind_and_len & MAX_LEN);
            match kind {
                OpKind::Write => sent = sent.saturating_sub(len),
                OpKind::Read => received = received.saturating_sub(len),
                OpKind::HalfClose | OpKind::Probe | OpKind::StoodStill => {}
            }
            let offset = if kind == OpKind::Read { received } else { sent };
            let age = ((now >> TICK_SHIFT) as u32).wrapping_sub(op.ticks);
            let at = now.saturating_sub(u64::from(age) << TICK_SHIFT);
            // Rounded down to the tick, the unit in which it was kept.
            let at_ms = (at >> TICK_SHIFT << TICK_SHIFT) as f64 / 1e6;
            list.push(Op { kind, offset, len, at_ms });
        }
        list.reverse();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn a_half_close_stands_where_it_happened() {
        let mut log = OpLog::default();
        log.push(OpKind::Write, 100, 0);
        log.push(OpKind::HalfClose, 0, 1 << 20);
        log.push(OpKind::Read, 60, 2 << 20);
        let list: Vec<_> = log.list(100, 60, 3 << 20).iter().map(|op| (op.kind, op.offset, op.len)).collect();
        assert_eq!(list, [(OpKind::Write, 0, 100), (OpKind::HalfClose, 100, 0), (OpKind::Read, 0, 60)]);
    }

    #[test]
    fn offsets_follow_from_the_lengths_and_only_the_last_operations_are_kept() {
        let mut log = OpLog::default();
        for n in 0..4u64 {
            log.push(OpKind::Write, 100, n << 20);
            log.push(OpKind::Read, 50, n << 20);
        }
        let list = log.list(400, 200, 4 << 20);
        let seen: Vec<_> = list.iter().map(|op| (op.kind, op.offset, op.len)).collect();
        use OpKind::{Read, Write};
        let wanted =
            [(Write, 100, 100), (Read, 50, 50), (Write, 200, 100), (Read, 100, 50), (Write, 300, 100), (Read, 150, 50)];
        assert_eq!(seen, wanted);
        assert!((list[5].at_ms - 3.145_728).abs() < 1e-9, "{}", list[5].at_ms);
    }
}
