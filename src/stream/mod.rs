//! The stream: what each byte of each connection must be, and what is wrong when it is not. Pure: no I/O, no clock.
//!
//! - [`pattern`]: any byte of any connection from the seed, and back from eight bytes to the place they belong to;
//! - [`verify`]: received bytes against the stream; a compare as long as they are right. When they are not, `episode`
//!   takes the bytes apart into runs that somebody sent until the own stream goes on, `diagnose` gives the parts their
//!   names (`case`, `held`), and `change` knows what text conversions and the like leave behind;
//! - [`finding`]: what went wrong, as a value.

mod change;
mod classify;
mod diagnose;
pub mod finding;
mod mismatch;
pub mod pattern;
mod pending;
pub mod verify;

pub use finding::{Change, Circumstances, Corruption, Divergence, Finding, KINDS, Kind, Op, OpKind, Source};
pub use pattern::{ConnId, Place, SHARED_STREAM_MAX, STREAM_MAX, Stream};
pub use verify::{End, Expect, Ledger, Sent, Verifier};
