//! The stream: what each byte of each connection must be, and what went wrong when it is not. Pure: no I/O, no clock.
//!
//! - [`pattern`] computes any byte of any connection from the seed, and finds the place that eight bytes belong to.
//! - [`verify`] compares received bytes with the stream. [`Ledger`] tells it what other connections have sent.
//! - Where they differ, `mismatch` divides the bytes into runs that somebody sent, until the own stream resumes.
//!   `ended_mismatch` fixes their borders. `classify` says what each part is; `pending` holds findings that may still
//!   turn out to be something else; `late` tells which gaps late bytes fill; `change` knows the marks of text
//!   conversions and the like.
//! - [`finding`] holds what went wrong, as values; `op`, what a side did; `two_sides`, what
//!   the other end had done; [`ending`], how a connection ended; [`kept`] says which of many
//!   findings are kept, [`answer`] what a server is that does not echo, [`earlier`] what earlier runs had sent to it.

pub mod answer;
mod change;
mod classify;
pub mod earlier;
mod ended_mismatch;
pub mod ending;
pub mod finding;
pub mod kept;
mod late;
mod ledger;
mod mismatch;
mod op;
pub mod pattern;
mod pending;
mod two_sides;
pub mod verify;

pub use classify::MAX_FINDINGS;
pub use ending::{EndedBy, Ending};
pub use finding::{
    BackendFault, Change, Circumstances, Corruption, Divergence, FINDING_KINDS, Finding, FindingKind, StreamSource,
};
pub use ledger::{Ledger, LedgerEntry};
pub use op::{Op, OpKind};
pub use pattern::{ConnId, MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES, Stream, WordLocation};
pub use two_sides::{OtherSide, StreamDirection};
pub use verify::{End, Verifier};
