//! Ports for servers and backends of tests.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The ports of tests are below those that systems give to connections (Linux from 32,768, Windows and macOS from
/// 49,152): such a one could be given away before its server listens.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port that is free: nobody has connected to it. In one process each call returns another one.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(61) % COUNT;
    let next = || FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = (0..COUNT).map(|_| SocketAddr::from(([127, 0, 0, 1], next() as u16)));
    ports.find(|address| TcpListener::bind(address).is_ok()).expect("a port is free")
}
