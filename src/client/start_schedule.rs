//! When the open loops of a run start sending: once the first connection of every slot of the group is open, has
//! failed, or was put off because this machine lacks what it takes to open it.
//!
//! An earlier start would count the time of connecting as latency of messages. A start at a fixed time is not possible,
//! because nobody knows how long ten thousand handshakes take. Each process of a run has its own start.

use std::time::Duration;

use super::clock::nanos;
use crate::plan::Profile;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The schedule has no start yet.
const NOT_YET: u64 = u64::MAX;

/// When the schedule of each group starts.
pub(super) struct StartSchedule {
    groups: Vec<GroupStart>,
    /// From the last connection to the first message, in nanoseconds.
    lead: u64,
}

/// When the schedule of one group starts. Times are nanoseconds since the start of the run.
struct GroupStart {
    /// Slots whose first connection is not open, has not failed and was not put off.
    awaited: AtomicU32,
    began: AtomicU64,
    /// When the last slot of the group is to be opened, in whichever process. The schedule does not start before.
    earliest: u64,
}

impl StartSchedule {
    /// For groups and how many slots this process has of each. `lead` is the time from the last connection to the first
    /// message. It must be long enough for every worker to be told, or to look for itself: a message that is due before
    /// its worker knows would be late through no fault of the server.
    pub(super) fn new<'a>(groups: impl IntoIterator<Item = (&'a Profile, u32)>, lead: Duration) -> StartSchedule {
        let start = |(profile, slots): (&Profile, u32)| GroupStart {
            awaited: AtomicU32::new(slots),
            began: AtomicU64::new(NOT_YET),
            earliest: nanos(profile.all_open_at()),
        };
        StartSchedule { groups: groups.into_iter().map(start).collect(), lead: nanos(lead) }
    }

    /// The first connection of a slot of this group is open, has failed or was put off. Returns whether it was the last
    /// one: then the schedule has its start now, and the workers should be told.
    pub(super) fn settle(&self, group: usize, now: u64) -> bool {
        let group = &self.groups[group];
        let was_last = group.awaited.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last {
            group.began.store(group.earliest.max(now + self.lead), Ordering::Release);
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
        let args: LoadArgs = toml::from_str(toml).expect("the load of a test is well-formed");
        args.resolve("load").expect("the load of a test is valid")
    }

    #[test]
    fn a_schedule_starts_after_the_last_connection_and_once_all_should_be_open() {
        let (at_once, ramped) = (profile("conns = 2"), profile("conns = 2\nramp = '10s'"));
        let schedule = StartSchedule::new([(&at_once, 2), (&ramped, 1)], Duration::from_nanos(500));
        assert!(!schedule.settle(0, 1_000));
        assert_eq!(schedule.began(0), None, "one connection is still awaited");
        assert!(schedule.settle(0, 2_000));
        assert_eq!(schedule.began(0), Some(2_500));
        assert!(schedule.settle(1, 3_000), "this process has only one slot of the group");
        assert_eq!(schedule.began(1), Some(5_000_000_000), "another process opens the last one then");
    }
}
