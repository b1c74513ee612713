//! The options of a load group that are written as a keyword, with or without a value: how its connections read, end,
//! live and return. Each has one form in flags, TOML and JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::time_range::TimeRange;
use crate::units::text::{Form, TextForm, keyword_form, not_one_of, pattern, remedy, text_form};
use crate::units::{ByteRate, Count, ParseError, Time, range};

/// How a connection reads its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As it comes.
    Normal,
    /// No faster than this.
    Slow {
        /// Bytes per second, at least 1.
        bytes_per_second: u64,
    },
    /// Not for this long after it opened, then normally.
    Pause(Duration),
    /// As `Pause`, then for a while a byte at a time, then normally: a window that opens a little at a time.
    Dribble(Duration),
    /// Not until its own writes stall or everything is written, then normally.
    AfterStall,
    /// Not at all.
    Never,
}

/// How a connection ends once its last message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// FIN. Then every byte must come, then EOF.
    HalfClose,
    /// Every byte must come, then a plain close. For servers and proxies that do not answer a half-close.
    AfterEcho,
    /// RST at once, in mid-stream.
    Reset,
    /// FIN. Then at least half of the echo is read, then RST.
    HalfCloseReset,
    /// A plain close that leaves echo unread.
    Abandon,
    /// The socket's reading direction is shut down while echo is owed, and a moment later it is closed.
    ShutdownRead,
    /// Both directions are shut down while echo is owed, and a moment later the socket is closed.
    ShutdownBoth,
    /// As `AfterEcho`, but all connections of the load end together: each stays open, and must stay open, until all of
    /// them have their echo.
    Together,
    /// Stays open, and must stay open, until the run ends.
    Keep,
}

impl Close {
    /// What it does, as the end of a sentence that begins with 'then'. It is the keyword where that says it.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Close::HalfClose => "half-close",
            Close::AfterEcho => "close after the echo",
            Close::Reset => "reset",
            Close::HalfCloseReset => "half-close and reset",
            Close::Abandon => "close with echo unread",
            Close::ShutdownRead => "shut down reading",
            Close::ShutdownBoth => "shut down both directions",
            Close::Together => "close all together",
            Close::Keep => "stay open",
        }
    }
}

/// What ends a connection before it has sent all that it is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// A number of messages in this range, both ends included, drawn from the seed for each connection.
    Messages(u64, u64),
    /// An age, drawn from the seed for each connection.
    Age(TimeRange),
}

/// How often a connection that ended is followed by another, with the next id of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Never.
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
    /// It is only counted, to find out what verification costs.
    Off,
}

impl Close {
    /// The keywords and their meanings.
    pub const KEYWORDS: &'static [(&'static str, Close)] = &[
        ("half-close", Close::HalfClose),
        ("after-echo", Close::AfterEcho),
        ("reset", Close::Reset),
        ("half-close-reset", Close::HalfCloseReset),
        ("abandon", Close::Abandon),
        ("shutdown-read", Close::ShutdownRead),
        ("shutdown-both", Close::ShutdownBoth),
        ("together", Close::Together),
        ("keep", Close::Keep),
    ];
}

impl Verify {
    /// The keywords and their meanings.
    pub const KEYWORDS: &'static [(&'static str, Verify)] = &[("full", Verify::Full), ("off", Verify::Off)];
}

impl FromStr for Read {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        match text.split_once(':') {
            Some(("slow", rate)) => rate
                .parse()
                .map(|ByteRate(bytes_per_second)| Read::Slow { bytes_per_second })
                .map_err(|error: ParseError| error.in_part(text)),
            Some(("pause", time)) => {
                time.parse().map(|Time(pause)| Read::Pause(pause)).map_err(|error: ParseError| error.in_part(text))
            }
            Some(("dribble", time)) => {
                time.parse().map(|Time(pause)| Read::Dribble(pause)).map_err(|error: ParseError| error.in_part(text))
            }
            None if text == "normal" => Ok(Read::Normal),
            None if text == "after-stall" => Ok(Read::AfterStall),
            None if text == "never" => Ok(Read::Never),
            _ => Err(not_one_of::<Read>(text)),
        }
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Read::Normal => f.write_str("normal"),
            Read::Slow { bytes_per_second } => write!(f, "slow:{}", ByteRate(*bytes_per_second)),
            Read::Pause(pause) => write!(f, "pause:{}", Time(*pause)),
            Read::Dribble(pause) => write!(f, "dribble:{}", Time(*pause)),
            Read::AfterStall => f.write_str("after-stall"),
            Read::Never => f.write_str("never"),
        }
    }
}

