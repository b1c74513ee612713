//! A load group: its options as typed, resolved to the profile of its connections. The defaults are filled in here;
//! `combinations` refuses the values that exclude each other.

use std::time::Duration;

use super::combinations;
use super::defaults;
use super::error::ConfigError;
use super::forms::{Fragment, Pipeline};
use super::load::LoadArgs;
use crate::plan::{
    Close, Distribution, FirstSpeaker, Flow, MAX_CONNECTIONS, Profile, Read, Reconnect, TimeRange, UNLIMITED, Verify,
};
use crate::stream::MAX_STREAM_BYTES;
use crate::units::{Bytes, Count, Rate, Time, grouped};

impl LoadArgs {
    /// The profile of the group, with defaults for absent options; `name` is its name if it has none of its own.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self, name: &str) -> Result<Profile, ConfigError> {
        let read = self.read.unwrap_or(Read::Normal);
        let default_close = if read == Read::Never { Close::Keep } else { Close::HalfClose };
        let (messages, bytes) = self.amount(read)?;
        let stall_timeout = positive_time("stall_timeout", self.stall_timeout)?.unwrap_or(defaults::STALL_TIMEOUT);
        let close = self.close.unwrap_or(default_close);
        let (close_rate, ramp_down) = self.pace_of_ends(close);
        let profile = Profile {
            name: self.name.clone().unwrap_or_else(|| name.to_owned()),
            conns: self.connections()?,
            messages,
            bytes,
            duration: positive_time("duration", self.duration)?,
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
            close_rate,
            ramp_down,
            close,
            lifetime: self.lifetime,
            reconnect: self.reconnect(),
            reconnect_delay: self.reconnect_delay.map_or(Duration::ZERO, |Time(delay)| delay),
            nodelay: !self.nagle.unwrap_or(false),
            connect_timeout: positive_time("connect_timeout", self.connect_timeout)?
                .unwrap_or(defaults::CONNECT_TIMEOUT),
            stall_timeout,
            grace: self.grace.map_or(stall_timeout, |Time(grace)| grace),
            fail_fast: self.fail_fast.unwrap_or(false),
            verify: self.verify.unwrap_or(Verify::Full),
            sndbuf: socket_buffer("sndbuf", self.sndbuf)?,
            rcvbuf: socket_buffer("rcvbuf", self.rcvbuf)?,
            mss: mss(self.mss)?,
            keepalive: keepalive(self.keepalive)?,
            fast_open: self.fast_open.unwrap_or(false),
            source_port: self.source_port,
            first_bytes: self.first_bytes,
            urgent: self.urgent.map(|Bytes(at)| at),
            flow: Flow::Echo,
            speaks_first: FirstSpeaker::Client,
            backend: None,
        };
        let profile = self.with_flow(profile)?;
        combinations::check(&profile)?;
        Ok(profile)
    }

    fn connections(&self) -> Result<u32, ConfigError> {
        let Count(conns) = self.conns.unwrap_or(Count(u64::from(defaults::CONNS)));
        match u32::try_from(conns) {
            Ok(0) => Err(ConfigError::too_small("conns", 0, 1)),
            Ok(conns) if conns <= MAX_CONNECTIONS => Ok(conns),
            _ => Err(ConfigError::too_large("conns", Count(conns), grouped(u64::from(MAX_CONNECTIONS)))),
        }
    }

    /// Messages and bytes per connection. If nothing else ends a connection, one of them has a default, so that every
    /// run ends.
    fn amount(&self, read: Read) -> Result<(Option<u64>, Option<u64>), ConfigError> {
        match self.bytes {
            Some(Bytes(0)) => {
                return Err(ConfigError::too_small("bytes", 0, 1)
                    .remedy("for connections that send nothing, write `messages = 0`"));
            }
            Some(bytes) if bytes.0 > MAX_STREAM_BYTES => {
                return Err(ConfigError::too_large("bytes", bytes, Bytes(MAX_STREAM_BYTES)));
            }
            _ => {}
        }
        let (messages, bytes) = (self.messages.map(|Count(n)| n), self.bytes.map(|Bytes(n)| n));
        let has_end = messages.is_some() || bytes.is_some() || self.duration.is_some() || self.lifetime.is_some();
        Ok(match read {
            _ if has_end => (messages, bytes),
            Read::AfterStall | Read::Never => (None, Some(defaults::BYTES_TO_STALL)),
            Read::Normal | Read::Slow { .. } | Read::Pause(_) | Read::Dribble(_) => (Some(defaults::MESSAGES), None),
        })
    }

    /// A closed loop waits for each echo, unless the connection is meant to write faster than it reads.
    fn in_flight(&self, read: Read) -> u32 {
        let default = if self.rate.is_some() || read != Read::Normal { UNLIMITED } else { 1 };
        self.pipeline.map_or(default, |Pipeline(messages)| messages)
    }

    /// How fast connections end that would end at one time. Those of `keep` end as they were opened.
    fn pace_of_ends(&self, close: Close) -> (Option<Rate>, Duration) {
        let of = |rate: Option<Rate>, time: Option<Time>| (rate, time.map_or(Duration::ZERO, |Time(time)| time));
        match (self.close_rate, self.ramp_down) {
            (None, None) if close == Close::Keep => of(self.connect_rate, self.ramp),
            (rate, time) => of(rate, time),
        }
    }

    fn reconnect(&self) -> Reconnect {
        let is_churn = self.lifetime.is_some() && self.duration.is_some();
        self.reconnect.unwrap_or(if is_churn { Reconnect::Forever } else { Reconnect::Off })
    }
}

