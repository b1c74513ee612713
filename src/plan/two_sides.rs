//! The profile of the server's halves, made of the client's: each describes its own half, and the other one.

use super::first_speaker::FirstSpeaker;
use super::flow::OtherHalf;
use super::options::Read;
use super::profile::{Profile, UNLIMITED};

impl Profile {
    /// The profile of the server's halves of these connections. `None`: in an echo it has none.
    pub fn of_backend(&self) -> Option<Profile> {
        let other = self.backend.as_deref()?.clone();
        let client = OtherHalf {
            size: self.size.clone(),
            messages: self.messages,
            bytes: self.bytes,
            gap: self.gap,
            rate: self.rate,
            read: self.read,
            close: self.close,
        };
        Some(Profile {
            size: other.size,
            messages: other.messages,
            bytes: other.bytes,
            gap: other.gap,
            read: other.read,
            close: other.close,
            pipeline: UNLIMITED,
            rate: other.rate,
            lifetime: None,
            backend: Some(Box::new(client)),
            ..self.clone()
        })
    }

    /// Whether the server recognizes a connection by the client's first bytes.
    pub fn is_named_by_client(&self) -> bool {
        self.flow.has_two_sides() && self.speaks_first == FirstSpeaker::Client
    }

    /// Whether one of the sides sends at a rate.
    pub fn has_schedule(&self) -> bool {
        self.rate.is_some() || self.backend.as_deref().is_some_and(|other| other.rate.is_some())
    }

    /// Whether the other end never reads, so that everything that is sent to it stays on the way.
    pub fn is_never_read(&self) -> bool {
        self.backend.as_deref().is_some_and(|other| other.read == Read::Never)
    }

    /// Whether the other end does not read at first: what this one has sent when its writes stall is then what the way
    /// holds.
    pub fn is_read_late(&self) -> bool {
        self.backend.as_deref().is_some_and(|other| matches!(other.read, Read::Never | Read::Pause(_)))
    }
}
