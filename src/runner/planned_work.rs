//! The amount of work after which a run ends, as far as its plan tells, and the part of it that is done.

use std::time::Duration;

use crate::client::RunPlan;
use crate::measure::Counters;

/// The amount of work after which a run ends.
#[derive(Clone, Debug)]
pub(super) struct PlannedWork {
    /// Connections that are open at a time.
    pub(super) connections: u64,
    /// Messages of all connections, if their number is limited.
    messages: Option<u64>,
    /// The longest duration, if every load has one.
    duration: Option<Duration>,
}

impl PlannedWork {
    pub(super) fn of(plan: &RunPlan) -> PlannedWork {
        let is_replayed = |slot: &crate::plan::Slot| {
            plan.only.is_empty() || plan.only.iter().any(|c| plan.slots.of(*c).is_ok_and(|(s, _)| s == *slot))
        };
        let slots: Vec<_> = plan.slots.of_shard(plan.shard).filter(is_replayed).collect();
        let messages = slots.iter().map(|slot| plan.groups[slot.group as usize].messages).sum();
        let durations = plan.groups.iter().map(|group| group.duration).collect::<Option<Vec<_>>>();
        let duration = durations.and_then(|durations| durations.into_iter().max());
        PlannedWork { connections: slots.len() as u64, messages, duration }
    }

    /// The part that is done, 0 to 1, by the limit that will end the run first. `None`: the plan does not tell.
    pub(super) fn done(&self, counters: &Counters, elapsed: Duration) -> Option<f64> {
        // Where connections come and go, each new one brings its own messages.
        let messages = self.messages.filter(|_| counters.reconnects == 0);
        let by_messages = messages.map(|all| counters.messages_echoed as f64 / all.max(1) as f64);
        let by_time = self.duration.map(|all| elapsed.as_secs_f64() / all.as_secs_f64().max(1e-9));
        by_messages.into_iter().chain(by_time).reduce(f64::max).map(|done| done.min(1.0))
    }
}
