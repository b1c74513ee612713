//! Who sends the first bytes of a connection, where both ends are ours.

use std::fmt;
use std::str::FromStr;

use super::options::{keyword_of, parse_keyword};
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, text_form};

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

impl FromStr for FirstSpeaker {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_keyword(text, Self::KEYWORDS)
    }
}

impl fmt::Display for FirstSpeaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(keyword_of(self, Self::KEYWORDS))
    }
}

impl TextForm for FirstSpeaker {
    const WHAT: &'static str = "who speaks first:";

    fn forms() -> Vec<Form> {
        FirstSpeaker::KEYWORDS.iter().map(|(keyword, _)| Form::keyword(keyword)).collect()
    }
}

text_form!(FirstSpeaker);
