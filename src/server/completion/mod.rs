//! What the completion models (proactors) of Windows share: overlapped operations and who owns the memory that the
//! kernel writes to, AcceptEx, and the rules of one connection. How completions come back stands in each model's file.

pub(in crate::server) mod acceptor;
pub(in crate::server) mod overlapped;
pub(in crate::server) mod overlapped_connection;
