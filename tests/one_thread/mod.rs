//! Relays of tests that carry both ways of a connection in one thread.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::relay::Way;

/// Carries both ways of a connection in one thread, with blocking writes. It cuts off what comes later than this many
/// bytes behind the FIN of the other way.
pub(crate) fn in_one_thread(
    way: Way,
    client: &mut TcpStream,
    server: &mut TcpStream,
    most_after_fin: usize,
) -> io::Result<()> {
    if way == Way::Down {
        return Ok(());
    }
    let (mut ended, mut after_fin, mut buffer) = ([false; 2], 0, vec![0; 64 << 10]);
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_millis(1)))?;
    }
    while ended != [true; 2] && after_fin <= most_after_fin {
        for n in [0, 1] {
            let (from, to) = if n == 0 { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
            match if ended[n] { continue } else { from.read(&mut buffer) } {
                Ok(0) => {
                    ended[n] = true;
                    to.shutdown(Shutdown::Write)?;
                }
                Ok(len) => {
                    to.write_all(&buffer[..len])?;
                    after_fin += if ended[1 - n] { len } else { 0 };
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }
    for socket in [client, server] {
        // One whose ends were both there already has nothing to shut down.
        let _ = socket.shutdown(Shutdown::Both);
    }
    Ok(())
}

/// While one side does not read, its thread stands in a write, and reads nothing of that side.
pub(crate) fn locks_up(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    in_one_thread(way, from, to, usize::MAX)
}
