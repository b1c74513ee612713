//! `select` (every OS): one call watches sets of sockets.
//!
//! **Mechanism.** The program hands over three sets, of sockets to be watched for reading, for writing, and for
//! exceptions. The call returns when one is ready, and has overwritten the sets with those that are. So the program
//! makes new ones for each call. It came with 4.2BSD in 1983, and every system has it: this is where a program starts
//! that must run anywhere.
//!
//! **Drawback.** Each call costs O(sockets), in the kernel and in the program, and says only 'ready': the bytes must
//! still be moved.
//!
//! **Limit.** FD_SETSIZE, the size of the set *type* that the headers offer: on Unix a set is a bit map of 1,024
//! descriptors (a higher one writes past its end), on Windows an array of 64 sockets. The *call* takes larger sets on
//! both, so this model avoids the limit with sets of its own size: see `unix.rs` and `windows.rs`.
//!
//! Source: select(2), 'BUGS'; Microsoft, 'select function'.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::server::Context;
use crate::server::readiness::event_loop;

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<os::Select>(listener, context)
}
