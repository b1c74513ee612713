//! When the open loops of a run begin: once the first connection of each slot of the group is open, has failed, or was
//! put off because this machine has nothing to open it with.
//!
//! Not before, because connecting would then be counted as latency of messages; and not at a time that is known
//! beforehand, because nobody knows how long ten thousand handshakes take. Each process of a run has its own beginning.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::connection::nanos;
use crate::plan::Profile;

/// From the last connection to the first message: time for every worker to be told, or to look for itself. A message
/// that is due before its worker knows would be late for no fault of the server's.
const LEAD: Duration = super::worker::SWEEP;
const NOT_YET: u64 = u64::MAX;

/// The beginnings of the schedules, by group.
pub(super) struct Arrivals {
    groups: Vec<Beginning>,
}

struct Beginning {
    /// Slots of which the first connection is neither open nor has failed nor was put off.
    awaited: AtomicU32,
    /// Nanoseconds since the start of the run.
    began: AtomicU64,
    /// Not before this, which is when the last of them is to be opened, in whatever process.
    earliest: u64,
}

impl Arrivals {
    /// For groups of which this process has so many slots.
    pub(super) fn new<'a>(groups: impl IntoIterator<Item = (&'a Profile, u32)>) -> Arrivals {
        let beginning = |(profile, slots): (&Profile, u32)| Beginning {
            awaited: AtomicU32::new(slots),
            began: AtomicU64::new(NOT_YET),
            earliest: nanos(profile.all_open_at()),
        };
        Arrivals { groups: groups.into_iter().map(beginning).collect() }
    }

    /// The first connection of a slot of this group is open, or has failed. `true`: it was the last one, and the
    /// schedule has got its beginning, of which the workers are to be told.
    pub(super) fn one_less(&self, group: usize, now: u64) -> bool {
        let group = &self.groups[group];
        let was_last = group.awaited.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last {
            group.began.store(group.earliest.max(now + nanos(LEAD)), Ordering::Release);
        }
        was_last
    }

    /// When the first message of the group is due, in nanoseconds since the start of the run, if that is known.
    pub(super) fn began(&self, group: usize) -> Option<u64> {
        Some(self.groups[group].began.load(Ordering::Acquire)).filter(|began| *began != NOT_YET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;

    fn profile(toml: &str) -> Profile {
        let args: LoadArgs = toml::from_str(toml).expect("well-formed");
        args.resolve("load").expect("a valid load")
    }

    #[test]
    fn a_schedule_begins_after_the_last_connection_and_not_before_all_are_to_be_open() {
        let (at_once, ramped) = (profile("conns = 2"), profile("conns = 2\nramp = '10s'"));
        let arrivals = Arrivals::new([(&at_once, 2), (&ramped, 1)]);
        assert!(!arrivals.one_less(0, 1_000));
        assert_eq!(arrivals.began(0), None, "one is awaited");
        assert!(arrivals.one_less(0, 2_000));
        assert_eq!(arrivals.began(0), Some(2_000 + nanos(LEAD)));
        assert!(arrivals.one_less(1, 3_000), "the only one that is this process's");
        assert_eq!(arrivals.began(1), Some(5_000_000_000), "another process opens the last one then");
    }
}
