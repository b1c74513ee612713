//! From what was typed to what it means: the defaults of a load group, and the combinations that make no sense.

use std::time::Duration;

use super::defaults;
use super::error::ConfigError;
use super::forms::{Fragment, Pipeline};
use super::load::LoadArgs;
use crate::plan::{
    Close, Distribution, Lifetime, MAX_CONNECTIONS, Profile, Read, Reconnect, TimeRange, UNLIMITED, Verify,
};
use crate::stream::{MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES};
use crate::units::{Bytes, Count, Rate, Time};

impl LoadArgs {
    /// What was typed, with defaults, as the profile of the group; `name` if it has none of its own. Errors name the
    /// key, its value and what to write instead.
    pub fn resolve(&self, name: &str) -> Result<Profile, ConfigError> {
        let read = self.read.unwrap_or(Read::Normal);
        let default_close = if read == Read::Never { Close::Keep } else { Close::HalfClose };
        let (messages, bytes) = self.amount(read)?;
        let profile = Profile {
            name: self.name.clone().unwrap_or_else(|| name.to_owned()),
            conns: self.connections()?,
            messages,
            bytes,
            duration: self.positive_time("duration", self.duration)?,
            size: self.size.clone().unwrap_or_else(|| default_sizes(defaults::SIZE)),
            fragment: match &self.fragment {
                None => Some(default_sizes(defaults::FRAGMENT)),
                Some(Fragment::Off) => None,
                Some(Fragment::Sizes(sizes)) => Some(sizes.clone()),
            },
            gap: self.gap.unwrap_or(TimeRange::ZERO),
            pipeline: self.in_flight(read),
            rate: self.rate,
            connect_rate: self.connect_rate,
            ramp: self.ramp.map_or(Duration::ZERO, |Time(ramp)| ramp),
            read,
            close: self.close.unwrap_or(default_close),
            lifetime: self.lifetime,
            reconnect: self.reconnecting(),
            reconnect_delay: self.reconnect_delay.map_or(Duration::ZERO, |Time(delay)| delay),
            nodelay: !self.nagle.unwrap_or(false),
            connect_timeout: self
                .positive_time("connect_timeout", self.connect_timeout)?
                .unwrap_or(defaults::CONNECT_TIMEOUT),
            stall_timeout: self.positive_time("stall_timeout", self.stall_timeout)?.unwrap_or(defaults::STALL_TIMEOUT),
            fail_fast: self.fail_fast.unwrap_or(false),
            verify: self.verify.unwrap_or(Verify::Full),
            sndbuf: socket_buffer("sndbuf", self.sndbuf)?,
            rcvbuf: socket_buffer("rcvbuf", self.rcvbuf)?,
        };
        check_reading(&profile)?;
        check_opening(&profile)?;
        check_churn(&profile)?;
        Ok(profile)
    }

    fn connections(&self) -> Result<u32, ConfigError> {
        let Count(conns) = self.conns.unwrap_or(Count(u64::from(defaults::CONNS)));
        match u32::try_from(conns) {
            Ok(0) => Err(ConfigError::new("conns", 0, "without a connection nothing is tested", "the least is 1")),
            Ok(conns) if conns <= MAX_CONNECTIONS => Ok(conns),
            _ => Err(ConfigError::new(
                "conns",
                Count(conns),
                "more connections than one run can tell apart",
                format!("the most is {MAX_CONNECTIONS}"),
            )),
        }
    }

