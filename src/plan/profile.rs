//! What all connections of one load group have in common, resolved: no `Option` means 'default'. `config` knows what
//! the user wrote, and makes a profile of it.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::distribution::Distribution;
use super::first_bytes::FirstBytes;
use super::first_speaker::FirstSpeaker;
use super::flow::{Flow, OtherHalf, with_unit};
use super::options::{Close, Lifetime, Read, Reconnect, Verify};
use super::port_range::PortRange;
use super::time_range::TimeRange;
use crate::units::{Bytes, Rate, Time, counted};

/// A `pipeline` without a limit.
pub const UNLIMITED: u32 = u32::MAX;

/// What a plan asserts about the echo of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedEcho {
    /// Every byte that was sent comes back, and then EOF.
    Exact,
    /// A prefix of what was sent comes back: the plan ends in a reset, or leaves echo unread.
    Prefix,
}

/// One resolved load group.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ResolvedLoad")]
pub struct Profile {
    /// The group's name in reports.
    pub name: String,
    /// Connections open at a time, all shards together.
    pub conns: u32,
    /// A connection ends after this many messages.
    pub messages: Option<u64>,
    /// A connection ends after this many bytes. The last message is cut to fit.
    pub bytes: Option<u64>,
    /// The group ends after this time.
    #[serde(serialize_with = "optional_time")]
    #[schemars(with = "Option<Time>")]
    pub duration: Option<Duration>,
    /// Sizes of messages in bytes.
    pub size: Distribution,
    /// Sizes of single writes in bytes. Null: a message is one write.
    pub fragment: Option<Distribution>,
    /// The pause between one write and the next. Between messages it applies only in a closed loop.
    pub gap: TimeRange,
    /// Messages that may be in flight. [`UNLIMITED`], or null in JSON: without a limit.
    #[serde(serialize_with = "limit")]
    #[schemars(with = "Option<u32>")]
    pub pipeline: u32,
    /// Open loop: messages per second, the whole group together. Null: closed loop.
    pub rate: Option<Rate>,
    /// Connections opened per second, the whole group together. Null: at once, or over `ramp`.
    pub connect_rate: Option<Rate>,
    /// The time over which connections are opened evenly. 0: at once, or by `connect_rate`.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub ramp: Duration,
    /// Connections ended a second, once all of them end at one time. Null: at once, or over `ramp_down`.
    pub close_rate: Option<Rate>,
    /// The time over which connections end evenly, once all of them end at one time. 0: at once, or by `close_rate`.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub ramp_down: Duration,
    /// How a connection reads.
    pub read: Read,
    /// How a connection ends.
    pub close: Close,
    /// What ends a connection early. Null: nothing does.
    pub lifetime: Option<Lifetime>,
    /// How often a connection that ended is followed by another.
    pub reconnect: Reconnect,
    /// The pause before a reconnect.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub reconnect_delay: Duration,
    /// TCP_NODELAY: fragments are sent as they are written.
    pub nodelay: bool,
    /// How long a connect may take.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub connect_timeout: Duration,
    /// How long a connection that waits for the server may go without progress.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub stall_timeout: Duration,
    /// How long a connection may take to finish once its time is up: its duration, or its lifetime.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub grace: Duration,
    /// Whether the first finding ends the run.
    pub fail_fast: bool,
    /// Whether the echo is compared.
    pub verify: Verify,
    /// SO_SNDBUF in bytes. Null: the system chooses.
    pub sndbuf: Option<usize>,
    /// SO_RCVBUF in bytes. Null: the system chooses.
    pub rcvbuf: Option<usize>,
    /// TCP_MAXSEG in bytes. Null: the system chooses.
    pub mss: Option<u32>,
    /// After this silence, and after each further one, TCP probes the connection. Null: it does not.
    #[serde(serialize_with = "optional_time")]
    #[schemars(with = "Option<Time>")]
    pub keepalive: Option<Duration>,
    /// TCP Fast Open: the first bytes go with the SYN.
    pub fast_open: bool,
    /// Ports to connect from. Null: the system chooses.
    pub source_port: Option<PortRange>,
    /// What the first bytes of a connection look like. Null: they are bytes of the stream like all others.
    pub first_bytes: Option<FirstBytes>,
    /// The stream offset before which a byte is sent as urgent data. Null: none is.
    pub urgent: Option<u64>,
    /// Who sends what. Absent: the server sends back what it gets.
    #[serde(skip_serializing_if = "Flow::is_echo")]
    #[schemars(with = "Option<Flow>")]
    pub flow: Flow,
    /// Who sends the first bytes. Absent: the client.
    #[serde(skip_serializing_if = "FirstSpeaker::is_client")]
    #[schemars(with = "Option<FirstSpeaker>")]
    pub speaks_first: FirstSpeaker,
    /// The server's half of a connection. Absent in an echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Box<OtherHalf>>,
}

