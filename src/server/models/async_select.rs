//! `async-select`: window messages say which sockets are ready (WSAAsyncSelect).
//!
//! # The mechanism
//!
//! WSAAsyncSelect ties a socket to a window. When something happens on the socket Winsock posts a message of the
//! program's choice to that window, with the socket in wParam, the network event in the low word of lParam and its
//! error in the high word. The program's message loop takes it like a key press, and moves the bytes with calls that do
//! not block: a reactor. It came with Winsock 1.1 for programs that had a message loop and no threads. This server has
//! no window to show, so each of its threads makes a message-only one.
//!
//! The rules that it lives by:
//! - Each notice is posted once, until a call re-arms it: FD_READ by a receive, FD_ACCEPT by an accept, FD_WRITE by a
//!   send that would have blocked (besides once at the start). So there is one receive for each FD_READ and one accept
//!   for each FD_ACCEPT: another one would post another message.
//! - FD_CLOSE is posted once and nothing re-arms it, while data may be left: receive until 0. From then on only
//!   FD_WRITE is asked for, since those receives would post again.
//! - An accepted socket inherits the listener's tie, so it is tied to its own window by another call. What had arrived
//!   until then is posted at once.
//! - Messages stay in the queue when their socket is closed, and its handle is given out anew. So every connection is
//!   registered under a message number of its own, and a message whose number is not the socket's is dropped.
//!
//! # The drawback
//!
//! A message, a queue and a lock of the window manager for each notice. And the queue is bounded: 10,000 messages, or
//! fewer where an administrator says so, but 4,000 at least; what is posted beyond that is lost, and with it the only
//! notice of its kind. By the rules above a connection has three messages queued at most, and a fourth when it is new;
//! so a thread serves 900 connections, and there are as many threads as that takes; `--workers` says how many there are
//! from the start.
//!
//! Sources: Microsoft, 'WSAAsyncSelect', 'PostMessageW' (the limit of 10,000 and its minimum of 4,000).

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::windows::io::AsRawSocket;
use std::sync::Arc;
use std::time::Instant;

use windows_sys::Win32::Networking::WinSock::{FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, SOCKET};

use super::shards::{Bell, Inbox, Seat, Shards, Sweep, Worker};
use super::window::{Message, NUMBERS, Notice, Window};
use crate::server::reactor::{Connection, Pool, Ready, Turn};
use crate::server::{Context, Phase, Session};

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (window, bell) = window()?;
    window.select(&listener, 1, FD_ACCEPT)?;
    let mut shards: Shards<Pump> = Shards::start(&context, bell)?;
    context.ready(shards.wake());
    let result = accept(&listener, &window, &mut shards);
    drop(listener);
    shards.finish(result)
}

fn accept(listener: &TcpListener, window: &Window, shards: &mut Shards<Pump>) -> io::Result<()> {
    while shards.phase() == Phase::Run {
        if let Message::Socket(_) = window.next()? {
            shards.accept(listener);
        }
    }
    Ok(())
}

fn window() -> io::Result<(Window, Bell)> {
    let window = Window::new()?;
    let poster = window.poster();
    Ok((window, Arc::new(move || poster.ring())))
}

/// A thread that serves up to 900 connections by its window's messages.
struct Pump {
    window: Window,
    served: Registry<Served>,
}

struct Served {
    // The order matters: the seat is free when the connection is closed.
    connection: Connection,
    _seat: Seat,
}

impl Worker for Pump {
    const NAME: &'static str = "async-select";
    /// Four messages each, and a bell, in a queue that may hold 4,000.
    const CAPACITY: usize = 900;
    type Connection = Connection;

    fn prepare() -> io::Result<(Self, Bell)> {
        let (window, bell) = window()?;
        Ok((Pump { window, served: Registry::default() }, bell))
    }

    fn serve(mut self, mut inbox: Inbox<Connection>) -> io::Result<()> {
        let mut pool = Pool::new(inbox.context().options().buffer);
        let mut sweep = Sweep::new(inbox.context());
        if let Some(time) = Session::sweep_every(inbox.context()) {
            self.window.every(time)?;
        }
        loop {
            while let Some((connection, seat)) = inbox.next() {
                if let Err(e) = self.adopt(connection, seat, &mut pool) {
                    inbox.context().accept_failed(&e);
                }
            }
            if inbox.phase() == Phase::Abort {
                self.served.into_values().for_each(|served| served.connection.abort());
                return Ok(());
            }
            if inbox.is_over() && self.served.is_empty() {
                return Ok(());
            }
            if let Message::Socket(notice) = self.window.next()? {
                self.turn(notice, &mut pool);
            }
            // Not at the timer's message, which the queue gives only when it has nothing else; that only ends the wait.
            if let Some(now) = sweep.due() {
                self.close_idle(now);
            }
        }
    }
}

impl Pump {
    /// If the socket can't be tied to the window, the connection is closed.
    fn adopt(&mut self, connection: Connection, seat: Seat, pool: &mut Pool) -> io::Result<()> {
        let socket = handle(&connection);
        let number = self.served.next_number();
        self.window.select(connection.stream(), number, FD_READ | FD_WRITE | FD_CLOSE)?;
        self.served.insert(socket, number, Served { connection: connection.with_one_receive_a_notice(), _seat: seat });
        // What had happened before is posted, but for a reset under Wine 8.0; so one receive without a notice.
        self.turn(Notice { number, socket, event: FD_READ, error: 0 }, pool);
        Ok(())
    }

