//! The plan of two sides: what `flow` and the `backend_…` keys make of a load group, and what does not go with them.

use std::fmt::Display;

use super::error::ConfigError;
use super::load::LoadArgs;
use crate::plan::{
    Close, Distribution, FirstSpeaker, Flow, OtherHalf, Profile, RECOGNIZED_BY_BYTES, Read, TimeRange, UNLIMITED,
};
use crate::units::{Bytes, Count};

impl LoadArgs {
    /// The same load where both ends are ours: both send, unless it says who does.
    #[must_use]
    pub fn with_backend(&self) -> LoadArgs {
        LoadArgs { flow: Some(self.flow.unwrap_or(Flow::Both)), ..self.clone() }
    }

    /// The first key that says something about the server's half, with its value.
    fn backend_key(&self) -> Option<(&'static str, String)> {
        fn of(key: &'static str, value: &Option<impl Display>) -> Option<(&'static str, String)> {
            value.as_ref().map(|value| (key, value.to_string()))
        }
        of("backend_size", &self.backend_size)
            .or_else(|| of("backend_messages", &self.backend_messages))
            .or_else(|| of("backend_bytes", &self.backend_bytes))
            .or_else(|| of("backend_gap", &self.backend_gap))
            .or_else(|| of("backend_rate", &self.backend_rate))
            .or_else(|| of("backend_read", &self.backend_read))
            .or_else(|| of("backend_close", &self.backend_close))
            .or_else(|| of("speaks_first", &self.speaks_first.filter(|first| *first == FirstSpeaker::Server)))
    }

    /// The profile with its flow, and with the server's half if the flow has two sides.
    pub(super) fn with_flow(&self, profile: Profile) -> Result<Profile, ConfigError> {
        let flow = self.flow.unwrap_or(Flow::Echo);
        if flow == Flow::Echo {
            return match self.backend_key() {
                Some((key, value)) => {
                    Err(ConfigError::new(key, value, "in an echo, the server sends back what it gets")
                        .remedy("add `flow = both`, upload, download or request, and a backend"))
                }
                None => Ok(profile),
            };
        }
        self.check_flow(flow, &profile)?;
        let speaks_first = self.speaks_first.unwrap_or(FirstSpeaker::Client);
        let profile = Profile { flow, speaks_first, pipeline: self.in_flight_of(flow), ..profile };
        let mut other = OtherHalf {
            size: self.backend_size.clone().unwrap_or_else(|| profile.size.clone()),
            messages: profile.messages,
            bytes: profile.bytes,
            gap: self.backend_gap.unwrap_or(TimeRange::ZERO),
            rate: self.backend_rate,
            read: self.backend_read.unwrap_or(Read::Normal),
            close: self.backend_close.unwrap_or(Close::HalfClose),
        };
        if self.backend_messages.is_some() || self.backend_bytes.is_some() {
            other.messages = self.backend_messages.map(|Count(messages)| messages);
            other.bytes = self.backend_bytes.map(|Bytes(bytes)| bytes);
        }
        let profile = match flow {
            Flow::Echo | Flow::Both => profile,
            Flow::Upload => {
                (other.messages, other.bytes) = (Some(0), None);
                other.close = self.backend_close.unwrap_or(Close::AfterEcho);
                profile
            }
            Flow::Download => {
                let size = Distribution::uniform(RECOGNIZED_BY_BYTES, RECOGNIZED_BY_BYTES).expect("it is not empty");
                let default_close = if profile.read == Read::Never { profile.close } else { Close::AfterEcho };
                let close = self.close.unwrap_or(default_close);
                // A client that need not be recognized sends nothing at all.
                let messages = Some(u64::from(profile.is_named_by_client()));
                Profile { size, messages, bytes: None, close, ..profile }
            }
            Flow::Request => {
                (other.messages, other.bytes) = (None, None);
                profile
            }
        };
        check_ends(&profile, &other)?;
        Ok(Profile { backend: Some(Box::new(other)), ..profile })
    }