impl Profile {
    /// Whether any of a connection's steps is drawn at random. If not, no random words are needed.
    pub(super) fn is_random(&self) -> bool {
        let fragment_is_fixed = self.fragment.as_ref().is_none_or(Distribution::is_fixed);
        !(self.size.is_fixed() && fragment_is_fixed && self.gap.is_fixed())
    }

    /// What can be asserted of the stream of a connection that ended as planned.
    pub fn expected_echo(&self) -> ExpectedEcho {
        match (self.read, self.close) {
            (Read::Never, _)
            | (_, Close::Reset | Close::HalfCloseReset | Close::Abandon | Close::ShutdownRead | Close::ShutdownBoth) => {
                ExpectedEcho::Prefix
            }
            (_, Close::HalfClose | Close::AfterEcho | Close::Together | Close::Keep) => ExpectedEcho::Exact,
        }
    }

    /// Up to which stream offset the wire has other bytes than the stream, or more of them: 0 if it never has.
    pub fn marked_until(&self) -> u64 {
        let first = self.first_bytes.map_or(0, FirstBytes::count);
        self.urgent.map_or(first, |at| at + 1)
    }

    /// When the slot of this index in the group is to be opened, after the start of the run. Later indices are never
    /// earlier.
    pub fn opens_at(&self, index: u32) -> Duration {
        self.paced(index, self.ramp, self.connect_rate)
    }

    /// How long after the first slots of a group whose connections end at one time the slot of this index ends.
    pub fn ends_after(&self, index: u32) -> Duration {
        self.paced(index, self.ramp_down, self.close_rate)
    }

    /// Whether connections that end at one time end one after the other.
    pub fn paces_ends(&self) -> bool {
        !self.ramp_down.is_zero() || self.close_rate.is_some()
    }

    fn paced(&self, index: u32, over: Duration, rate: Option<Rate>) -> Duration {
        let nanos = over.as_nanos() * u128::from(index) / u128::from(self.conns.max(1));
        let by_time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let by_rate = rate.map_or(Duration::ZERO, |rate| rate.due(u64::from(index)));
        by_time.max(by_rate)
    }

    /// When the last slot is to be opened. Open-loop messages are due no earlier, and not before all slots are open.
    pub fn all_open_at(&self) -> Duration {
        self.opens_at(self.conns.saturating_sub(1))
    }
}

fn limit<S: serde::Serializer>(limit: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    (*limit != UNLIMITED).then_some(*limit).serialize(serializer)
}

fn time<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Time(*duration).serialize(serializer)
}

fn optional_time<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(Time).serialize(serializer)
}

