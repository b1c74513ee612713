//! Ports for servers and backends of tests.

use std::net::{SocketAddr, TcpListener};

/// A port that is free: nobody has connected to it.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}