fn positive_time(key: &'static str, time: Option<Time>) -> Result<Option<Duration>, ConfigError> {
    match time {
        Some(Time(Duration::ZERO)) => {
            Err(ConfigError::new(key, 0, "must be longer than 0").remedy("write a time such as 10s, or leave it out"))
        }
        time => Ok(time.map(|Time(time)| time)),
    }
}

/// The range is Linux's (its tcp(7), TCP_MAXSEG): every IPv4 path carries 88 bytes and their headers.
fn mss(mss: Option<Bytes>) -> Result<Option<u32>, ConfigError> {
    const RANGE: std::ops::RangeInclusive<u64> = 88..=32_767;
    match mss {
        Some(mss) if mss.0 < *RANGE.start() => Err(ConfigError::too_small("mss", mss, RANGE.start())
            .remedy("systems take no smaller one; leave it out for the system's choice")),
        Some(mss) if mss.0 > *RANGE.end() => Err(ConfigError::too_large("mss", mss, RANGE.end())),
        mss => Ok(mss.map(|Bytes(bytes)| bytes as u32)),
    }
}

/// Systems count these times in whole seconds, and Linux takes at most 32,767 of them (tcp(7), TCP_KEEPIDLE).
fn keepalive(time: Option<Time>) -> Result<Option<Duration>, ConfigError> {
    const LONGEST: Duration = Duration::from_secs(32_767);
    match time {
        Some(time) if time.0.is_zero() || time.0.subsec_nanos() != 0 => {
            Err(ConfigError::new("keepalive", time, "must be whole seconds")
                .remedy("write 1s or more, or leave it out"))
        }
        Some(time) if time.0 > LONGEST => Err(ConfigError::too_large("keepalive", time, Time(LONGEST))),
        time => Ok(time.map(|Time(time)| time)),
    }
}

fn default_sizes((low, high): (u64, u64)) -> Distribution {
    Distribution::uniform(low, high).expect("the default ranges are not empty")
}

