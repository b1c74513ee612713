//! Histograms, counters, time line: what was measured, as pure values that add up. No I/O, no clock: the client brings
//! the times. Adding two of any of these loses nothing, which is what lets workers, shards and hosts be one run.

pub mod active_time;
pub mod counters;
pub mod histogram;
pub mod open_loop;
pub mod timeline;

pub use active_time::ActiveTime;
pub use counters::Counters;
pub use histogram::Latency;
pub use open_loop::OpenLoopStats;
pub use timeline::{Point, Timeline};

/// All figures of one load group, of one worker or of many added up.
#[derive(Clone, Debug, Default)]
pub struct LoadStats {
    /// Totals.
    pub counters: Counters,
    /// From a message's first byte handed over (or its scheduled time, under an open-loop rate) to its last byte
    /// verified.
    pub rtt: Latency,
    /// From the start of the connect call to its success.
    pub connect: Latency,
    /// From a connection's first byte handed over to the first byte that came back.
    pub first_byte: Latency,
    /// From when to when the group was at work.
    pub active_time: ActiveTime,
    /// The same over time.
    pub timeline: Timeline,
    /// How the messages that were due at a time kept to it.
    pub open_loop: OpenLoopStats,
    /// The longest round trip that the time line does not hold yet, in nanoseconds.
    pub rtt_unmarked_ns: u64,
}

impl LoadStats {
    /// Adds the figures of others, without loss.
    pub fn add(&mut self, other: &LoadStats) {
        self.counters.add(&other.counters);
        self.rtt.add(&other.rtt);
        self.connect.add(&other.connect);
        self.first_byte.add(&other.first_byte);
        self.active_time.add(&other.active_time);
        self.timeline.add(&other.timeline);
        self.open_loop.add(&other.open_loop);
        self.rtt_unmarked_ns = self.rtt_unmarked_ns.max(other.rtt_unmarked_ns);
    }
}