impl Profile {
    /// What each connection sends, and in which pieces.
    fn fmt_messages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size.to_string();
        let size = match size.strip_prefix("each:") {
            Some(sizes) => format!("{} in order", with_unit(sizes)),
            None => with_unit(&size),
        };
        match self.messages {
            Some(0) => return f.write_str(", no messages"),
            Some(messages) => write!(f, ", {} each of {size}", counted(messages, "message"))?,
            None => write!(f, ", messages of {size}")?,
        }
        match &self.fragment {
            // A single byte is one write, whatever the fragments are.
            Some(fragment) if self.size.max() > 1 => write!(f, " in fragments of {}", with_unit(fragment))?,
            _ => f.write_str(" in one write each")?,
        }
        if self.gap.is_zero() { Ok(()) } else { write!(f, " {} apart", self.gap) }
    }

    /// How long its connections live, and whether others follow.
    fn fmt_lives(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lifetime) = self.lifetime {
            let what = if matches!(lifetime, Lifetime::Messages(..)) { " messages" } else { "" };
            write!(f, ", each ended after {lifetime}{what}")?;
        }
        match self.reconnect {
            Reconnect::Off => {}
            Reconnect::Times(1) => f.write_str(", reconnected once")?,
            Reconnect::Times(times) => write!(f, ", reconnected {}", counted(u64::from(times), "time"))?,
            Reconnect::Forever => f.write_str(", always reconnected")?,
        }
        Ok(())
    }
}

