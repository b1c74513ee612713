//! Who sends what: an echo, or a plan of two sides.
//!
//! In an echo, the client sends and the server sends the same bytes back. In every other flow both ends are ours: the
//! server's half of a connection has a plan and a stream of its own, which no one else knows.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::distribution::Distribution;
use super::options::{Close, Read};
use super::time_range::TimeRange;
use crate::units::text::keyword_form;
use crate::units::{Bytes, Count, Rate};

/// Who sends what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The client sends, and the server sends the same back.
    Echo,
    /// Both sides send, neither waits for the other.
    Both,
    /// The client sends alone.
    Upload,
    /// The server sends alone, once the client's first bytes have told it which connection this is.
    Download,
    /// The server answers each message of the client with one of its own.
    Request,
}

/// The first bytes of a connection, by which the other side recognizes it: two words of a stream.
pub const RECOGNIZED_BY_BYTES: u64 = 16;

impl Flow {
    /// The keywords and their meanings.
    pub const KEYWORDS: &'static [(&'static str, Flow)] = &[
        ("echo", Flow::Echo),
        ("both", Flow::Both),
        ("upload", Flow::Upload),
        ("download", Flow::Download),
        ("request", Flow::Request),
    ];

    /// Whether both ends have a plan and a stream of their own.
    #[inline]
    pub fn has_two_sides(self) -> bool {
        self != Flow::Echo
    }

    pub(super) fn is_echo(flow: &Flow) -> bool {
        *flow == Flow::Echo
    }
}

keyword_form!(Flow, "who sends what:");

/// The half of a connection at the other end: in a profile of the client, the server's; in one of the server, the
/// client's.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OtherHalf {
    /// Sizes of its messages in bytes.
    pub size: Distribution,
    /// It sends this many messages. Null: without a limit.
    pub messages: Option<u64>,
    /// It sends this many bytes. Null: without a limit.
    pub bytes: Option<u64>,
    /// The pause between its writes.
    pub gap: TimeRange,
    /// Messages per second, all connections of the load together. Null: it sends as fast as it can.
    pub rate: Option<Rate>,
    /// How it reads.
    pub read: Read,
    /// How it ends.
    pub close: Close,
}

impl OtherHalf {
    /// What the server does, at the end of a sentence about the client.
    pub(super) fn fmt_as_server(&self, flow: Flow, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match flow {
            Flow::Request => write!(f, "; the server answers each with {}, then {}", with_unit(&self.size), self.close),
            _ => write!(f, "; the server sends {self}"),
        }
    }
}

impl fmt::Display for OtherHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.messages, self.bytes) {
            (Some(0), _) => f.write_str("nothing")?,
            (Some(messages), None) => write!(f, "{} messages of {}", Count(messages), with_unit(&self.size))?,
            (None, Some(bytes)) => write!(f, "{} in messages of {}", with_unit(Bytes(bytes)), with_unit(&self.size))?,
            (Some(messages), Some(bytes)) => {
                let (size, bytes) = (with_unit(&self.size), with_unit(Bytes(bytes)));
                write!(f, "{} messages of {size}, at most {bytes}", Count(messages))?;
            }
            (None, None) => write!(f, "messages of {}", with_unit(&self.size))?,
        }
        if !self.gap.is_zero() {
            write!(f, " {} apart", self.gap)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {} in all", rate.grouped())?;
        }
        if self.read != Read::Normal {
            write!(f, ", reads {}", self.read)?;
        }
        write!(f, ", then {}", self.close)
    }
}

/// A number of bytes, or several, for people: one without a unit gets it.
pub(super) fn with_unit(bytes: impl fmt::Display) -> String {
    let text = bytes.to_string();
    if text.ends_with(|last: char| last.is_ascii_digit()) { format!("{text} B") } else { text }
}
