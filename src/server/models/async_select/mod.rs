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
//!   FD_WRITE is asked for, since those receives would post again. If it came for a FIN none is left for a reset, so a
//!   connection that only waits to send does so again from time to time: see `retry`.
//! - An accepted socket inherits the listener's tie, so it is tied to its own window by another call. What had arrived
//!   until then is posted at once.
//! - Messages stay in the queue when their socket is closed, and its handle is given out anew. So every connection is
//!   registered under a message number of its own, and when it is closed a *mark* is posted under that number, behind
//!   the last of its messages. Until the mark is taken the number is nobody else's and its messages are dropped.
//!
//! # The drawback
//!
//! A message, a queue and a lock of the window manager for each notice. And the queue is bounded: 10,000 messages, or
//! fewer where an administrator says so, but 4,000 at least; what is posted beyond that is lost, and with it the only
//! notice of its kind. By the rules above a connection has up to seven messages in the queue: two FD_READ, since when
//! it is new it receives once without a notice; two FD_WRITE, since a send may block while the first one waits in the
//! queue, and a third from the second tie; FD_CLOSE; the mark. It holds its seat in the thread until the mark is taken,
//! so clients that come and go can't fill the queue either. So a thread serves 500 connections, and there are as many
//! threads as that takes; `--workers` says how many there are from the start.
//!
//! Sources: Microsoft, 'WSAAsyncSelect', 'PostMessageW' (the limit of 10,000 and its minimum of 4,000).

mod window;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::windows::io::AsRawSocket;
use std::sync::Arc;
use std::time::Instant;

use windows_sys::Win32::Networking::WinSock::{FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, SOCKET};

use crate::server::readiness::connection::{Connection, Pool, Ready, Turn};
use crate::server::readiness::retry::{self, only_sends};
use crate::server::thread_pool::{Bell, Inbox, Seat, Shards, Sweep, Worker};
use crate::server::{Context, Phase, Session};
use window::{Message, NUMBERS, Notice, Window};

/// The timer that ends waits for the sake of idle connections.
const SWEEP: usize = 1;
/// The timer by which connections send again; it runs while there are some that only send.
const RETRY: usize = 2;

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

/// A thread that serves up to 500 connections by its window's messages.
struct Pump {
    window: Window,
    served: Registry<Connection>,
    /// The retry timer runs.
    retries: bool,
}

impl Worker for Pump {
    const NAME: &'static str = "async-select";
    /// Seven messages each, and a bell, in a queue that may hold 4,000.
    const CAPACITY: usize = 500;
    type Connection = Connection;

    fn prepare() -> io::Result<(Self, Bell)> {
        let (window, bell) = window()?;
        Ok((Pump { window, served: Registry::default(), retries: false }, bell))
    }

    fn serve(mut self, mut inbox: Inbox<Connection>) -> io::Result<()> {
        let mut pool = Pool::new(inbox.context().options().buffer);
        let mut sweep = Sweep::new(inbox.context());
        if let Some(time) = Session::sweep_every(inbox.context()) {
            self.window.every(SWEEP, time)?;
        }
        loop {
            while let Some((connection, seat)) = inbox.next() {
                if let Err(e) = self.adopt(connection, seat, &mut pool) {
                    inbox.context().accept_failed(&e);
                }
            }
            if inbox.phase() == Phase::Abort {
                self.served.into_open().for_each(Connection::abort);
                return Ok(());
            }
            if inbox.is_over() && self.served.open == 0 {
                return Ok(());
            }
            let message = self.window.next()?;
            self.take(message, &mut pool);
            // Not at the timer's message, for the same reason; that only ends the wait.
            if let Some(now) = sweep.due() {
                self.close_idle(now);
            }
        }
    }
}

impl Pump {
    /// If the socket can't be tied to the window, the connection is closed.
    fn adopt(&mut self, connection: Connection, seat: Seat, pool: &mut Pool) -> io::Result<()> {
        let number = self.served.free_number();
        let socket = handle(&connection);
        self.window.select(connection.stream(), number, FD_READ | FD_WRITE | FD_CLOSE)?;
        self.served.insert(number, seat, socket, connection.with_one_receive_a_notice());
        // What had happened before is posted, but for a reset under Wine 8.0; so one receive without a notice.
        self.turn(Notice { number, socket, event: FD_READ, error: 0 }, pool);
        Ok(())
    }

    fn take(&mut self, message: Message, pool: &mut Pool) {
        match message {
            Message::Socket(notice) => self.turn(notice, pool),
            // The queue gives it only when it has nothing else: so no FD_WRITE is there already for what is tried here.
            Message::Timer(RETRY) => self.send_again(pool),
            _ => {}
        }
    }

