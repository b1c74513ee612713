//! `select` (every OS): one call watches sets of sockets.
//!
//! **Mechanism.** The program hands over three sets, of sockets to be watched for reading, for writing, and for
//! exceptions; the call returns when one is ready, with the sets overwritten by what was ready. So they are laid anew
//! for each call. It came with 4.2BSD in 1983, and every system has it: here a program that must run anywhere starts.
//!
//! **Drawback.** Each call costs O(sockets), in the kernel and in the program, and tells only 'ready': the bytes are
//! still to be moved.
//!
//! **Limit.** FD_SETSIZE, the size of the set *type* that the headers offer: on Unix a set is a bit map of 1,024
//! descriptors (a higher one writes past its end), on Windows an array of 64 sockets. The *call* takes larger sets on
//! both, and that is how this one passes the limit: with sets of our own size. How, stands in `unix.rs` and
//! `windows.rs`.
//!
//! Source: select(2), 'BUGS'; Microsoft, 'select function'.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

pub(super) use os::run;
