//! What lies between a connection and its target, as far as the user wants something to.

use super::error::ConfigError;
use crate::plan::Profile;
use crate::transport::{ProxyHeader, ProxyUrl};

/// The transport of a run, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSettings {
    /// The proxies on the way, in their order.
    pub via: Vec<ProxyUrl>,
    /// The header of the PROXY protocol that goes to the target.
    pub header: Option<ProxyHeader>,
}

impl TransportSettings {
    /// Whether the stream begins with the handshake of TCP.
    pub fn is_plain(&self) -> bool {
        *self == TransportSettings::default()
    }

    /// What a load asks for that this transport can't do, if there is something.
    pub fn unsuitable(&self, profile: &Profile) -> Option<ConfigError> {
        let what = match (&self.via[..], self.header) {
            ([], None) => return None,
            ([_, ..], _) => "with `via` the SYN goes to the proxy, and the first bytes are for it",
            (_, Some(_)) => "with `send_proxy` the first bytes are those of the PROXY header",
        };
        profile.fast_open.then(|| ConfigError::new("fast_open", true, what).remedy("leave out one of them"))
    }
}
