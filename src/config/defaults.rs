//! The values that stand where nothing was typed. The help texts in `load.rs` and `run.rs` repeat them for people; a
//! test holds them equal.

use std::time::Duration;

/// `--conns`
pub(super) const CONNS: u32 = 100;
/// `--messages`, when nothing else ends a connection.
pub(super) const MESSAGES: u64 = 100;
/// `--bytes`, when nothing else ends a connection that is to stall: above what the socket buffers and a server's
/// bounded buffer hold between them (Linux grows each buffer to 6 MiB at most, and four lie on the way).
pub(super) const BYTES_TO_STALL: u64 = 32 << 20;
/// `--size`
pub(super) const SIZE: (u64, u64) = (1, 16 << 10);
/// `--fragment`
pub(super) const FRAGMENT: (u64, u64) = (1, 4 << 10);
/// `--connect-timeout`
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `--stall-timeout`
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// `--findings`
pub(super) const FINDINGS: u64 = 20;