    /// Only a request waits for something: its reply.
    fn in_flight_of(&self, flow: Flow) -> u32 {
        match (flow, self.pipeline) {
            (Flow::Request, Some(pipeline)) => pipeline.0,
            (Flow::Request, None) if self.rate.is_none() => 1,
            _ => UNLIMITED,
        }
    }

    /// Refuses the keys that do not go with a flow of two sides.
    fn check_flow(&self, flow: Flow, profile: &Profile) -> Result<(), ConfigError> {
        let refused = |key, value: &dyn Display, problem: &str| {
            Err(ConfigError::new(key, value, problem).remedy("leave it out, or choose another `flow`"))
        };
        let first = "the server recognizes a connection by the first 16 bytes of its stream";
        match self {
            LoadArgs { first_bytes: Some(first_bytes), .. } => return refused("first_bytes", first_bytes, first),
            LoadArgs { urgent: Some(urgent), .. } => {
                return refused("urgent", urgent, "urgent bytes are told from others in an echo alone");
            }
            LoadArgs { pipeline: Some(pipeline), .. } if flow != Flow::Request => {
                return refused("pipeline", pipeline, &format!("with `flow = {flow}` no message waits for another"));
            }
            LoadArgs { rate: Some(rate), .. } if flow == Flow::Download => {
                let problem = "with `flow = download` the client sends nothing but its first bytes";
                return Err(
                    ConfigError::new("rate", rate, problem).remedy("write `backend_rate` for the server's rate")
                );
            }
            _ => {}
        }
        let is_named_by_server = self.speaks_first == Some(FirstSpeaker::Server);
        if self.fast_open == Some(true) && is_named_by_server {
            let problem = "with `speaks_first = server` the client has nothing to send with its SYN";
            return Err(ConfigError::new("fast_open", true, problem).remedy("leave out one of them"));
        }
        if profile.messages == Some(0) && flow != Flow::Download && !is_named_by_server {
            return Err(ConfigError::new("messages", 0, first).remedy("write at least 1"));
        }
        match profile.bytes {
            Some(bytes) if bytes < RECOGNIZED_BY_BYTES && flow != Flow::Download && !is_named_by_server => {
                return Err(ConfigError::new("bytes", Bytes(bytes), first).remedy("write at least 16"));
            }
            _ => {}
        }
        let has_amount = self.backend_size.is_some() || self.backend_messages.is_some() || self.backend_bytes.is_some();
        let has_pace = self.backend_gap.is_some() || self.backend_rate.is_some();
        match (flow, self.backend_key(), self.backend_rate) {
            (Flow::Upload, Some((key, value)), _) if has_amount || has_pace => {
                refused(key, &value, "with `flow = upload` the server sends nothing")
            }
            (Flow::Request, _, Some(rate)) => {
                let problem = "with `flow = request` the server sends a reply whenever a message has come";
                Err(ConfigError::new("backend_rate", rate, problem).remedy("write `rate` for that of the messages"))
            }
            (Flow::Request, ..) if self.backend_messages.is_some() || self.backend_bytes.is_some() => {
                let messages = self.backend_messages.map(|messages| ("backend_messages", messages.to_string()));
                let bytes = self.backend_bytes.map(|bytes| ("backend_bytes", bytes.to_string()));
                let (key, value) = messages.or(bytes).unwrap_or_default();
                refused(key, &value, "with `flow = request` the server sends one reply for each message")
            }
            _ => Ok(()),
        }
    }
}

