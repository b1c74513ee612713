//! The values that hold when nothing is given, and limits that several options share. The help texts repeat them for
//! people; tests hold both equal.

use std::time::Duration;

/// Where `serve` listens and `blast` connects to.
pub const DEFAULT_PORT: u16 = 7777;
/// `--findings`
pub const DEFAULT_FINDINGS: usize = 20;

/// The most threads that `--workers` of a client or of a server may ask for.
pub(super) const MAX_WORKERS: u64 = 1024;

/// `--conns`
pub(super) const CONNS: u32 = 100;
/// `--messages`, if nothing else ends a connection.
pub(super) const MESSAGES: u64 = 100;
/// `--bytes` for a connection that is meant to stall, if nothing else ends it. It is more than the socket buffers and a
/// server's bounded buffer hold together: Linux grows each socket buffer to 6 MiB at most, and four are on the way.
pub(super) const BYTES_TO_STALL: u64 = 32 << 20;
/// `--size`, in bytes.
pub(super) const SIZE: (u64, u64) = (1, 16 << 10);
/// `--fragment`, in bytes.
pub(super) const FRAGMENT: (u64, u64) = (1, 4 << 10);
/// `--connect-timeout`
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `--stall-timeout`
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// `serve --buffer`, in bytes.
pub(super) const BUFFER_BYTES: u64 = 64 << 10;
/// `serve --max-conns`, if there is memory for that many.
pub(super) const MAX_CONNS: u64 = 1_000_000;
/// Memory that is assumed if the system does not report it, in bytes.
pub(super) const ASSUMED_MEMORY_BYTES: u64 = 8 << 30;
/// `serve --backlog`
pub(super) const BACKLOG: i32 = 4096;
/// `serve --drain-timeout`
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// `ready_timeout` of a server that a command line starts.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// `stop_timeout` of a server that a command line starts.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(5);
