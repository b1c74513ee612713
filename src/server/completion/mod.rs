//! The parts that the completion models (proactors) of Windows share: overlapped operations, ownership of the memory
//! that the kernel writes, AcceptEx, and the rules of one connection. Each model decides how its completions come back.
//!
//! [`operation`], [`kernel_buffer`] and [`overlapped_connection`] reach the system through [`winsock`] alone. In tests
//! on other systems a stand-in takes its place and plays the kernel, so Miri can check how the memory is used.

#[cfg(windows)]
pub(in crate::server) mod accept_ex;
#[cfg(windows)]
pub(in crate::server) mod acceptor;
#[cfg(windows)]
pub(in crate::server) mod completion_server;
pub(in crate::server) mod kernel_buffer;
pub(in crate::server) mod operation;
pub(in crate::server) mod overlapped_connection;
#[cfg(windows)]
pub(in crate::server) mod winsock;
#[cfg(not(windows))]
#[path = "winsock_stand_in.rs"]
pub(in crate::server) mod winsock;

/// How an operation has completed: the bytes transferred (0 bytes received is the peer's FIN), or the error.
pub(in crate::server) type CompletionResult = std::io::Result<usize>;