/// Refuses ends that only an echo has, and two sides that wait for each other.
fn check_ends(profile: &Profile, other: &OtherHalf) -> Result<(), ConfigError> {
    let of_client = [Close::HalfClose, Close::AfterEcho, Close::Reset, Close::Abandon, Close::Keep];
    let of_server = [Close::HalfClose, Close::AfterEcho, Close::Reset, Close::Abandon];
    if !of_client.contains(&profile.close) {
        let problem = format!("with `flow = {}` there is no echo to end by", profile.flow);
        return Err(ConfigError::new("close", profile.close, problem)
            .remedy("write half-close, after-echo, reset, abandon or keep"));
    }
    if !of_server.contains(&other.close) {
        let problem = "the server has no such end";
        return Err(ConfigError::new("backend_close", other.close, problem)
            .remedy("write half-close, after-echo, reset or abandon"));
    }
    if profile.close == Close::AfterEcho && other.close == Close::AfterEcho && profile.flow != Flow::Request {
        let problem =
            "the client waits for the server's FIN, with `close = after-echo`, and the server for the client's";
        return Err(
            ConfigError::new("backend_close", other.close, problem).remedy("choose another one for one of them")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::tests::{load, profile};
    use crate::units::Rate;

    fn other(toml: &str) -> OtherHalf {
        *profile(toml).backend.expect("the flow has two sides")
    }

    #[test]
    fn each_flow_says_who_sends_what_and_who_ends_first() {
        assert_eq!(profile("").backend, None);
        let both = other("flow = 'both'\nmessages = 5\nbackend_bytes = '1MiB'");
        assert_eq!((both.messages, both.bytes, both.close), (None, Some(1 << 20), Close::HalfClose));
        let upload = "flow = 'upload'\nmessages = 5";
        assert_eq!((other(upload).messages, other(upload).close), (Some(0), Close::AfterEcho));
        let download = profile("flow = 'download'\nmessages = 5\nsize = '1KiB'");
        assert_eq!((download.messages, download.close), (Some(1), Close::AfterEcho));
        assert_eq!(download.size.to_string(), "16");
        assert_eq!(other("flow = 'download'\nmessages = 5\nsize = '1KiB'").size.to_string(), "1KiB");
        let request = "flow = 'request'\nbackend_size = '100'";
        assert_eq!((profile(request).pipeline, other(request).messages), (1, None));
        assert_eq!(profile("flow = 'both'").pipeline, UNLIMITED);
    }

    #[test]
    fn the_server_s_half_mirrors_the_client_s() {
        let client = profile("flow = 'both'\nread = 'pause:2s'\nbackend_read = 'never'\nbackend_size = '7'");
        let server = client.of_backend().expect("the flow has two sides");
        assert_eq!((server.read, server.size.to_string()), (Read::Never, "7".to_owned()));
        assert!(client.is_never_read() && !server.is_never_read() && server.is_read_late());
        assert_eq!(server.of_backend().map(|client| client.size), Some(client.size));
    }

    #[test]
    fn a_client_that_is_not_recognized_by_its_first_bytes_need_not_send_any() {
        let server_first = |toml: &str| profile(&format!("speaks_first = 'server'\n{toml}"));
        assert_eq!(server_first("flow = 'download'\nmessages = 5").messages, Some(0));
        assert_eq!(server_first("flow = 'both'\nmessages = 0\nbackend_messages = 5").messages, Some(0));
        assert_eq!(server_first("flow = 'both'\nbytes = 5").bytes, Some(5));
        assert!(server_first("flow = 'both'").to_string().ends_with("; the server speaks first"));
        assert!(profile("flow = 'both'").is_named_by_client() && !server_first("flow = 'both'").is_named_by_client());
    }

    #[test]
    fn each_side_has_a_rate_of_its_own_or_none() {
        let both = profile("flow = 'both'\nrate = 10\nbackend_rate = '1k'");
        let server = both.of_backend().expect("the flow has two sides");
        assert_eq!((both.rate, server.rate), (Rate::per_second(10), Rate::per_second(1000)));
        assert_eq!(server.of_backend().and_then(|client| client.rate), both.rate);
        let client_alone = profile("flow = 'both'\nrate = 10");
        assert_eq!(client_alone.of_backend().and_then(|server| server.rate), None, "it is no default");
        assert!(client_alone.has_schedule() && profile("flow = 'download'\nbackend_rate = 5").has_schedule());
        assert!(!profile("flow = 'both'").has_schedule());
        let sentence = profile("flow = 'download'\nmessages = 5\nsize = '1KiB'\nbackend_rate = '1k'").to_string();
        assert!(
            sentence.ends_with("; the server sends 5 messages of 1KiB, 1,000/s in all, then half-close"),
            "{sentence}"
        );
        // Not reading stops the other end alone.
        assert!(load("flow = 'both'\nread = 'never'\nrate = 5").is_ok());
        assert!(load("flow = 'both'\nbackend_read = 'never'\nbackend_rate = 5").is_ok());
    }

    #[test]
    fn what_does_not_go_with_a_flow_is_refused_with_what_to_write() {
        for (toml, expected) in [
            (
                "backend_read = 'never'",
                "--backend-read never: in an echo, the server sends back what it gets: add --flow both, upload, download \
                 or request, and a backend",
            ),
            (
                "flow = 'both'\nfirst_bytes = 'ssh'",
                "--first-bytes ssh: the server recognizes a connection by the first 16 bytes of its stream: leave it out, \
                 or choose another --flow",
            ),
            (
                "flow = 'upload'\nmessages = 0",
                "--messages 0: the server recognizes a connection by the first 16 bytes of its stream: write at least 1",
            ),
            (
                "flow = 'upload'\nbytes = 15",
                "--bytes 15: the server recognizes a connection by the first 16 bytes of its stream: write at least 16",
            ),
            (
                "flow = 'upload'\nbackend_size = 5",
                "--backend-size 5: with --flow upload the server sends nothing: leave it out, or choose another --flow",
            ),
            (
                "flow = 'request'\nbackend_bytes = 5",
                "--backend-bytes 5: with --flow request the server sends one reply for each message: leave it out, or \
                 choose another --flow",
            ),
            (
                "speaks_first = 'server'",
                "--speaks-first server: in an echo, the server sends back what it gets: add --flow both, upload, download \
                 or request, and a backend",
            ),
            (
                "flow = 'both'\nspeaks_first = 'server'\nfast_open = true",
                "--fast-open: with --speaks-first server the client has nothing to send with its SYN: leave out one of them",
            ),
            (
                "backend_rate = 10",
                "--backend-rate 10/s: in an echo, the server sends back what it gets: add --flow both, upload, download \
                 or request, and a backend",
            ),
            (
                "flow = 'upload'\nbackend_rate = 10",
                "--backend-rate 10/s: with --flow upload the server sends nothing: leave it out, or choose another --flow",
            ),
            (
                "flow = 'request'\nbackend_rate = 10",
                "--backend-rate 10/s: with --flow request the server sends a reply whenever a message has come: write \
                 --rate for that of the messages",
            ),
            (
                "flow = 'download'\nrate = 10",
                "--rate 10/s: with --flow download the client sends nothing but its first bytes: write --backend-rate for \
                 the server's rate",
            ),
            (
                "flow = 'both'\nbackend_read = 'never'\nrate = 10",
                "--rate 10/s: with --backend-read never writing stalls, so no rate can be kept: leave out one of them",
            ),
            (
                "flow = 'download'\nread = 'never'\nbackend_rate = 10",
                "--backend-rate 10/s: with --read never writing stalls, so no rate can be kept: leave out one of them",
            ),
            (
                "flow = 'both'\nread = 'after-stall'\nrate = 10",
                "--rate 10/s: with --read after-stall writing stalls, so no rate can be kept: leave out one of them",
            ),
            (
                "flow = 'both'\npipeline = 2",
                "--pipeline 2: with --flow both no message waits for another: leave it out, or choose another --flow",
            ),
            (
                "flow = 'both'\nclose = 'together'",
                "--close together: with --flow both there is no echo to end by: write half-close, after-echo, reset, \
                 abandon or keep",
            ),
            (
                "flow = 'both'\nbackend_close = 'keep'",
                "--backend-close keep: the server has no such end: write half-close, after-echo, reset or abandon",
            ),
            (
                "flow = 'both'\nclose = 'after-echo'\nbackend_close = 'after-echo'",
                "--backend-close after-echo: the client waits for the server's FIN, with --close after-echo, and the \
                 server for the client's: choose another one for one of them",
            ),
        ] {
            assert_eq!(load(toml).expect_err(toml).in_flags().to_string(), expected);
        }
    }
}