impl FromStr for Lifetime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        if let Some(error) = range::with_hyphen(text) {
            return Err(error);
        }
        // A unit always means time: '5m' is five minutes, never five million messages.
        let is_count = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_count(low.trim()) && is_count(high.trim()) {
            return match (low.trim().parse(), high.trim().parse()) {
                (Ok(0), _) => {
                    Err(ParseError::new("a lifetime of 0 messages").with_remedy("the shortest is 1, or a time"))
                }
                (Ok(low), Ok(high)) if low > high => Err(ParseError::new(format!("the range {low}..{high} is empty"))
                    .with_remedy(format!("did you mean {high}..{low}?"))),
                (Ok(low), Ok(high)) => Ok(Lifetime::Messages(low, high)),
                _ => Err(ParseError::new(format!("too many messages: {text}"))),
            };
        }
        match text.parse() {
            Ok(age) if TimeRange::is_zero(age) => {
                Err(ParseError::new("a lifetime of 0").with_remedy("write a time above 0, such as 5s"))
            }
            Ok(age) => Ok(Lifetime::Age(age)),
            Err(error) => Err(ParseError::new(format!("{error}, or a number of messages such as 10 or 1..20"))),
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
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "off" => Ok(Reconnect::Off),
            "forever" => Ok(Reconnect::Forever),
            text => match text.parse::<Count>().map(|Count(times)| u32::try_from(times)) {
                Ok(Ok(0)) => Ok(Reconnect::Off),
                Ok(Ok(times)) => Ok(Reconnect::Times(times)),
                _ => Err(ParseError::new(format!("{text} is not a number of times")).with_remedy(remedy::<Self>())),
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

impl TextForm for Read {
    const WHAT: &'static str = "how the echo is read:";

    fn forms() -> Vec<Form> {
        vec![
            Form::keyword("normal").meaning("as it comes"),
            Form::new("slow:64KiB/s", format!(r"slow:\s*{}", pattern::<ByteRate>())).meaning("at this rate at most"),
            Form::new("pause:2s", format!(r"pause:\s*{}", pattern::<Time>())).meaning("not in the first 2 s"),
            Form::new("dribble:2s", format!(r"dribble:\s*{}", pattern::<Time>()))
                .meaning("not in the first 2 s, then 1,000 single bytes in a second, then as it comes"),
            Form::keyword("after-stall").meaning("not before the connection's own writes stall"),
            Form::keyword("never").meaning("not at all"),
        ]
    }
}

text_form!(Read);

keyword_form!(Close, "how a connection ends:");

keyword_form!(Verify, "whether the echo is compared:");

impl TextForm for Lifetime {
    const WHAT: &'static str = "what ends a connection early:";

    fn forms() -> Vec<Form> {
        let (messages, age) = ("[0-9]+", pattern::<TimeRange>());
        vec![
            Form::new("10", messages).meaning("messages"),
            Form::new("1..20", format!(r"{messages}\s*\.\.\s*{messages}")),
            Form::new("5s", &age).meaning("age"),
            Form::new("1s..10s", age),
        ]
    }
}

text_form!(Lifetime);

impl TextForm for Reconnect {
    const WHAT: &'static str = "how often a connection that ended is reopened:";

    fn forms() -> Vec<Form> {
        vec![Form::keyword("off"), Form::keyword("forever"), Form::new("10", pattern::<Count>()).meaning("times")]
    }
}

text_form!(Reconnect);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: FromStr<Err = ParseError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err(text).to_string()
    }

    fn is_its_own_normal_form<T: TextForm>() {
        for Form { example, .. } in T::forms() {
            let value: T = example.parse().unwrap_or_else(|error| panic!("{example}: {error}"));
            assert_eq!(value.to_string(), example);
        }
    }

    #[test]
    fn every_example_is_its_own_normal_form() {
        is_its_own_normal_form::<Read>();
        is_its_own_normal_form::<Close>();
        is_its_own_normal_form::<Verify>();
        is_its_own_normal_form::<Lifetime>();
        is_its_own_normal_form::<Reconnect>();
    }

    #[test]
    fn a_refusal_names_the_valid_values() {
        assert_eq!(
            refusal::<Close>("fin"),
            "fin is not one of half-close, after-echo, reset, half-close-reset, abandon, shutdown-read, shutdown-both, \
             together, keep"
        );
        assert_eq!(refusal::<Verify>("on"), "on is not one of full, off");
        assert_eq!(
            refusal::<Read>("slow"),
            "slow is not one of normal, slow:64KiB/s, pause:2s, dribble:2s, after-stall, never"
        );
        assert!(refusal::<Read>("slow:0").starts_with("slow:0: a rate of 0 bytes per second moves nothing"));
        assert_eq!(refusal::<Read>("pause:2"), "pause:2: 2 has no unit: did you mean 2s?");
        assert_eq!(refusal::<Lifetime>("0"), "a lifetime of 0 messages: the shortest is 1, or a time");
        assert_eq!(refusal::<Lifetime>("0s"), "a lifetime of 0: write a time above 0, such as 5s");
        assert_eq!(refusal::<Lifetime>("1-20"), "1-20 is not how a range is written: write 1..20");
        assert_eq!(refusal::<Lifetime>("9..3"), "the range 9..3 is empty: did you mean 3..9?");
        assert!(refusal::<Lifetime>("10k").contains("or a number of messages such as 10 or 1..20"));
        assert_eq!(refusal::<Reconnect>("twice"), "twice is not a number of times: write off, forever or 10 (times)");
    }

    #[test]
    fn a_lifetime_with_a_unit_is_a_time() {
        let five_minutes = TimeRange::new(Duration::from_secs(300), Duration::from_secs(300)).expect("not empty");
        assert_eq!("5m".parse(), Ok(Lifetime::Age(five_minutes)));
        assert_eq!("5".parse(), Ok(Lifetime::Messages(5, 5)));
    }
}