    fn turn(&mut self, notice: Notice, pool: &mut Pool) {
        let Some(served) = self.served.get_mut(notice.socket, notice.number) else { return };
        let connection = &mut served.connection;
        if notice.event == FD_CLOSE {
            // Best effort: if it fails, there are more messages than need be.
            let _ = self.window.select(connection.stream(), notice.number, FD_WRITE);
        }
        let turn = if notice.error == 0 {
            let hangup = notice.event == FD_CLOSE;
            connection.turn(Ready { read: notice.event == FD_READ, write: notice.event == FD_WRITE, hangup }, pool)
        } else {
            connection.fail()
        };
        if turn == Turn::Close {
            self.served.remove(notice.socket);
        }
    }

    fn close_idle(&mut self, now: Instant) {
        self.served.retain(|served| !served.connection.is_idle(now));
    }
}

fn handle(connection: &Connection) -> SOCKET {
    connection.stream().as_raw_socket() as SOCKET
}

/// What is registered, by socket, each under a message number of its own.
///
/// The numbers go round: a number comes again after 16,383 connections of this thread. All but the 900 that it serves
/// at once must have been closed by then, each by a message, so the 10,000 that were queued at most when it was last
/// used are gone.
struct Registry<T> {
    by_socket: HashMap<SOCKET, (u16, T)>,
    last: u16,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { by_socket: HashMap::new(), last: 0 }
    }
}

impl<T> Registry<T> {
    /// The number for the next registration.
    fn next_number(&mut self) -> u16 {
        self.last = self.last % NUMBERS + 1;
        self.last
    }

    fn insert(&mut self, socket: SOCKET, number: u16, value: T) {
        self.by_socket.insert(socket, (number, value));
    }

    /// `None`: the message was for a connection that is closed, whoever has its handle now.
    fn get_mut(&mut self, socket: SOCKET, number: u16) -> Option<&mut T> {
        self.by_socket.get_mut(&socket).filter(|(of, _)| *of == number).map(|(_, value)| value)
    }

    fn remove(&mut self, socket: SOCKET) {
        self.by_socket.remove(&socket);
    }

    fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.by_socket.retain(|_, (_, value)| keep(value));
    }

    fn is_empty(&self) -> bool {
        self.by_socket.is_empty()
    }

    fn into_values(self) -> impl Iterator<Item = T> {
        self.by_socket.into_values().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::server::Options;

    /// A connection with a buffer of 10 bytes whose client has sent so many, and they have arrived.
    fn connection(sent: usize) -> (TcpStream, Connection, Arc<Context>) {
        let context = Arc::new(Context::new(Options { buffer: 10, ..Options::default() }, channel().0));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        client.write_all(&vec![7; sent]).expect("sent");
        let (accepted, _) = listener.accept().expect("accepted");
        accepted.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let mut room = vec![0; sent];
        while accepted.peek(&mut room).expect("it arrives") < sent {
            std::thread::yield_now();
        }
        let connection = Connection::new(accepted, &context).expect("it is admitted");
        (client, connection, context)
    }

    /// The next message on a socket; the timer is there to end a wait in vain.
    fn notice(pump: &Pump) -> Notice {
        loop {
            match pump.window.next().expect("a message") {
                Message::Socket(notice) => return notice,
                Message::Timer => panic!("nothing more is posted"),
                _ => {}
            }
        }
    }

    #[test]
    fn each_notice_is_answered_by_one_receive_and_a_fin_by_the_rest() {
        let (mut client, connection, context) = connection(100);
        let mut pump = Pump { window: Window::new().expect("a window"), served: Registry::default() };
        pump.window.every(Duration::from_secs(20)).expect("a timer");
        let mut pool = Pool::new(10);
        pump.adopt(connection, Seat::alone(), &mut pool).expect("it is tied to the window");
        let mut received = context.snapshot().bytes_in;
        assert_eq!(received, 10, "one look without a notice");
        while received < 100 {
            let notice = notice(&pump);
            pump.turn(notice, &mut pool);
            let now = context.snapshot().bytes_in;
            assert!(now - received <= 10, "{} bytes at one notice", now - received);
            received = now;
        }
        client.shutdown(Shutdown::Write).expect("a FIN");
        while !pump.served.is_empty() {
            let notice = notice(&pump);
            pump.turn(notice, &mut pool);
        }
        let mut echo = Vec::new();
        client.read_to_end(&mut echo).expect("the echo and a FIN");
        assert_eq!(echo, [7; 100]);
        assert!(context.snapshot().add_up());
    }

    #[test]
    fn a_message_for_a_closed_connection_does_not_reach_the_one_that_got_its_handle() {
        let mut served = Registry::default();
        let (first, second) = (served.next_number(), served.next_number());
        served.insert(40, first, "first");
        assert_eq!(served.get_mut(40, first), Some(&mut "first"));
        served.remove(40);
        assert_eq!(served.get_mut(40, first), None, "it is closed");
        served.insert(40, second, "second");
        assert_eq!(served.get_mut(40, first), None, "the handle was given out anew");
        assert_eq!(served.get_mut(40, second), Some(&mut "second"));
    }

    #[test]
    fn numbers_go_round_within_the_range_of_messages() {
        let mut served: Registry<()> = Registry::default();
        let numbers: Vec<u16> = (0..2 * NUMBERS).map(|_| served.next_number()).collect();
        assert_eq!((numbers[0], numbers[usize::from(NUMBERS) - 1]), (1, NUMBERS));
        assert_eq!(numbers[usize::from(NUMBERS)], 1);
        assert!(usize::from(NUMBERS) > 10_000, "more than the queue holds");
    }
}
