//! What all connections of one load group have in common: resolved, with no `Option` that means 'default'.
//!
//! Its JSON uses the keys and forms of the flags, so a report tells how to run the same again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::distribution::Distribution;
use super::time_range::TimeRange;
use crate::bytes::Expect;
use crate::units::text::text_form;
use crate::units::{ByteRate, Bytes, Count, Rate, Time};

/// A `pipeline` without limit.
pub const UNLIMITED: u32 = u32::MAX;

/// One resolved load group.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ResolvedLoad")]
pub struct Profile {
    /// The group's name in reports.
    pub name: String,
    /// Connections open at a time, in all shards.
    pub conns: u32,
    /// A connection ends after this many messages.
    pub messages: Option<u64>,
    /// A connection ends after this many bytes; the last message is cut to fit.
    pub bytes: Option<u64>,
    /// The group ends after this time.
    #[serde(serialize_with = "optional_time")]
    #[schemars(with = "Option<Time>")]
    pub duration: Option<Duration>,
    /// Sizes of messages in bytes.
    pub size: Distribution,
    /// Sizes of single writes in bytes; null: a message is one write.
    pub fragment: Option<Distribution>,
    /// The pause between one write and the next; between messages only in a closed loop.
    pub gap: TimeRange,
    /// Messages sent ahead of their echo; 4294967295 is without limit.
    pub pipeline: u32,
    /// Open loop: messages a second of the group in all; null: closed loop.
    pub rate: Option<Rate>,
    /// Connections opened a second, of the group in all; null: at once, or over `ramp`.
    pub connect_rate: Option<Rate>,
    /// The time over which connections are opened evenly; 0: at once, or by `connect_rate`.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub ramp: Duration,
    /// How it reads.
    pub read: Read,
    /// How it ends.
    pub close: Close,
    /// What ends a connection early; null: only the amount does.
    pub lifetime: Option<Lifetime>,
    /// Whether a connection that ended is followed by another.
    pub reconnect: Reconnect,
    /// The pause before such a one.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub reconnect_delay: Duration,
    /// TCP_NODELAY: fragments are sent as they are written.
    pub nodelay: bool,
    /// How long opening may take.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub connect_timeout: Duration,
    /// How long a connection that waits for the server may make no progress.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Time")]
    pub stall_timeout: Duration,
    /// Whether the first finding ends the run.
    pub fail_fast: bool,
    /// Whether the echo is compared.
    pub verify: Verify,
    /// SO_SNDBUF in bytes; null: what the system chooses.
    pub sndbuf: Option<usize>,
    /// SO_RCVBUF in bytes; null: what the system chooses.
    pub rcvbuf: Option<usize>,
}

/// How a connection reads its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As it comes.
    Normal,
    /// No more than this a second.
    Slow {
        /// Bytes a second, at least 1.
        bytes_per_second: u64,
    },
    /// Not for this time after the opening, then normally.
    Pause(Duration),
    /// Not before its own writes stall or all is written, then normally.
    AfterStall,
    /// Not at all.
    Never,
}

/// How a connection ends once its last message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// FIN; then every byte must come, then EOF.
    HalfClose,
    /// RST at once, in mid-stream.
    Reset,
    /// A plain close with echo unread.
    Abandon,
    /// Stays open, and must stay open, until the run ends.
    Keep,
}

/// What ends a connection before its amount is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// A number of messages between these, both included, drawn from the seed for each connection.
    Messages(u64, u64),
    /// An age, drawn from the seed for each connection.
    Age(TimeRange),
}

/// Whether a connection that ended is followed by another, with the next id of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// No.
    Off,
    /// This many times.
    Times(u32),
    /// Until the run's time is up.
    Forever,
}

/// Whether the echo is compared with what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every byte.
    Full,
    /// Only counted: for finding out what verification costs.
    Off,
}

/// Why one of the words above could not be read: what is wrong, and what is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WordError(String);

impl Profile {
    /// What can be asserted of the stream of a connection that ended as planned.
    pub fn expect(&self) -> Expect {
        match (self.read, self.close) {
            (Read::Never, _) | (_, Close::Reset | Close::Abandon) => Expect::Prefix,
            (_, Close::HalfClose | Close::Keep) => Expect::Exact,
        }
    }

