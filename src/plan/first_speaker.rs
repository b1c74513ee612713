//! Who sends the first bytes of a connection, where both ends are ours.

use crate::units::text::keyword_form;

/// Who sends the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstSpeaker {
    /// The client, as in HTTP. The server recognizes the connection by them.
    Client,
    /// The server, as in FTP, SMTP and SSH. The client recognizes the connection by them, and waits for them.
    Server,
}

impl FirstSpeaker {
    /// The keywords and their meanings.
    pub const KEYWORDS: &'static [(&'static str, FirstSpeaker)] =
        &[("client", FirstSpeaker::Client), ("server", FirstSpeaker::Server)];

    pub(super) fn is_client(speaker: &FirstSpeaker) -> bool {
        *speaker == FirstSpeaker::Client
    }
}

keyword_form!(FirstSpeaker, "who speaks first:");