    fn turn(&mut self, notice: Notice, pool: &mut Pool) {
        let Notice { number, socket, event, error } = notice;
        if event == 0 {
            return self.served.free(number);
        }
        let Some(connection) = self.served.get_mut(number, socket) else { return };
        if event == FD_CLOSE {
            // Best effort: if it fails, there are more messages than need be.
            let _ = self.window.select(connection.stream(), number, FD_WRITE);
        }
        let turn = if error == 0 {
            let hangup = event == FD_CLOSE;
            connection.turn(Ready { read: event == FD_READ, write: event == FD_WRITE, hangup }, pool)
        } else {
            connection.fail()
        };
        if turn == Turn::Close {
            self.close(number);
        } else if only_sends(connection.interest()) && !self.retries {
            // Best effort: out of timers, a reset that is told by none of the messages is not found.
            self.retries = self.window.every(RETRY, retry::EVERY).is_ok();
        }
    }

    /// Those that only wait to send, whether they can or not: it shows which of them are broken.
    fn send_again(&mut self, pool: &mut Pool) {
        let only_send = self.served.open().filter(|(_, _, connection)| only_sends(connection.interest()));
        let again: Vec<(u16, SOCKET)> = only_send.map(|(number, socket, _)| (number, socket)).collect();
        if again.is_empty() {
            self.window.stop(RETRY);
            self.retries = false;
        }
        for (number, socket) in again {
            self.turn(Notice { number, socket, event: FD_WRITE, error: 0 }, pool);
        }
    }

    fn close_idle(&mut self, now: Instant) {
        let idle = self.served.open().filter(|(_, _, connection)| connection.is_idle(now));
        let idle: Vec<u16> = idle.map(|(number, _, _)| number).collect();
        idle.into_iter().for_each(|number| self.close(number));
    }

    fn close(&mut self, number: u16) {
        self.served.close(number);
        // Without a mark, which only a full queue refuses, nothing tells when the last of its messages was taken.
        if self.window.mark(number).is_err() {
            self.served.free(number);
        }
    }
}

fn handle(connection: &Connection) -> SOCKET {
    connection.stream().as_raw_socket() as SOCKET
}

/// Connections by their message numbers, and the numbers of closed ones whose marks are still in the queue.
struct Registry<T> {
    places: HashMap<u16, Place<T>>,
    /// Those of them that are not closed.
    open: usize,
    last: u16,
}

struct Place<T> {
    /// `None`: closed.
    open: Option<(SOCKET, T)>,
    _seat: Seat,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { places: HashMap::new(), open: 0, last: 0 }
    }
}