/// One sentence that summarizes the profile. Obvious defaults are left out.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(u64::from(self.conns), "connection"))?;
        match (self.ramp, self.connect_rate) {
            (Duration::ZERO, None) => {}
            (ramp, None) => write!(f, " opened over {}", Time(ramp))?,
            (_, Some(rate)) => write!(f, " opened at {}", rate.grouped())?,
        }
        self.fmt_messages(f)?;
        if let Some(first) = self.first_bytes {
            write!(f, ", first bytes as of {first}")?;
        }
        if let Some(at) = self.urgent {
            write!(f, ", an urgent byte at {}", Bytes(at))?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, ", at most {} each", with_unit(Bytes(bytes)))?;
        }
        if let Some(duration) = self.duration {
            write!(f, ", for {}", Time(duration))?;
        }
        match (self.rate, self.pipeline) {
            (Some(rate), UNLIMITED) => write!(f, ", {} in all", rate.grouped())?,
            (Some(rate), pipeline) => write!(f, ", {} in all, at most {pipeline} in flight", rate.grouped())?,
            (None, UNLIMITED) if self.flow.has_two_sides() => {}
            (None, UNLIMITED) => f.write_str(", sent without waiting for the echo")?,
            (None, pipeline) => write!(f, ", {pipeline} in flight")?,
        }
        if self.read != Read::Normal {
            write!(f, ", read {}", self.read)?;
        }
        self.fmt_lives(f)?;
        write!(f, ", then {}", self.close.in_words())?;
        match (self.ramp_down, self.close_rate) {
            (Duration::ZERO, None) => {}
            (time, None) => write!(f, " over {}", Time(time))?,
            (_, Some(rate)) => write!(f, " at {}", rate.grouped())?,
        }
        self.backend.iter().try_for_each(|other| other.fmt_as_server(self.flow, f))?;
        if self.speaks_first == FirstSpeaker::Server { f.write_str("; the server speaks first") } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Like a blast without flags, but small enough to write out: 3 messages of up to 100 bytes.
    pub(in super::super) fn profile() -> Profile {
        Profile {
            name: "load".to_owned(),
            conns: 4,
            messages: Some(3),
            bytes: None,
            duration: None,
            size: sizes("1..100"),
            fragment: Some(sizes("1..40")),
            gap: TimeRange::ZERO,
            pipeline: 1,
            rate: None,
            connect_rate: None,
            ramp: Duration::ZERO,
            close_rate: None,
            ramp_down: Duration::ZERO,
            read: Read::Normal,
            close: Close::HalfClose,
            lifetime: None,
            reconnect: Reconnect::Off,
            reconnect_delay: Duration::ZERO,
            nodelay: true,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            fail_fast: false,
            verify: Verify::Full,
            sndbuf: None,
            rcvbuf: None,
            mss: None,
            keepalive: None,
            fast_open: false,
            source_port: None,
            first_bytes: None,
            urgent: None,
            flow: Flow::Echo,
            speaks_first: FirstSpeaker::Client,
            backend: None,
        }
    }

    pub(in super::super) fn sizes(text: &str) -> Distribution {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn only_a_stream_that_is_read_to_its_end_must_come_back_to_the_last_byte() {
        let expect = |read, close| Profile { read, close, ..profile() }.expected_echo();
        assert_eq!(expect(Read::Normal, Close::HalfClose), ExpectedEcho::Exact);
        assert_eq!(expect(Read::AfterStall, Close::Keep), ExpectedEcho::Exact);
        assert_eq!(expect(Read::Normal, Close::AfterEcho), ExpectedEcho::Exact);
        assert_eq!(expect(Read::Normal, Close::Reset), ExpectedEcho::Prefix);
        assert_eq!(expect(Read::Normal, Close::Abandon), ExpectedEcho::Prefix);
        assert_eq!(expect(Read::Never, Close::Keep), ExpectedEcho::Prefix);
    }

    #[test]
    fn connections_open_at_once_or_evenly_over_the_ramp_or_at_their_rate() {
        let at = |profile: &Profile| (0..4).map(|i| profile.opens_at(i).as_millis()).collect::<Vec<_>>();
        assert_eq!(at(&profile()), [0, 0, 0, 0]);
        assert_eq!(at(&Profile { ramp: Duration::from_secs(2), ..profile() }), [0, 500, 1000, 1500]);
        let by_rate = Profile { connect_rate: Rate::per_second(10), ..profile() };
        assert_eq!(at(&by_rate), [0, 100, 200, 300]);
        assert_eq!(by_rate.all_open_at(), Duration::from_millis(300));
        let slowly = Profile { ramp_down: Duration::from_secs(4), ..profile() };
        assert_eq!((0..4).map(|i| slowly.ends_after(i).as_secs()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(slowly.paces_ends() && !profile().paces_ends());
    }

    #[test]
    fn the_sentence_says_what_was_understood() {
        assert_eq!(
            profile().to_string(),
            "4 connections, 3 messages each of 1..100 B in fragments of 1..40 B, 1 in flight, then half-close"
        );
        let churn = Profile {
            conns: 1,
            messages: None,
            bytes: Some(5 << 30),
            duration: Some(Duration::from_secs(90)),
            fragment: None,
            gap: "0..5ms".parse().expect("a range"),
            pipeline: UNLIMITED,
            ramp: Duration::from_millis(1500),
            read: Read::Slow { bytes_per_second: 65536 },
            close: Close::Abandon,
            lifetime: Some(Lifetime::Messages(1, 20)),
            reconnect: Reconnect::Forever,
            ..profile()
        };
        assert_eq!(
            churn.to_string(),
            "1 connection opened over 1.5s, messages of 1..100 B in one write each 0..5ms apart, at most 5GiB each, for \
             90s, sent without waiting for the echo, read slow:64KiB/s, each ended after 1..20 messages, always \
             reconnected, then close with echo unread"
        );
        let open = Profile { rate: Rate::per_second(20_000), connect_rate: Rate::per_second(50), ..profile() };
        assert_eq!(
            open.to_string(),
            "4 connections opened at 50/s, 3 messages each of 1..100 B in fragments of 1..40 B, 20,000/s in all, at most 1 \
             in flight, then half-close"
        );
    }

    #[test]
    fn its_json_matches_its_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(Profile)).expect("a schema is JSON");
        let full = Profile {
            duration: Some(Duration::from_secs(1)),
            rate: Rate::per_second(5),
            lifetime: Some(Lifetime::Messages(1, 2)),
            sndbuf: Some(4096),
            keepalive: Some(Duration::from_secs(1)),
            source_port: Some("20000..20100".parse().expect("a range")),
            ..profile()
        };
        for profile in [profile(), Profile { pipeline: UNLIMITED, fragment: None, ..profile() }, full] {
            let json = serde_json::to_value(&profile).expect("a profile is JSON");
            jsonschema::validate(&schema, &json).unwrap_or_else(|error| panic!("{json}: {error}"));
        }
    }
}
