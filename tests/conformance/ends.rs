//! Servers that go wrong at the beginning or at the end of a connection.

use std::io;
use std::net::{Shutdown, TcpListener};
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
    assert_eq!(failed(impatient, &["3.2", "3.3", "3.8"]), ["3.8"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_fin_that_overtakes_the_bytes_in_a_pipe_fails_where_the_end_comes_anywhere() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::pipe::{SpliceFlags, pipe, splice};

    const PIPE: usize = 1 << 16;
    // At EOF it empties the pipe as far as the socket takes it, and no further.
    let overtakes = server(|stream| {
        let (from_pipe, into_pipe) = pipe()?;
        let (mut held, mut is_over) = (0, false);
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
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
    assert_eq!(failed(overtakes, &["3.2", "3.7"]), ["3.7"]);
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
