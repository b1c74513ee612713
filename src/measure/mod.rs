//! Histograms, counters, time line: what was measured, as pure values that add up. No I/O, no clock: the client brings
//! the times. Adding two of any of these loses nothing, which is what lets workers, shards and hosts be one run.

pub mod counters;
pub mod histogram;
pub mod schedule;
pub mod span;
pub mod timeline;

pub use counters::Counters;
pub use histogram::Latency;
pub use schedule::Schedule;
pub use span::Span;
pub use timeline::{Point, Timeline};

/// All figures of one load group, of one worker or of many added up.
#[derive(Clone, Debug, Default)]
pub struct Figures {
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
    pub span: Span,
    /// The same over time.
    pub timeline: Timeline,
    /// How the messages that were due at a time kept to it.
    pub schedule: Schedule,
    /// The longest round trip that the time line does not hold yet, in nanoseconds.
    pub rtt_unmarked_ns: u64,
}

impl Figures {
    /// Adds the figures of others, without loss.
    pub fn add(&mut self, other: &Figures) {
        self.counters.add(&other.counters);
        self.rtt.add(&other.rtt);
        self.connect.add(&other.connect);
        self.first_byte.add(&other.first_byte);
        self.span.add(&other.span);
        self.timeline.add(&other.timeline);
        self.schedule.add(&other.schedule);
        self.rtt_unmarked_ns = self.rtt_unmarked_ns.max(other.rtt_unmarked_ns);
    }
}
