//! A chain that buffers a lot is no server without back-pressure.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::{failed, server};

const PIECE: usize = 1 << 16;

/// Moves the bytes of one direction over a queue of 20 MiB.
fn relay(mut from: TcpStream, mut to: TcpStream) {
    let (take, give) = sync_channel::<Vec<u8>>((20 << 20) / PIECE);
    thread::spawn(move || {
        let sent = give.iter().try_for_each(|bytes| to.write_all(&bytes));
        sent.and_then(|()| to.shutdown(Shutdown::Write))
    });
    thread::spawn(move || -> io::Result<()> {
        loop {
            let mut piece = vec![0; PIECE];
            let n = from.read(&mut piece)?;
            piece.truncate(n);
            if n == 0 || take.send(piece).is_err() {
                return Ok(());
            }
        }
    });
}

#[test]
fn a_chain_with_queues_of_40_mib_passes_where_writes_must_stall() {
    let echo = server(|mut stream| {
        let mut buffer = vec![0; PIECE];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return stream.shutdown(Shutdown::Write);
            }
            stream.write_all(&buffer[..n])?;
        }
    });
    let chain = server(move |client| {
        let backend = TcpStream::connect(echo)?;
        relay(client.try_clone()?, backend.try_clone()?);
        relay(backend, client);
        Ok(())
    });
    assert_eq!(failed(chain, &["2.1", "4.2"]), [""; 0]);
}