    /// Messages and bytes of a connection. With nothing that would end it there is a default, so that a run ends.
    fn amount(&self, read: Read) -> Result<(Option<u64>, Option<u64>), ConfigError> {
        match self.bytes {
            Some(Bytes(0)) => {
                return Err(ConfigError::new(
                    "bytes",
                    0,
                    "a connection needs room for one byte",
                    "for a connection that sends nothing write messages = 0",
                ));
            }
            Some(bytes) if bytes.0 > MAX_STREAM_BYTES => {
                return Err(ConfigError::new(
                    "bytes",
                    bytes,
                    "longer than a connection's stream can be",
                    format!("the most is {}", Bytes(MAX_STREAM_BYTES)),
                ));
            }
            _ => {}
        }
        let (messages, bytes) = (self.messages.map(|Count(n)| n), self.bytes.map(|Bytes(n)| n));
        let has_end = messages.is_some() || bytes.is_some() || self.duration.is_some() || self.lifetime.is_some();
        Ok(match read {
            _ if has_end => (messages, bytes),
            Read::AfterStall | Read::Never => (None, Some(defaults::BYTES_TO_STALL)),
            Read::Normal | Read::Slow { .. } | Read::Pause(_) => (Some(defaults::MESSAGES), None),
        })
    }

    /// A closed loop waits for each echo, unless the point is to write ahead of the reading.
    fn in_flight(&self, read: Read) -> u32 {
        let default = if self.rate.is_some() || read != Read::Normal { UNLIMITED } else { 1 };
        self.pipeline.map_or(default, |Pipeline(messages)| messages)
    }

    fn reconnecting(&self) -> Reconnect {
        let is_churn = self.lifetime.is_some() && self.duration.is_some();
        self.reconnect.unwrap_or(if is_churn { Reconnect::Forever } else { Reconnect::Off })
    }

    fn positive_time(&self, key: &'static str, time: Option<Time>) -> Result<Option<Duration>, ConfigError> {
        match time {
            Some(Time(Duration::ZERO)) => {
                Err(ConfigError::new(key, 0, "no time at all", "write a time such as 10s, or leave it out"))
            }
            time => Ok(time.map(|Time(time)| time)),
        }
    }
}

fn default_sizes((low, high): (u64, u64)) -> Distribution {
    Distribution::uniform(low, high).expect("the default ranges are not empty")
}

fn socket_buffer(key: &'static str, size: Option<Bytes>) -> Result<Option<usize>, ConfigError> {
    let Some(size) = size else { return Ok(None) };
    match i32::try_from(size.0).ok().and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(0) => Err(ConfigError::new(key, 0, "a socket buffer of no size", "leave it out for the system's choice")),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(ConfigError::new(key, size, "larger than a socket buffer can be", "the most is 2147483647")),
    }
}

fn check_reading(profile: &Profile) -> Result<(), ConfigError> {
    if profile.read == Read::Never && matches!(profile.close, Close::HalfClose | Close::AfterEcho | Close::Together) {
        return Err(ConfigError::new(
            "close",
            profile.close,
            format!("with read = never the bytes that {} waits for are never read", profile.close),
            "write keep, abandon or reset",
        ));
    }
    match (profile.read, profile.rate) {
        (Read::Never | Read::AfterStall, Some(rate)) => Err(ConfigError::new(
            "rate",
            rate,
            format!("with read = {} the schedule can't be kept: the point is that writing stalls", profile.read),
            "leave one of them out",
        )),
        _ => Ok(()),
    }
}

fn check_opening(profile: &Profile) -> Result<(), ConfigError> {
    if let (Some(rate), false) = (profile.connect_rate, profile.ramp.is_zero()) {
        let needs = Rate::due(rate, u64::from(profile.conns));
        return Err(ConfigError::new(
            "ramp",
            Time(profile.ramp),
            format!("connect_rate = {rate} already says how fast connections open (over {})", Time(needs)),
            "leave one of them out",
        ));
    }
    let last = profile.all_open_at();
    match profile.duration {
        Some(duration) if last >= duration => {
            let (key, value) = match profile.connect_rate {
                Some(rate) => ("connect_rate", rate.to_string()),
                None => ("ramp", Time(profile.ramp).to_string()),
            };
            Err(ConfigError::new(
                key,
                value,
                format!("the last connection would open after {}, when the run has ended", Time(last)),
                format!("give it a duration of more than {}", Time(duration.max(last))),
            ))
        }
        _ => Ok(()),
    }
}

