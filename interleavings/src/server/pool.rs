//! Of the pool, the queue alone.

#[path = "../../../src/server/pool/mailbox.rs"]
pub(crate) mod mailbox;
