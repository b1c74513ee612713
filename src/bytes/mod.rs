//! The stream: what each byte of each connection must be, and what is wrong when it is not. Pure: no I/O, no clock.
//!
//! - [`pattern`]: any byte of any connection from the seed, and back from eight bytes to the place they belong to;
//! - [`verify`]: received bytes against the stream; a compare as long as they are right, a diagnosis when they are not;
//! - [`finding`]: what went wrong, as a value.

pub mod finding;
pub mod pattern;
pub mod verify;

pub use finding::{Change, Corruption, Divergence, Finding, KINDS, Kind, Op, OpKind, Source};
pub use pattern::{ConnId, Place, STREAM_MAX, Stream};
pub use verify::{End, Expect, Ledger, Sent, Verifier};
