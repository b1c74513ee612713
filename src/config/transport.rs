//! What lies between a connection and its target, as far as the user wants something to.

use super::error::ConfigError;
use crate::plan::{Close, FirstSpeaker, Profile};
use crate::transport::{ProxyHeader, ProxyUrl, SocketKind, TlsOptions};
use crate::units::{Bytes, Time};

/// The transport of a run, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSettings {
    /// The proxies on the way, in their order.
    pub via: Vec<ProxyUrl>,
    /// The header of the PROXY protocol that goes to the target.
    pub header: Option<ProxyHeader>,
    /// TLS, in which the stream goes.
    pub tls: Option<TlsOptions>,
}

impl TransportSettings {
    /// Whether the stream begins with the handshake of TCP.
    pub fn is_plain(&self) -> bool {
        *self == TransportSettings::default()
    }

    /// What a load asks for that this transport can't do, to a target of this kind, if there is something.
    pub fn unsuitable(&self, profile: &Profile, target: SocketKind) -> Option<ConfigError> {
        self.unsuitable_for_fast_open(profile)
            .or_else(|| self.unsuitable_for_a_greeting(profile))
            .or_else(|| self.unsuitable_for_tls(profile))
            .or_else(|| unsuitable_without_tcp(profile, target))
    }

    fn unsuitable_for_fast_open(&self, profile: &Profile) -> Option<ConfigError> {
        let what = match (&self.via[..], self.header, &self.tls) {
            ([], None, None) => return None,
            ([_, ..], _, _) => "with `via` the SYN goes to the proxy, and the first bytes are for it",
            (_, Some(_), _) => "with `send_proxy` the first bytes are those of the PROXY header",
            (_, _, Some(_)) => "with `tls` the first bytes are those of its handshake",
        };
        profile.fast_open.then(|| ConfigError::new("fast_open", true, what).remedy("leave out one of them"))
    }

    fn unsuitable_for_a_greeting(&self, profile: &Profile) -> Option<ConfigError> {
        let first = profile.speaks_first;
        self.header.filter(|_| first == FirstSpeaker::Server)?;
        let what = "a server that speaks first does not wait for a header of the PROXY protocol, so the one of \
                    `send_proxy` may be taken for bytes of the stream";
        Some(ConfigError::new("speaks_first", first, what).remedy("leave out one of them"))
    }

    fn unsuitable_for_tls(&self, profile: &Profile) -> Option<ConfigError> {
        let at = profile.urgent.filter(|_| self.tls.is_some())?;
        Some(ConfigError::new("urgent", Bytes(at), "TLS has no urgent data").remedy("leave out one of them"))
    }
}

/// What only TCP has.
fn unsuitable_without_tcp(profile: &Profile, target: SocketKind) -> Option<ConfigError> {
    if target == SocketKind::Tcp {
        return None;
    }
    let wrong = |key, value: String, what: &str| {
        let what = format!("{} has no {what}", target.in_words());
        Some(ConfigError::new(key, value, what).remedy("leave it out, or give a target of TCP"))
    };
    // Linux has it for Unix domain sockets since 5.15.
    let urgent_data = if target == SocketKind::Unix { "urgent data everywhere" } else { "urgent data" };
    match profile {
        Profile { mss: Some(mss), .. } => wrong("mss", Bytes(*mss as u64).to_string(), "segments"),
        Profile { keepalive: Some(time), .. } => wrong("keepalive", Time(*time).to_string(), "keep-alive probes"),
        Profile { fast_open: true, .. } => wrong("fast_open", "true".to_owned(), "SYN"),
        Profile { source_port: Some(ports), .. } => wrong("source_port", ports.to_string(), "ports of TCP"),
        Profile { urgent: Some(at), .. } => wrong("urgent", Bytes(*at).to_string(), urgent_data),
        Profile { nodelay: false, .. } => wrong("nagle", "true".to_owned(), "segments to collect"),
        Profile { close: close @ (Close::Reset | Close::HalfCloseReset), .. } => {
            wrong("close", close.to_string(), "reset")
        }
        _ => None,
    }
}