impl<T> Registry<T> {
    /// A number that no message in the queue has. There are 16,383 of them, and no more places than seats.
    fn free_number(&mut self) -> u16 {
        loop {
            self.last = self.last % NUMBERS + 1;
            if !self.places.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    fn insert(&mut self, number: u16, seat: Seat, socket: SOCKET, value: T) {
        self.places.insert(number, Place { open: Some((socket, value)), _seat: seat });
        self.open += 1;
    }

    /// `None`: the message was for a connection that is closed.
    fn get_mut(&mut self, number: u16, socket: SOCKET) -> Option<&mut T> {
        let (of, value) = self.places.get_mut(&number)?.open.as_mut()?;
        (*of == socket).then_some(value)
    }

    /// Drops what is there; its number and its seat stay taken.
    fn close(&mut self, number: u16) {
        if let Some(place) = self.places.get_mut(&number) {
            self.open -= usize::from(place.open.take().is_some());
        }
    }

    /// Gives the number and the seat of a closed one back.
    fn free(&mut self, number: u16) {
        if self.places.get(&number).is_some_and(|place| place.open.is_none()) {
            self.places.remove(&number);
        }
    }

    fn open(&self) -> impl Iterator<Item = (u16, SOCKET, &T)> {
        self.places
            .iter()
            .filter_map(|(number, place)| place.open.as_ref().map(|(socket, value)| (*number, *socket, value)))
    }

    fn into_open(self) -> impl Iterator<Item = T> {
        self.places.into_values().filter_map(|place| place.open).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::server::Options;
    use crate::server::readiness::retry::tests::{deaf_client, reset};

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

    /// With a timer that ends a wait in vain.
    fn pump() -> Pump {
        let window = Window::new().expect("a window");
        window.every(SWEEP, Duration::from_secs(60)).expect("a timer");
        Pump { window, served: Registry::default(), retries: false }
    }

    fn seat() -> Seat {
        Seat::alone().0
    }

    fn take_a_message(pump: &mut Pump, pool: &mut Pool) {
        let message = pump.window.next().expect("a message");
        assert_ne!(message, Message::Timer(SWEEP), "nothing more is posted");
        pump.take(message, pool);
    }

    #[test]
    fn each_notice_is_answered_by_one_receive_and_a_fin_by_the_rest() {
        let (mut client, connection, context) = connection(100);
        let (mut pump, mut pool) = (pump(), Pool::new(10));
        pump.adopt(connection, seat(), &mut pool).expect("it is tied to the window");
        let mut received = context.snapshot().bytes_in;
        assert_eq!(received, 10, "one look without a notice");
        while received < 100 {
            take_a_message(&mut pump, &mut pool);
            let now = context.snapshot().bytes_in;
            assert!(now - received <= 10, "{} bytes at one notice", now - received);
            received = now;
        }
        client.shutdown(Shutdown::Write).expect("a FIN");
        while pump.served.open > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        let mut echo = Vec::new();
        client.read_to_end(&mut echo).expect("the echo and a FIN");
        assert_eq!(echo, [7; 100]);
        assert!(context.snapshot().add_up());
    }

    #[test]
    fn a_seat_is_taken_until_the_last_message_of_its_connection_was() {
        let (client, connection, context) = connection(100);
        let (mut pump, mut pool) = (pump(), Pool::new(10));
        let (seat, taken) = Seat::alone();
        let taken = || taken.load(Ordering::Acquire);
        pump.adopt(connection, seat, &mut pool).expect("it is tied to the window");
        client.shutdown(Shutdown::Write).expect("a FIN");
        while pump.served.open > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        assert_eq!((context.snapshot().closed, taken()), (1, 1), "it is closed, and its messages wait");
        while taken() > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        pump.window.every(SWEEP, Duration::from_millis(10)).expect("a timer");
        assert_eq!(pump.window.next().expect("a message"), Message::Timer(SWEEP), "none is left");
        assert!(pump.served.places.is_empty());
    }

    #[test]
    fn a_connection_that_only_sends_ends_when_it_is_reset_after_its_fin() {
        let (sending, connection, context) = deaf_client();
        let (mut pump, mut pool) = (pump(), Pool::new(context.options().buffer));
        pump.adopt(connection, seat(), &mut pool).expect("it is tied to the window");
        while !pump.served.open().all(|(_, _, connection)| only_sends(connection.interest())) {
            take_a_message(&mut pump, &mut pool);
        }
        assert!(pump.retries, "the timer runs");
        reset(sending.join().expect("no panic"));
        // By the timer alone: Wine posts a message for the reset too, which is not promised.
        let end = Instant::now() + Duration::from_secs(20);
        while pump.served.open > 0 {
            assert!(Instant::now() < end, "the reset is not found");
            pump.take(Message::Timer(RETRY), &mut pool);
        }
        assert_eq!(context.snapshot().connection_errors, 1);
        while pump.retries {
            take_a_message(&mut pump, &mut pool);
        }
    }

    #[test]
    fn a_message_for_a_closed_connection_does_not_reach_the_one_that_got_its_handle() {
        let mut served = Registry::default();
        served.insert(1, seat(), 40, "first");
        assert_eq!(served.get_mut(1, 40), Some(&mut "first"));
        served.free(1);
        assert_eq!(served.get_mut(1, 40), Some(&mut "first"), "only a closed one gives its number back");
        served.close(1);
        assert_eq!(served.open, 0, "it is closed");
        served.insert(2, seat(), 40, "second");
        assert_eq!(served.get_mut(1, 40), None, "the handle was given out anew");
        assert_eq!(served.get_mut(2, 40), Some(&mut "second"));
    }

    #[test]
    fn numbers_go_round_and_pass_over_those_that_are_taken() {
        let mut served = Registry::default();
        assert_eq!([(); 3].map(|()| served.free_number()), [1, 2, 3]);
        served.insert(2, seat(), 40, ());
        served.close(2);
        let round: Vec<u16> = (0..NUMBERS).map(|_| served.free_number()).collect();
        let wanted: Vec<u16> = (4..=NUMBERS).chain([1, 3, 4]).collect();
        assert_eq!(round, wanted, "its messages may still be in the queue");
        served.free(2);
        assert!((0..NUMBERS).any(|_| served.free_number() == 2));
        assert!(usize::from(NUMBERS) > Pump::CAPACITY, "there is always a free one");
    }
}
