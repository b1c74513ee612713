//! Measurements: histograms, counters and a time line, as pure values that add up. No I/O and no clock: the client
//! brings the times. Adding two of these values loses nothing, so workers, shards and hosts can be one run.
//!
//! The form in which a report holds a value is defined here too, beside the value (`LatencyReport`, `RateReport`,
//! `ActiveTimeReport`, `KindStats`): the forms of several processes add up as well, by the same rules. `report`
//! composes these forms and renders them. It defines none of its own for measured values.

pub mod active_time;
pub mod backend_loss;
pub mod counters;
pub mod histogram;
pub mod kind_stats;
pub mod open_loop;
pub mod range;
pub mod spread;
pub mod timeline;
pub mod trip_counts;
pub mod usage;

pub use active_time::ActiveTime;
pub use backend_loss::BackendLoss;
pub use counters::Counters;
pub use histogram::Latency;
pub use kind_stats::{KindStats, KindStatsMap};
pub use open_loop::OpenLoopStats;
pub use range::Range;
pub use spread::Spread;
pub use timeline::{Point, Timeline};
pub use trip_counts::{TripCounts, TripRecorder};
pub use usage::{ResourceUsage, UsageFigures};

use crate::stream::Divergence;

/// A SYN that nobody answers is sent again after 1 s, and then after 2 s and 4 s more (RFC 6298, 2.1 and 5.5). Clocks
/// and the digits of a histogram may take a hundredth of that.
const SYN_SENT_AGAIN_NS: u64 = 990_000_000;

/// Of these connects, those that took a second longer than the fastest one, or than the fastest round trip: a SYN, or
/// its answer, was lost or dropped and sent again. A path that takes a second for everything is only a long one.
pub fn slow_connects(connects: &Latency, round_trips: &Latency) -> u64 {
    let Some(fastest) = connects.min().into_iter().chain(round_trips.min()).min() else { return 0 };
    connects.count_from(SYN_SENT_AGAIN_NS.saturating_add(u64::try_from(fastest.as_nanos()).unwrap_or(u64::MAX)))
}

/// Everything measured of one load group, by one worker or by several together.
#[derive(Clone, Debug, Default)]
pub struct LoadStats {
    /// Totals.
    pub counters: Counters,
    /// The findings of each kind, in sum.
    pub kinds: KindStatsMap,
    /// From the first byte of a message handed to the socket (in an open loop: from its scheduled time) to its last
    /// byte verified.
    pub rtt: Latency,
    /// From the start of the connect call to its success.
    pub connect: Latency,
    /// From the first byte of a connection handed to the socket to the first byte that came back.
    pub first_byte: Latency,
    /// Open loop: from the moment at which a message was due to the moment at which it began.
    pub sent_after_due: Latency,
    /// From the opening of a connection to its end, of those that never reached the backend because it was down.
    pub unserved_after: Latency,
    /// Bytes that a connection which did not read had handed to its socket when its writes stalled: what the path
    /// holds.
    pub buffered: Range,
    /// From when to when the group was active.
    pub active_time: ActiveTime,
    /// Some of these values over time.
    pub timeline: Timeline,
    /// How well an open loop kept its schedule.
    pub open_loop: OpenLoopStats,
    /// The round trips that are not in the time line yet.
    pub unmarked: TripRecorder,
}

impl LoadStats {
    /// Adds what another worker measured, without loss.
    pub fn add(&mut self, other: &LoadStats) {
        self.counters.add(&other.counters);
        other.kinds.iter().for_each(|(kind, stats)| kind_stats::add(&mut self.kinds, *kind, stats));
        self.rtt.add(&other.rtt);
        self.connect.add(&other.connect);
        self.first_byte.add(&other.first_byte);
        self.sent_after_due.add(&other.sent_after_due);
        self.unserved_after.add(&other.unserved_after);
        self.buffered.add(&other.buffered);
        self.active_time.add(&other.active_time);
        self.timeline.add(&other.timeline);
        self.open_loop.add(&other.open_loop);
        self.unmarked.add(&other.unmarked);
    }

    /// Connects that took a second longer than the fastest one: see [`slow_connects`].
    pub fn slow_connects(&self) -> u64 {
        slow_connects(&self.connect, &self.rtt)
    }

    /// Counts a finding, whose first bytes came `at_ms` milliseconds after the start of the run.
    pub fn found(&mut self, divergence: &Divergence, at_ms: f64, is_first_of_connection: bool) {
        self.counters.found(divergence.kind);
        kind_stats::count(&mut self.kinds, divergence, at_ms, is_first_of_connection);
    }
}
