//! Whether the client itself stood still: stopped, suspended with its virtual machine, or without a processor.
//!
//! A worker that comes back from such a gap finds every time-out expired, although the answers may lie in its sockets.
//! So the gap counts for nobody: deadlines are moved by it, and it is noted in the report. Pure: the times are given.

/// A sweep that comes this much too late, in nanoseconds, was held up by more than a busy round of the worker.
const SHORTEST_GAP_NS: u64 = 100_000_000;

/// The gaps of one worker. Times are nanoseconds since the start of the run.
pub(super) struct StandStill {
    /// How long a worker without gaps takes from one look to the next.
    interval: u64,
    last_look: u64,
    total: u64,
}

impl StandStill {
    /// Of a worker that looks at least once in each `interval`, from `now` on.
    pub(super) fn new(interval: u64, now: u64) -> StandStill {
        StandStill { interval, last_look: now, total: 0 }
    }

    /// Looks at the clock. Returns the gap since the last look, if there was one.
    pub(super) fn look(&mut self, now: u64) -> Option<u64> {
        let late = now.saturating_sub(self.last_look).saturating_sub(self.interval);
        self.last_look = now;
        let gap = (late >= SHORTEST_GAP_NS).then_some(late);
        self.total += gap.unwrap_or(0);
        gap
    }

    /// All gaps together.
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_look_that_comes_much_too_late_is_a_gap() {
        let ms = 1_000_000;
        let mut still = StandStill::new(50 * ms, 0);
        assert_eq!([50, 110, 250].map(|at| still.look(at * ms)), [None; 3], "a busy round");
        assert_eq!(still.look(6_300 * ms), Some(6_000 * ms));
        assert_eq!(still.look(6_350 * ms), None);
        assert_eq!(still.total(), 6_000 * ms);
    }
}