fn socket_buffer(key: &'static str, size: Option<Bytes>) -> Result<Option<usize>, ConfigError> {
    let Some(size) = size else { return Ok(None) };
    match i32::try_from(size.0).ok().and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(0) => Err(ConfigError::too_small(key, 0, 1).remedy("leave it out for the system's default")),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(ConfigError::too_large(key, size, i32::MAX)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::config) fn load(toml: &str) -> Result<Profile, ConfigError> {
        let args: LoadArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
        args.resolve("load")
    }

    pub(in crate::config) fn profile(toml: &str) -> Profile {
        load(toml).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(toml: &str) -> String {
        load(toml).expect_err(toml).in_flags().to_string()
    }

    #[test]
    fn the_defaults_are_100_connections_of_100_messages() {
        assert_eq!(
            profile("").to_string(),
            "100 connections, 100 messages each of 1..16KiB in fragments of 1..4KiB, 1 in flight, then half-close"
        );
    }

    #[test]
    fn the_amount_has_a_default_only_if_nothing_else_ends_a_connection() {
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
    fn messages_are_pipelined_by_default_with_a_rate_or_with_slow_reading() {
        let pipeline = |toml| profile(toml).pipeline;
        assert_eq!(pipeline(""), 1);
        assert_eq!(pipeline("rate = 1000"), UNLIMITED);
        assert_eq!(pipeline("read = 'slow:64KiB/s'"), UNLIMITED);
        assert_eq!(pipeline("read = 'after-stall'\npipeline = 1"), 1);
    }

    #[test]
    fn a_connection_that_never_reads_stays_open_to_the_end_by_default() {
        assert_eq!(profile("read = 'never'").close, Close::Keep);
        assert_eq!(profile("read = 'never'\nclose = 'reset'").close, Close::Reset);
    }

    #[test]
    fn a_lifetime_within_a_duration_reconnects_by_default() {
        assert_eq!(profile("lifetime = 5\nduration = '10s'").reconnect, Reconnect::Forever);
        assert_eq!(profile("lifetime = 5\nduration = '10s'\nreconnect = 'off'").reconnect, Reconnect::Off);
        assert_eq!(profile("lifetime = 5").reconnect, Reconnect::Off);
    }

    #[test]
    fn connections_that_are_kept_end_as_they_were_opened_by_default() {
        let paced = |toml| (profile(toml).close_rate, profile(toml).ramp_down);
        let second = Duration::from_secs(1);
        assert_eq!(paced("ramp = '1s'\nclose = 'keep'"), (None, second));
        assert_eq!(paced("connect_rate = 5\nclose = 'keep'"), (Rate::per_second(5), Duration::ZERO));
        assert_eq!(paced("ramp = '1s'\nclose = 'keep'\nramp_down = 0"), (None, Duration::ZERO));
        assert_eq!(paced("ramp = '1s'"), (None, Duration::ZERO));
        assert_eq!(paced("ramp_down = '1s'\nduration = '2s'"), (None, second));
    }

    #[test]
    fn the_grace_is_as_long_as_the_stall_timeout_by_default() {
        let grace = |toml| profile(toml).grace.as_secs();
        assert_eq!((grace(""), grace("stall_timeout = '3s'"), grace("grace = 0")), (10, 3, 0));
    }

    #[test]
    fn a_group_has_its_own_name_or_else_the_given_one() {
        assert_eq!(profile("").name, "load");
        assert_eq!(profile("name = 'stalled'").name, "stalled");
    }

    #[test]
    fn invalid_values_are_refused_with_what_to_write() {
        for (toml, expected) in [
            ("conns = 0", "--conns 0: must be at least 1"),
            ("conns = '20m'", "--conns 20m: must be at most 16,777,216"),
            ("bytes = 0", "--bytes 0: must be at least 1: for connections that send nothing, write --messages 0"),
            ("bytes = '9TiB'", "--bytes 9TiB: must be at most 8TiB"),
            ("duration = 0", "--duration 0: must be longer than 0: write a time such as 10s, or leave it out"),
            (
                "connect_timeout = 0",
                "--connect-timeout 0: must be longer than 0: write a time such as 10s, or leave it out",
            ),
            (
                "stall_timeout = 0",
                "--stall-timeout 0: must be longer than 0: write a time such as 10s, or leave it out",
            ),
            ("sndbuf = 0", "--sndbuf 0: must be at least 1: leave it out for the system's default"),
            ("rcvbuf = '2GiB'", "--rcvbuf 2GiB: must be at most 2147483647"),
            (
                "mss = 87",
                "--mss 87: must be at least 88: systems take no smaller one; leave it out for the system's choice",
            ),
            ("mss = '64KiB'", "--mss 64KiB: must be at most 32767"),
            ("keepalive = '1500ms'", "--keepalive 1.5s: must be whole seconds: write 1s or more, or leave it out"),
            ("keepalive = '10h'", "--keepalive 10h: must be at most 32767s"),
        ] {
            assert_eq!(refusal(toml), expected);
        }
    }

    #[test]
    fn values_that_exclude_each_other_are_refused_with_what_to_write() {
        for (toml, expected) in [
            (
                "read = 'never'\nclose = 'half-close'",
                "--close half-close: it waits for the echo, which is never read with --read never: write keep, abandon or \
                 reset",
            ),
            (
                "read = 'never'\nclose = 'together'",
                "--close together: it waits for the echo, which is never read with --read never: write keep, abandon or \
                 reset",
            ),
            (
                "read = 'never'\nrate = 10",
                "--rate 10/s: with --read never writing stalls, so no rate can be kept: leave out one of them",
            ),
            (
                "ramp = '5s'\nconnect_rate = 10",
                "--ramp 5s: --connect-rate 10/s already sets how fast connections open (all within 10s): leave out one of \
                 them",
            ),
            (
                "connect_rate = 10\nduration = '5s'",
                "--connect-rate 10/s: the last connection would open after 9.9s, but the run ends after 5s: write a \
                 --duration of more than 9.9s",
            ),
            (
                "ramp = '10s'\nduration = '5s'",
                "--ramp 10s: the last connection would open after 9.9s, but the run ends after 5s: write a --duration of \
                 more than 9.9s",
            ),
            (
                "reconnect = 'forever'",
                "--reconnect forever: the run would never end: add a --duration, or write a number of times",
            ),
            (
                "reconnect = 5\nclose = 'keep'",
                "--reconnect 5: with --close keep connections stay open until the run ends, so none is reopened: leave it \
                 out, or choose another --close",
            ),
            (
                "reconnect = 5\nclose = 'together'",
                "--reconnect 5: with --close together connections stay open until all have their echo, so none is \
                 reopened: leave it out, or choose another --close",
            ),
            (
                "lifetime = '5s'\nclose = 'keep'",
                "--lifetime 5s: with --close keep connections stay open until the run ends, so none ends early: leave it \
                 out, or choose another --close",
            ),
            (
                "reconnect_delay = '1s'",
                "--reconnect-delay 1s: no connection is reopened: add --reconnect forever, or a number of times",
            ),
            (
                "ramp_down = '5s'\nclose_rate = 10",
                "--ramp-down 5s: --close-rate 10/s already sets how fast connections end: leave out one of them",
            ),
            (
                "fast_open = true\nmessages = 0",
                "--fast-open: a connection without a message has nothing to send with its SYN: leave out one of \
                 them",
            ),
            (
                "fast_open = true\nrate = 10",
                "--fast-open: with --rate 10/s messages wait until all connections are open, and here the first \
                 message opens them: leave out one of them",
            ),
            (
                "source_port = '20000..20098'",
                "--source-port 20000..20098: it has 99 ports for 100 connections at a time: write a wider range, or \
                 fewer --conns",
            ),
            (
                "first_bytes = 'ssh'\nurgent = 5",
                "--urgent 5: the first 32 bytes are those of --first-bytes ssh: write at least 32",
            ),
            (
                "urgent = '5GiB'\nmessages = 10\nsize = '1..16KiB'",
                "--urgent 5GiB: no connection has more than 160KiB: write less, or leave it out",
            ),
            (
                "urgent = '2MiB'\nbytes = '1MiB'",
                "--urgent 2MiB: no connection has more than 1MiB: write less, or leave it out",
            ),
            (
                "read = 'never'\nclose = 'half-close-reset'",
                "--close half-close-reset: it waits for the echo, which is never read with --read never: write keep, \
                 abandon or reset",
            ),
            ("bytes = '1TiB'\nreconnect = 1", "--bytes 1TiB: must be at most 64GiB if connections are reopened"),
        ] {
            assert_eq!(refusal(toml), expected);
        }
    }
}
