//! The interest of one connection in its socket's space, as an event loop keeps it, and how faults lose it. Pure: no
//! socket, no clock.

/// The sending side of one connection.
#[derive(Debug, Default)]
pub(super) struct SendSide {
    /// A write has blocked, and the rest waits for space.
    is_armed: bool,
    /// How often what waited was drained.
    drained: u64,
    interest: WriteInterest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WriteInterest {
    /// Space in the socket wakes the connection.
    #[default]
    Kept,
    /// Nothing wakes it.
    Lost,
    /// Nothing wakes it, but bytes came since, and one write is tried.
    Tried,
}

impl SendSide {
    /// Whether a write may be tried.
    pub(super) fn may_send(&self) -> bool {
        self.interest != WriteInterest::Lost
    }

    /// Whether the interest was lost before.
    pub(super) fn is_lost(&self) -> bool {
        self.interest != WriteInterest::Kept
    }

    /// A write has blocked. After `limit` blocked writes that were drained, the interest is lost. True: it is lost now.
    pub(super) fn blocked(&mut self, limit: Option<u64>) -> bool {
        if self.is_lost() {
            self.interest = WriteInterest::Lost;
            return false;
        }
        let was_armed = std::mem::replace(&mut self.is_armed, true);
        let is_lost = !was_armed && limit.is_some_and(|limit| self.drained >= limit);
        if is_lost {
            self.lose();
        }
        is_lost
    }

    /// Nothing waits any more.
    pub(super) fn drained(&mut self) {
        self.drained += u64::from(std::mem::take(&mut self.is_armed));
    }

    /// From now on space wakes nobody.
    pub(super) fn lose(&mut self) {
        self.interest = WriteInterest::Lost;
    }

    /// Bytes were received, so a write is tried whatever woke the connection.
    pub(super) fn received(&mut self) {
        if self.is_lost() {
            self.interest = WriteInterest::Tried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wake_up_is_lost_at_the_first_block_after_a_drained_one() {
        let mut side = SendSide::default();
        assert!(!side.blocked(Some(1)) && !side.blocked(Some(1)), "one backlog, however often it blocks");
        side.drained();
        side.drained();
        assert!(side.may_send());
        assert!(side.blocked(Some(1)) && !side.may_send());
        side.received();
        assert!(side.may_send() && side.is_lost());
        assert!(!side.blocked(Some(1)) && !side.may_send(), "one attempt for each receive");
    }

    #[test]
    fn without_the_fault_and_below_its_number_it_is_kept() {
        for limit in [None, Some(5)] {
            let mut side = SendSide::default();
            for _ in 0..5 {
                assert!(!side.blocked(limit) && side.may_send());
                side.drained();
            }
            assert_eq!(side.blocked(limit), limit.is_some());
        }
    }
}