    /// When the slot of this index in the group is to be opened, after the start of the run. Not decreasing over `index`.
    pub fn opens_at(&self, index: u32) -> Duration {
        let ramp_nanos = self.ramp.as_nanos() * u128::from(index) / u128::from(self.conns.max(1));
        let by_ramp = Duration::from_nanos(u64::try_from(ramp_nanos).unwrap_or(u64::MAX));
        let by_rate = self.connect_rate.map_or(Duration::ZERO, |rate| rate.due(u64::from(index)));
        by_ramp.max(by_rate)
    }

    /// When the last slot is to be opened, which is also when open-loop arrivals begin.
    pub fn all_open_at(&self) -> Duration {
        self.opens_at(self.conns.saturating_sub(1))
    }
}

fn time<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Time(*duration).serialize(serializer)
}

fn optional_time<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(Time).serialize(serializer)
}

impl Close {
    /// The words and their meanings.
    pub const WORDS: &'static [(&'static str, Close)] = &[
        ("half-close", Close::HalfClose),
        ("reset", Close::Reset),
        ("abandon", Close::Abandon),
        ("keep", Close::Keep),
    ];
}

impl Verify {
    /// The words and their meanings.
    pub const WORDS: &'static [(&'static str, Verify)] = &[("full", Verify::Full), ("off", Verify::Off)];
}

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, WordError> {
    words.iter().find(|(word, _)| *word == text.trim()).map(|(_, value)| *value).ok_or_else(|| {
        let valid: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        WordError(format!("{} is none of {}", text.trim(), valid.join(", ")))
    })
}

fn word_of<T: PartialEq>(value: &T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, other)| other == value).map_or("", |(word, _)| word)
}

impl FromStr for Close {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        word(text, Self::WORDS)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(self, Self::WORDS))
    }
}

impl FromStr for Verify {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        word(text, Self::WORDS)
    }
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(self, Self::WORDS))
    }
}

impl FromStr for Read {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let text = text.trim();
        let of = |part: &str, error: &dyn fmt::Display| WordError(format!("{part}: {error}"));
        match text.split_once(':') {
            Some(("slow", rate)) => rate
                .parse()
                .map(|ByteRate(bytes_per_second)| Read::Slow { bytes_per_second })
                .map_err(|error| of(text, &error)),
            Some(("pause", time)) => {
                time.parse().map(|Time(pause)| Read::Pause(pause)).map_err(|error| of(text, &error))
            }
            None if text == "normal" => Ok(Read::Normal),
            None if text == "after-stall" => Ok(Read::AfterStall),
            None if text == "never" => Ok(Read::Never),
            _ => Err(WordError(format!("{text} is none of normal, slow:64KiB/s, pause:2s, after-stall, never"))),
        }
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Read::Normal => f.write_str("normal"),
            Read::Slow { bytes_per_second } => write!(f, "slow:{}", ByteRate(*bytes_per_second)),
            Read::Pause(pause) => write!(f, "pause:{}", Time(*pause)),
            Read::AfterStall => f.write_str("after-stall"),
            Read::Never => f.write_str("never"),
        }
    }
}

impl FromStr for Lifetime {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let text = text.trim();
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        // A unit always means time: '5m' is five minutes, never five million messages.
        let is_count = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_count(low.trim()) && is_count(high.trim()) {
            return match (low.trim().parse(), high.trim().parse()) {
                (Ok(0), _) => Err(WordError("a lifetime of 0 messages: the shortest is 1, or a time".to_owned())),
                (Ok(low), Ok(high)) if low > high => {
                    Err(WordError(format!("the range {low}..{high} is empty: did you mean {high}..{low}?")))
                }
                (Ok(low), Ok(high)) => Ok(Lifetime::Messages(low, high)),
                _ => Err(WordError(format!("{text} messages are too many"))),
            };
        }
        match text.parse() {
            Ok(age) if TimeRange::is_zero(age) => Err(WordError("a lifetime of no time at all".to_owned())),
            Ok(age) => Ok(Lifetime::Age(age)),
            Err(error) => Err(WordError(format!("{error}, or a number of messages such as 10 or 1..20"))),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lifetime::Messages(low, high) if low == high => write!(f, "{low}"),
            Lifetime::Messages(low, high) => write!(f, "{low}..{high}"),
            Lifetime::Age(age) => write!(f, "{age}"),
        }
    }
}

