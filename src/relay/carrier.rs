//! Carries one connection between two sockets, as faithfully as two sockets allow: what a suite finds must be the
//! proxy's doing.
//!
//! - Bytes go on as soon as they are there. A way that can't go on holds at most [`PIECE`] bytes, and its sender is not
//!   read meanwhile, so back-pressure reaches it.
//! - A FIN goes on behind the last byte. The other way stays open for as long as its own sender wants.
//! - A reset goes on at once, whatever is still under way: also from a side that is not read at that moment. Who watches
//!   for it, depends on what the way is doing. While it waits for bytes, the read fails. While it waits for room, and
//!   after the FIN, [`reset_of`] watches.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

/// The most bytes of a way that are held here.
const PIECE: usize = 64 << 10;

/// Carries both ways until both have ended.
///
/// # Errors
/// One side has reset the connection: the other one is to be reset too.
pub(super) async fn carry(near: &TcpStream, far: &TcpStream, carried: [&AtomicU64; 2]) -> io::Result<()> {
    let up = one_way(near, far, carried[0]);
    let down = one_way(far, near, carried[1]);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => {
            ended?;
            unless_reset(near, down).await
        }
        ended = &mut down => {
            ended?;
            unless_reset(far, up).await
        }
    }
}

/// Carries the bytes of one way, and its FIN.
async fn one_way(from: &TcpStream, to: &TcpStream, carried: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        // Only a way that is under way holds a buffer.
        let mut piece = Vec::with_capacity(PIECE);
        match from.try_read_buf(&mut piece) {
            Ok(0) => return SockRef::from(to).shutdown(Shutdown::Write),
            Ok(_) => write_all(from, to, &piece).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
        // One that can always go on leaves the others their turns.
        tokio::task::coop::consume_budget().await;
    }
}

async fn write_all(from: &TcpStream, to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => unless_reset(from, to.writable()).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Does this, unless a reset of this side comes first.
async fn unless_reset(side: &TcpStream, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::select! {
        done = work => done,
        error = reset_of(side) => Err(error),
    }
}

/// Waits until this side, which nobody reads at the moment, has reset the connection.
#[cfg(not(windows))]
async fn reset_of(side: &TcpStream) -> io::Error {
    match side.ready(tokio::io::Interest::ERROR).await {
        Err(error) => error,
        Ok(_) => side.take_error().ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
    }
}

/// Waits until this side, which nobody reads at the moment, has reset the connection. The reactor has no event for that
/// on Windows unless a read waits. A look at the next byte fails after a reset, even if bytes are there.
#[cfg(windows)]
async fn reset_of(side: &TcpStream) -> io::Error {
    const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match SockRef::from(side).peek(&mut [std::mem::MaybeUninit::uninit()]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return error,
            _ => {}
        }
    }
}
