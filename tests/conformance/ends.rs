//! Servers that go wrong at the beginning or at the end of a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{failed, server};

#[test]
fn a_timer_that_cuts_off_the_flush_fails_where_it_takes_seconds() {
    // It gives its client two seconds to take the rest, and then makes room with a reset.
    let impatient = server(|mut stream| {
        io::copy(&mut stream.try_clone()?, &mut stream)?;
        stream.shutdown(Shutdown::Write)?;
        thread::sleep(Duration::from_secs(2)); // sleep: the time that the server waits is its defect
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    assert_eq!(failed(impatient, &["3.2", "3.3", "3.8", "3.9"]), ["3.8", "3.9"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_fin_that_overtakes_the_bytes_in_a_pipe_fails_where_the_end_comes_anywhere() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::pipe::{SpliceFlags, pipe, splice};

    const PIPE: usize = 1 << 16;
    // Linux makes send buffers larger towards an address on whose way it has seen reordering (tcp_metrics), and other
    // tests cause some. One that is set stays as it is, so that bytes wait in the pipe.
    const SEND_BUFFER: usize = 1 << 15;
    // At EOF it empties the pipe as far as the socket takes it, and no further.
    let overtakes = server(|stream| {
        let (from_pipe, into_pipe) = pipe()?;
        let (mut held, mut is_over) = (0, false);
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
        stream.set_nonblocking(true)?;
        loop {
            let mut moved = false;
            match splice(&stream, None, &into_pipe, None, PIPE, flags) {
                Ok(0) => is_over = true,
                Ok(n) => (held, moved) = (held + n, true),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
            match if held > 0 { splice(&from_pipe, None, &stream, None, held, flags) } else { Ok(0) } {
                Ok(n) => (held, moved) = (held - n, moved || n > 0),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
            if is_over {
                return stream.shutdown(Shutdown::Write);
            }
            if !moved {
                let wanted = if held > 0 { PollFlags::OUT } else { PollFlags::IN };
                poll(&mut [PollFd::new(&stream, wanted)], None)?;
            }
        }
    });
    assert_eq!(failed(overtakes, &["3.2", "3.7", "3.9"]), ["3.7", "3.9"]);
}

#[test]
fn a_server_that_ends_at_a_socket_without_a_peer_fails_at_early_resets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.peer_addr()?;
            thread::spawn(move || io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    assert_eq!(failed(address, &["3.4", "9.1"]), ["9.1"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_gives_up_at_a_zero_window_fails_where_it_lasts() {
    let impatient = server(|mut stream| {
        SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_secs(1)))?;
        io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    });
    assert_eq!(failed(impatient, &["1.1", "2.5"]), ["2.5"]);
}

#[test]
fn a_server_that_ends_with_an_error_of_one_connection_fails_at_abrupt_ends() {
    // One for each case, because it ends.
    for id in ["9.3", "9.4", "9.5"] {
        let is_over = AtomicBool::new(false);
        let fragile = server(move |mut stream| {
            let mut buffer = vec![0; 1 << 16];
            let mut echo = || -> io::Result<usize> {
                let n = stream.read(&mut buffer)?;
                stream.write_all(&buffer[..n])?;
                Ok(n)
            };
            let mut moved = usize::MAX;
            while moved > 0 && !is_over.load(Ordering::Relaxed) {
                moved = echo().inspect_err(|_| is_over.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        });
        assert_eq!(failed(fragile, &["1.1", id]), [id]);
    }
}

/// Looks at the first bytes, as a proxy does, and treats those of other protocols as it likes.
fn sniff(mut stream: TcpStream) -> io::Result<()> {
    let mut first = vec![0; 16];
    let n = stream.peek(&mut first)?;
    let line = |stream: &mut TcpStream| -> io::Result<()> {
        let mut byte = [0];
        while byte != *b"\n" && stream.read(&mut byte)? > 0 {}
        Ok(())
    };
    match &first[..n] {
        [0x16, 3, ..] => return Ok(()),
        [b'G', b'E', b'T', b' ', ..] => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        [b'S', b'S', b'H', b'-', ..] | [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => line(&mut stream)?,
        [b'\r', b'\n', b'\r', b'\n', 0, ..] => stream.read_exact(&mut [0; 28])?,
        _ => {}
    }
    io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
}

#[test]
fn a_proxy_that_looks_into_connections_fails_at_the_protocols_that_it_knows() {
    assert_eq!(failed(server(sniff), &["1.5", "8.1", "8.2", "8.3", "8.4", "8.5"]), ["8.1", "8.2", "8.3", "8.4", "8.5"]);
}

#[test]
#[cfg(unix)]
fn a_server_that_ends_at_urgent_data_fails_where_there_is_some() {
    use rustix::event::{PollFd, PollFlags, poll};
    let ends = server(|mut stream| {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut watched = [PollFd::new(&stream, PollFlags::IN | PollFlags::PRI)];
            poll(&mut watched, None)?;
            if watched[0].revents().contains(PollFlags::PRI) {
                return Ok(());
            }
            let n = stream.read(&mut buffer)?;
            stream.write_all(&buffer[..n])?;
            if n == 0 {
                return Ok(());
            }
        }
    });
    assert_eq!(failed(ends, &["1.5", "9.6", "9.7"]), ["9.6", "9.7"]);
    let inline = server(|mut stream| {
        SockRef::from(&stream).set_out_of_band_inline(true)?;
        io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    });
    assert!(failed(inline, &["9.6", "9.7"]).is_empty(), "the byte may come back at its place");
}