impl FromStr for Reconnect {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.trim() {
            "off" => Ok(Reconnect::Off),
            "forever" => Ok(Reconnect::Forever),
            text => match text.parse::<Count>().map(|Count(times)| u32::try_from(times)) {
                Ok(Ok(0)) => Ok(Reconnect::Off),
                Ok(Ok(times)) => Ok(Reconnect::Times(times)),
                _ => Err(WordError(format!("{text} is neither off, forever, nor a number of times"))),
            },
        }
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reconnect::Off => f.write_str("off"),
            Reconnect::Times(times) => write!(f, "{}", Count(u64::from(*times))),
            Reconnect::Forever => f.write_str("forever"),
        }
    }
}

/// The echo of what was understood: one sentence, the defaults left out where they go without saying.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.conns == 1 { "" } else { "s" };
        write!(f, "{} connection{s}", Count(u64::from(self.conns)))?;
        match (self.ramp, self.connect_rate) {
            (Duration::ZERO, None) => {}
            (ramp, None) => write!(f, " opened over {}", Time(ramp))?,
            (_, Some(rate)) => write!(f, " opened at {rate}")?,
        }
        match self.messages {
            Some(0) => f.write_str(", no messages")?,
            Some(1) => write!(f, ", 1 message each of {}", self.size)?,
            Some(messages) => write!(f, ", {} messages each of {}", Count(messages), self.size)?,
            None => write!(f, ", messages of {}", self.size)?,
        }
        match &self.fragment {
            Some(fragment) => write!(f, " in fragments of {fragment}")?,
            None => f.write_str(" in one write each")?,
        }
        if !self.gap.is_zero() {
            write!(f, " {} apart", self.gap)?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, ", at most {} each", Bytes(bytes))?;
        }
        if let Some(duration) = self.duration {
            write!(f, ", for {}", Time(duration))?;
        }
        match (self.rate, self.pipeline) {
            (Some(rate), UNLIMITED) => write!(f, ", {rate} in all")?,
            (Some(rate), pipeline) => write!(f, ", {rate} in all, at most {pipeline} in flight")?,
            (None, UNLIMITED) => f.write_str(", sent without waiting for the echo")?,
            (None, pipeline) => write!(f, ", {pipeline} in flight")?,
        }
        if self.read != Read::Normal {
            write!(f, ", read {}", self.read)?;
        }
        if let Some(lifetime) = self.lifetime {
            let what = if matches!(lifetime, Lifetime::Messages(..)) { " messages" } else { "" };
            write!(f, ", each ended after {lifetime}{what}")?;
        }
        match self.reconnect {
            Reconnect::Off => {}
            Reconnect::Times(times) => write!(f, ", reconnected {times} times")?,
            Reconnect::Forever => f.write_str(", always reconnected")?,
        }
        write!(f, ", then {}", self.close)
    }
}

text_form!(
    Read,
    "Read",
    "how the echo is read: normal, slow:64KiB/s, pause:2s, after-stall or never",
    r"^\s*(normal|slow:.+|pause:.+|after-stall|never)\s*$",
    ["normal", "slow:64KiB/s", "pause:2s", "after-stall", "never"]
);
text_form!(
    Close,
    "Close",
    "how a connection ends: half-close, reset, abandon or keep",
    r"^\s*(half-close|reset|abandon|keep)\s*$",
    ["half-close", "reset", "abandon", "keep"]
);
text_form!(Verify, "Verify", "full or off", r"^\s*(full|off)\s*$", ["full", "off"]);
text_form!(
    Lifetime,
    "Lifetime",
    "what ends a connection early: a number of messages such as 10 or 1..20, or an age such as 5s or 1s..10s",
    r"^\s*[0-9.]+\s*[A-Za-zµ]*\s*(\.\.\s*[0-9.]+\s*[A-Za-zµ]*\s*)?$",
    ["10", "1..20", "5s", "1s..10s"]
);
text_form!(
    Reconnect,
    "Reconnect",
    "how often a connection that ended is opened anew: off, forever or a number",
    r"^\s*(off|forever|[0-9.]+\s*[kKmM]?)\s*$",
    ["off", "forever", "10"]
);
