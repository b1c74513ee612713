//! The two calls to the kernel for which there is no safe wrapper: a network namespace for a thread, and a TUN device.
#![expect(unsafe_code, reason = "rustix has unshare only as an unsafe function, and no call for TUN devices")]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `linux/if_tun.h`. It is declared with an `int`, and takes a `struct ifreq` all the same.
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);

/// `struct ifreq` of `linux/if.h`, as far as this call reads and writes it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// Gives the calling thread, and the processes that it will start, a network namespace of their own.
pub(super) fn enter_new_network() -> io::Result<()> {
    // SAFETY: the thread keeps its table of descriptors, which is what this call could make unsafe.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// A TUN device in the network of the calling thread: what its network sends is read from the file, a packet at a time,
/// and what is written to the file has come in. Neither waits. The device is removed when the file is closed.
pub(super) fn open_tun(name: &str) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let tun = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; _], flags: 0, rest: [0; _] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    request.flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    // SAFETY: the kernel reads and writes one `struct ifreq`, and the request is no smaller.
    unsafe { ioctl(&tun, Updater::<TUNSETIFF, _>::new(&mut request)) }?;
    Ok(tun)
}