fn check_churn(profile: &Profile) -> Result<(), ConfigError> {
    let reconnects = profile.reconnect != Reconnect::Off;
    if profile.reconnect == Reconnect::Forever && profile.duration.is_none() {
        return Err(ConfigError::new(
            "reconnect",
            profile.reconnect,
            "nothing would ever end the run",
            "give it a duration, or a number of times",
        ));
    }
    let until = match profile.close {
        Close::Keep => Some("the run ends"),
        Close::Together => Some("all have their echo"),
        _ => None,
    };
    if let Some(until) = until.filter(|_| reconnects) {
        return Err(ConfigError::new(
            "reconnect",
            profile.reconnect,
            format!("with close = {} connections stay open until {until}, so none follows", profile.close),
            "leave it out, or choose another close",
        ));
    }
    if let (Some(until), Some(lifetime @ Lifetime::Age(_))) = (until, profile.lifetime) {
        return Err(ConfigError::new(
            "lifetime",
            lifetime,
            format!("with close = {} connections stay open until {until}", profile.close),
            "leave it out, or choose another close",
        ));
    }
    if let (true, Some(bytes)) = (reconnects, profile.bytes.filter(|bytes| *bytes > MAX_SHARED_STREAM_BYTES)) {
        return Err(ConfigError::new(
            "bytes",
            Bytes(bytes),
            "longer than the stream of a connection that follows another can be",
            format!("the most is {}", Bytes(MAX_SHARED_STREAM_BYTES)),
        ));
    }
    if !reconnects && !profile.reconnect_delay.is_zero() {
        return Err(ConfigError::new(
            "reconnect_delay",
            Time(profile.reconnect_delay),
            "no connection is opened anew",
            "add reconnect = forever, or a number of times",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Profile, ConfigError> {
        let args: LoadArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
        args.resolve("load")
    }

    fn profile(toml: &str) -> Profile {
        load(toml).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(toml: &str) -> String {
        load(toml).expect_err(toml).to_string()
    }

    #[test]
    fn nothing_typed_is_a_hundred_connections_of_a_hundred_messages() {
        assert_eq!(
            profile("").to_string(),
            "100 connections, 100 messages each of 1..16KiB in fragments of 1..4KiB, 1 in flight, then half-close"
        );
    }

    #[test]
    fn the_amount_has_a_default_only_where_nothing_else_ends_a_connection() {
        let amount = |toml| (profile(toml).messages, profile(toml).bytes);
        assert_eq!(amount(""), (Some(100), None));
        assert_eq!(amount("duration = '10s'"), (None, None));
        assert_eq!(amount("bytes = '1MiB'"), (None, Some(1 << 20)));
        assert_eq!(amount("lifetime = '5s'"), (None, None));
        assert_eq!(amount("messages = 0"), (Some(0), None));
        assert_eq!(amount("read = 'never'"), (None, Some(32 << 20)));
        assert_eq!(amount("read = 'after-stall'"), (None, Some(32 << 20)));
        assert_eq!(amount("read = 'after-stall'\nmessages = 5"), (Some(5), None));
    }

    #[test]
    fn messages_are_sent_ahead_where_waiting_would_defeat_the_point() {
        let pipeline = |toml| profile(toml).pipeline;
        assert_eq!(pipeline(""), 1);
        assert_eq!(pipeline("rate = 1000"), UNLIMITED);
        assert_eq!(pipeline("read = 'slow:64KiB/s'"), UNLIMITED);
        assert_eq!(pipeline("read = 'after-stall'\npipeline = 1"), 1);
    }

    #[test]
    fn a_connection_that_never_reads_stays_to_the_end() {
        assert_eq!(profile("read = 'never'").close, Close::Keep);
        assert_eq!(profile("read = 'never'\nclose = 'reset'").close, Close::Reset);
    }

    #[test]
    fn a_lifetime_within_a_duration_is_churn() {
        assert_eq!(profile("lifetime = 5\nduration = '10s'").reconnect, Reconnect::Forever);
        assert_eq!(profile("lifetime = 5\nduration = '10s'\nreconnect = 'off'").reconnect, Reconnect::Off);
        assert_eq!(profile("lifetime = 5").reconnect, Reconnect::Off);
    }

    #[test]
    fn a_group_has_its_own_name_or_the_given_one() {
        assert_eq!(profile("").name, "load");
        assert_eq!(profile("name = 'stalled'").name, "stalled");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        let refused = [
            ("conns = 0", "conns = 0: without a connection nothing is tested: the least is 1"),
            ("conns = '20m'", "conns = 20m: more connections than one run can tell apart: the most is 16777216"),
            (
                "bytes = 0",
                "bytes = 0: a connection needs room for one byte: for a connection that sends nothing write messages = 0",
            ),
            ("bytes = '9TiB'", "bytes = 9TiB: longer than a connection's stream can be: the most is 8TiB"),
            ("duration = 0", "duration = 0: no time at all: write a time such as 10s, or leave it out"),
            ("connect_timeout = 0", "connect_timeout = 0: no time at all: write a time such as 10s, or leave it out"),
            ("stall_timeout = 0", "stall_timeout = 0: no time at all: write a time such as 10s, or leave it out"),
            (
                "read = 'never'\nclose = 'half-close'",
                "close = half-close: with read = never the bytes that half-close waits for are never read: write keep, \
                 abandon or reset",
            ),
            (
                "read = 'never'\nrate = 10",
                "rate = 10/s: with read = never the schedule can't be kept: the point is that writing stalls: leave one of \
                 them out",
            ),
            (
                "ramp = '5s'\nconnect_rate = 10",
                "ramp = 5s: connect_rate = 10/s already says how fast connections open (over 10s): leave one of them out",
            ),
            (
                "connect_rate = 10\nduration = '5s'",
                "connect_rate = 10/s: the last connection would open after 9.9s, when the run has ended: give it a \
                 duration of more than 9.9s",
            ),
            (
                "ramp = '10s'\nduration = '5s'",
                "ramp = 10s: the last connection would open after 9.9s, when the run has ended: give it a duration of \
                 more than 9.9s",
            ),
            (
                "reconnect = 'forever'",
                "reconnect = forever: nothing would ever end the run: give it a duration, or a number of times",
            ),
            (
                "reconnect = 5\nclose = 'keep'",
                "reconnect = 5: with close = keep connections stay open until the run ends, so none follows: leave it \
                 out, or choose another close",
            ),
            (
                "reconnect = 5\nclose = 'together'",
                "reconnect = 5: with close = together connections stay open until all have their echo, so none follows: \
                 leave it out, or choose another close",
            ),
            (
                "read = 'never'\nclose = 'together'",
                "close = together: with read = never the bytes that together waits for are never read: write keep, \
                 abandon or reset",
            ),
            (
                "lifetime = '5s'\nclose = 'keep'",
                "lifetime = 5s: with close = keep connections stay open until the run ends: leave it out, or choose \
                 another close",
            ),
            (
                "reconnect_delay = '1s'",
                "reconnect_delay = 1s: no connection is opened anew: add reconnect = forever, or a number of times",
            ),
            (
                "bytes = '1TiB'\nreconnect = 1",
                "bytes = 1TiB: longer than the stream of a connection that follows another can be: the most is 64GiB",
            ),
            ("sndbuf = 0", "sndbuf = 0: a socket buffer of no size: leave it out for the system's choice"),
            ("rcvbuf = '2GiB'", "rcvbuf = 2GiB: larger than a socket buffer can be: the most is 2147483647"),
        ];
        for (toml, expected) in refused {
            assert_eq!(refusal(toml), expected);
        }
    }

    #[test]
    fn an_error_knows_its_flag() {
        assert_eq!(load("connect_timeout = 0").expect_err("no time").flag(), "--connect-timeout");
    }
}
