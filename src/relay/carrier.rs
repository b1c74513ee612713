//! Carries one connection between two sockets, as faithfully as two sockets allow: what a suite finds must be the
//! proxy's doing.
//!
//! - Bytes go on as soon as they are there. A way that can't go on holds at most [`PIECE`] bytes, and its sender is not
//!   read meanwhile, so back-pressure reaches it.
//! - A FIN goes on behind the last byte. The other way stays open for as long as its own sender wants.
//! - A reset goes on at once, whatever is still under way: also from a side that is not read at that moment. While a
//!   way waits for bytes, its read fails. While it waits for room, and behind its FIN, [`reset_of`] watches.

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as StdStream};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use super::*;
    use crate::sys;

    /// Longer than anything here takes. What exceeds it hangs.
    const HANG: Duration = Duration::from_secs(60);
    /// A write that has had no room for this time is held up. On a slow machine it may be called that early: no harm.
    const HELD_UP: Duration = Duration::from_millis(300);

    /// Two ends, and a carrier between them, with what came of it.
    fn carried() -> (StdStream, StdStream, JoinHandle<io::Result<()>>) {
        let ((near_end, near), (far_end, far)) = (pair(), pair());
        let carrier = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            runtime.block_on(async {
                let (near, far) = (TcpStream::from_std(near)?, TcpStream::from_std(far)?);
                let counts = [&AtomicU64::new(0), &AtomicU64::new(0)];
                let ended = tokio::time::timeout(HANG, carry(&near, &far, counts)).await;
                let ended = ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                if ended.is_err() {
                    sys::close_with_reset(&near);
                    sys::close_with_reset(&far);
                }
                ended
            })
        });
        (near_end, far_end, carrier)
    }

    /// Both ends of a connection; the second one does not block.
    fn pair() -> (StdStream, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let end = StdStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        end.set_read_timeout(Some(HANG)).expect("a time-out can be set");
        let (other, _) = listener.accept().expect("the end has connected");
        other.set_nonblocking(true).expect("it is a socket");
        (end, other)
    }

    fn numbered(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn reset(end: StdStream) {
        sys::close_with_reset(&end);
    }

    /// Sends until nothing more is taken.
    fn fill(end: &StdStream) -> usize {
        end.set_write_timeout(Some(HELD_UP)).expect("a time-out can be set");
        let (mut end, bytes, mut sent) = (end, [7; 64 << 10], 0);
        while let Ok(n) = end.write(&bytes) {
            sent += n;
            assert!(sent < 1 << 30, "what nobody reads must hold up its sender");
        }
        sent
    }

    #[test]
    fn each_fin_goes_on_behind_the_last_byte_and_the_other_way_stays_open() {
        let (near, far, carrier) = carried();
        let all = numbered(1 << 20);
        for (from, mut to) in [(&near, &far), (&far, &near)] {
            let (sending, bytes) = (from.try_clone().expect("there are descriptors"), all.clone());
            let sender = thread::spawn(move || {
                let mut sending = sending;
                sending.write_all(&bytes)?;
                sending.shutdown(Shutdown::Write)
            });
            let mut received = Vec::new();
            to.read_to_end(&mut received).expect("the way ends with a FIN");
            assert!(received == all, "{} bytes came", received.len());
            assert!(sender.join().expect("it does not panic").is_ok());
        }
        assert!(carrier.join().expect("it does not panic").is_ok());
    }

    #[test]
    #[cfg_attr(windows, ignore = "Wine tells a reset that nobody reads as an end, or not at all")]
    fn a_reset_goes_on_from_either_side_while_nothing_is_under_way() {
        for of_far in [false, true] {
            let (near, far, carrier) = carried();
            let (gone, mut other) = if of_far { (far, near) } else { (near, far) };
            reset(gone);
            let seen = other.read(&mut [0]).expect_err("there is no FIN");
            assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset);
            assert!(carrier.join().expect("it does not panic").is_err());
        }
    }

    #[test]
    #[cfg_attr(windows, ignore = "Wine tells a reset that nobody reads as an end, or not at all")]
    fn a_reset_behind_a_fin_goes_on_too() {
        let (near, mut far, carrier) = carried();
        near.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(far.read(&mut [0]).expect("the FIN comes"), 0);
        reset(near);
        let ended = carrier.join().expect("it does not panic").expect_err("it was reset");
        assert_ne!(ended.kind(), io::ErrorKind::TimedOut);
        let sent = far.write(&[1]).and_then(|_| far.read(&mut [0]));
        assert!(sent.is_err(), "the far side learns of it");
    }

    #[test]
    #[cfg_attr(windows, ignore = "Wine tells a reset that nobody reads as an end, or not at all")]
    fn a_reset_of_a_sender_that_is_held_up_goes_on_although_nobody_reads() {
        let (near, far, carrier) = carried();
        let sent = fill(&near);
        assert!(sent > PIECE, "{sent} bytes");
        reset(near);
        // The far side has read nothing: the room for the bytes never comes.
        let ended = carrier.join().expect("it does not panic").expect_err("it was reset");
        assert_ne!(ended.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[test]
    fn a_reset_of_a_receiver_that_holds_up_its_sender_reaches_it() {
        let (near, far, carrier) = carried();
        fill(&near);
        reset(far);
        let ended = carrier.join().expect("it does not panic").expect_err("it was reset");
        assert_ne!(ended.kind(), io::ErrorKind::TimedOut);
        let (mut near, mut seen) = (near, Ok(1));
        while matches!(seen, Ok(1..)) {
            seen = near.write(&[1; 1024]);
        }
        assert!(seen.is_err(), "the sender learns of it");
    }
}
