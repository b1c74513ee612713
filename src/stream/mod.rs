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

pub use finding::{
    ByteSource, Change, Circumstances, Corruption, Divergence, FINDING_KINDS, Finding, FindingKind, Op, OpKind,
};
pub use pattern::{ConnId, MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES, Stream, WordLocation};
pub use verify::{End, ExpectedEcho, Ledger, LedgerEntry, Verifier};
