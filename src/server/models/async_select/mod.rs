//! `async-select`: window messages say which sockets are ready (WSAAsyncSelect).
//!
//! # The mechanism
//!
//! WSAAsyncSelect ties a socket to a window. When something happens on the socket, Winsock posts a message of the
//! program's choice to that window, with the socket in wParam, the network event in the low word of lParam and its
//! error in the high word. The program's message loop takes it like a key press, and moves the bytes with calls that do
//! not block: a reactor. It came with Winsock 1.1 for programs that had a message loop and no threads. This server has
//! no window to show, so each of its threads makes a message-only one.
//!
//! The rules:
//! - Each notice is posted once, until a call re-arms it: FD_READ by a receive, FD_ACCEPT by an accept, FD_WRITE by a
//!   send that would have blocked (and once at the start). So there is one receive for each FD_READ and one accept for
//!   each FD_ACCEPT: another one would post another message.
//! - FD_CLOSE is posted once and nothing re-arms it, although data may be left: receive until 0. From then on only
//!   FD_WRITE is asked for, since those receives would post again. If it came for a FIN, no other comes for a reset, so
//!   a connection that only waits to send tries again from time to time: see `retry`.
//! - An accepted socket inherits the listener's tie, so another call ties it to its own window. What had arrived until
//!   then is posted at once.
//! - Messages stay in the queue when their socket is closed, and its handle may be given to another socket. So every
//!   connection is registered under a message number of its own, and when it is closed a *mark* is posted under that
//!   number, behind the last of its messages. Until the mark is taken, the number is used for no other connection and
//!   its messages are dropped.
//!
//! # The drawback
//!
//! A message, a queue and a lock of the window manager for each notice. And the queue is bounded: 10,000 messages, or
//! fewer if an administrator says so, but at least 4,000. A message beyond that is lost, and with it the only notice of
//! its kind. By the rules above a connection has up to seven messages in the queue: two FD_READ, since a new
//! one receives once without a notice; two FD_WRITE, since a send may block while the first one waits in the queue, and
//! a third from the second tie; FD_CLOSE; the mark. It keeps its slot in the thread until the mark is taken, so clients
//! that come and go can't fill the queue either. So a thread serves 500 connections, and there are as many threads as
//! that takes; `--workers` says how many there are from the start.
//!
//! Sources: Microsoft, 'WSAAsyncSelect', 'PostMessageW' (the limit of 10,000 and its minimum of 4,000).

mod numbered;
mod window;

use std::io;
use std::net::TcpListener;
use std::os::windows::io::AsRawSocket;
use std::sync::Arc;
use std::time::Instant;

use windows_sys::Win32::Networking::WinSock::{FD_ACCEPT, FD_CLOSE, FD_READ, FD_WRITE, SOCKET};

use crate::server::pool::{Assigned, GrowingPool, IdleTimer, Mailbox, PoolWorker, SlotGuard, WorkerGroup};
use crate::server::readiness::accept_notified::{accept_one, accept_rest};
use crate::server::readiness::connection::{BufferPool, NonblockingConnection, Ready, TurnOutcome};
use crate::server::readiness::retry::{self, only_sends};
use crate::server::wait::Waker;
use crate::server::{Context, ServerPhase, Session};
use numbered::NumberedConnections;
use window::{SocketNotice, Window, WindowMessage};

/// The timer that ends waits so that idle connections are found.
const IDLE_TIMER: usize = 1;
/// The timer by which connections send again; it runs while there are some that only send.
const RETRY_TIMER: usize = 2;

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (window, waker) = window()?;
    window.select(&listener, 1, FD_ACCEPT)?;
    let mut pool: GrowingPool<MessagePump> = GrowingPool::start(&context, &waker)?;
    context.ready(pool.group().wake_all());
    let result = accept(&listener, &window, &mut pool);
    accept_rest(listener, &mut pool);
    pool.finish(result)
}

fn accept(listener: &TcpListener, window: &Window, pool: &mut GrowingPool<MessagePump>) -> io::Result<()> {
    while pool.phase() == ServerPhase::Run {
        if let WindowMessage::Socket(_) = window.next()? {
            accept_one(listener, pool);
        }
    }
    Ok(())
}

fn window() -> io::Result<(Window, Waker)> {
    let window = Window::new()?;
    let poster = window.poster();
    Ok((window, Arc::new(move || poster.wake())))
}

/// A thread that serves up to 500 connections by its window's messages.
struct MessagePump {
    window: Window,
    connections: NumberedConnections<NonblockingConnection>,
    /// The retry timer runs.
    retries: bool,
}

impl PoolWorker for MessagePump {
    const NAME: &'static str = "async-select";
    /// Seven messages each, and a wake, in a queue that may hold only 4,000.
    const CAPACITY: usize = 500;
    type Connection = NonblockingConnection;

    fn prepare() -> io::Result<(Self, Waker)> {
        let (window, waker) = window()?;
        Ok((MessagePump { window, connections: NumberedConnections::default(), retries: false }, waker))
    }

    fn serve(mut self, mut mailbox: Mailbox<Assigned<NonblockingConnection>>, group: &WorkerGroup) -> io::Result<()> {
        let context = group.context();
        let mut pool = BufferPool::new(context.options().buffer);
        let mut idle = IdleTimer::new(context);
        if let Some(interval) = Session::idle_check_interval(context) {
            self.window.start_timer(IDLE_TIMER, interval)?;
        }
        loop {
            for (connection, slot) in mailbox.take() {
                if let Err(e) = self.adopt(connection, slot, &mut pool) {
                    context.accept_failed(&e);
                }
            }
            if group.phase() == ServerPhase::Abort {
                self.connections.into_open().for_each(NonblockingConnection::abort);
                return Ok(());
            }
            if self.connections.open_count() == 0 && mailbox.is_over() {
                return Ok(());
            }
            let message = self.window.next()?;
            self.take(message, &mut pool);
            // Not when the timer's message is taken: the queue gives that only when it has nothing else.
            if let Some(now) = idle.due() {
                self.close_idle(now);
            }
        }
    }
}

impl MessagePump {
    /// If the socket can't be tied to the window, the connection is closed.
    fn adopt(&mut self, connection: NonblockingConnection, slot: SlotGuard, pool: &mut BufferPool) -> io::Result<()> {
        let number = self.connections.free_number();
        let socket = connection.stream().as_raw_socket() as SOCKET;
        self.window.select(connection.stream(), number, FD_READ | FD_WRITE | FD_CLOSE)?;
        self.connections.insert(number, slot, socket, connection.with_one_receive_per_notice());
        // What had happened before is posted, except for a reset under Wine 8.0; so one receive without a notice.
        self.turn(SocketNotice { number, socket, event: FD_READ, error: 0 }, pool);
        Ok(())
    }

    fn take(&mut self, message: WindowMessage, pool: &mut BufferPool) {
        match message {
            WindowMessage::Socket(notice) => self.turn(notice, pool),
            // The queue gives it only when it has nothing else. So no FD_WRITE for these connections is in the queue.
            WindowMessage::Timer(RETRY_TIMER) => self.send_again(pool),
            _ => {}
        }
    }

    fn turn(&mut self, notice: SocketNotice, pool: &mut BufferPool) {
        let SocketNotice { number, socket, event, error } = notice;
        if event == 0 {
            return self.connections.free(number);
        }
        let Some(connection) = self.connections.get_mut(number, socket) else { return };
        if event == FD_CLOSE {
            // Best effort: if it fails, more messages come than are needed.
            let _ = self.window.select(connection.stream(), number, FD_WRITE);
        }
        let turn = if error == 0 {
            let hangup = event == FD_CLOSE;
            connection.turn(Ready { read: event == FD_READ, write: event == FD_WRITE, hangup }, pool)
        } else {
            connection.fail()
        };
        if turn == TurnOutcome::Close {
            self.close(number);
        } else if only_sends(connection.interest()) && !self.retries {
            // Best effort: without a timer, a reset that no message reports goes unnoticed.
            self.retries = self.window.start_timer(RETRY_TIMER, retry::EVERY).is_ok();
        }
    }

    /// Lets the connections that only wait to send try, although nothing says that they can. The try shows which of
    /// them are broken.
    fn send_again(&mut self, pool: &mut BufferPool) {
        let only_send = self.connections.open().filter(|(_, _, connection)| only_sends(connection.interest()));
        let again: Vec<(u16, SOCKET)> = only_send.map(|(number, socket, _)| (number, socket)).collect();
        if again.is_empty() {
            self.window.stop_timer(RETRY_TIMER);
            self.retries = false;
        }
        for (number, socket) in again {
            self.turn(SocketNotice { number, socket, event: FD_WRITE, error: 0 }, pool);
        }
    }

    fn close_idle(&mut self, now: Instant) {
        let idle = self.connections.open().filter(|(_, _, connection)| connection.is_idle(now));
        let idle: Vec<u16> = idle.map(|(number, _, _)| number).collect();
        idle.into_iter().for_each(|number| self.close(number));
    }

    fn close(&mut self, number: u16) {
        self.connections.close(number);
        // Only a full queue refuses a mark. Without one, nothing shows when the last message was taken.
        if self.window.mark(number).is_err() {
            self.connections.free(number);
        }
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
    use crate::server::pool::SlotCount;
    use crate::server::readiness::retry::tests::{deaf_client, reset};

    /// A connection with a buffer of 10 bytes whose client has sent `sent` bytes, and they have arrived.
    fn connection(sent: usize) -> (TcpStream, NonblockingConnection, Arc<Context>) {
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
        let connection = NonblockingConnection::new(accepted, &context).expect("it is admitted");
        (client, connection, context)
    }

    /// With a timer that ends a wait for a message that does not come.
    fn pump() -> MessagePump {
        let window = Window::new().expect("a window");
        window.start_timer(IDLE_TIMER, Duration::from_secs(60)).expect("a timer");
        MessagePump { window, connections: NumberedConnections::default(), retries: false }
    }

    fn slot() -> SlotGuard {
        SlotCount::default().take()
    }

    fn take_a_message(pump: &mut MessagePump, pool: &mut BufferPool) {
        let message = pump.window.next().expect("a message");
        assert_ne!(message, WindowMessage::Timer(IDLE_TIMER), "nothing more is posted");
        pump.take(message, pool);
    }

    #[test]
    fn each_notice_is_answered_by_one_receive_and_a_fin_by_the_rest() {
        let (mut client, connection, context) = connection(100);
        let (mut pump, mut pool) = (pump(), BufferPool::new(10));
        pump.adopt(connection, slot(), &mut pool).expect("it is tied to the window");
        let mut received = context.snapshot().bytes_in;
        assert_eq!(received, 10, "one look without a notice");
        while received < 100 {
            take_a_message(&mut pump, &mut pool);
            let now = context.snapshot().bytes_in;
            assert!(now - received <= 10, "{} bytes at one notice", now - received);
            received = now;
        }
        client.shutdown(Shutdown::Write).expect("a FIN");
        while pump.connections.open_count() > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        let mut echo = Vec::new();
        client.read_to_end(&mut echo).expect("the echo and a FIN");
        assert_eq!(echo, [7; 100]);
        assert!(context.snapshot().add_up());
    }

    #[test]
    fn a_slot_is_taken_until_the_last_message_of_its_connection_was_taken() {
        let (client, connection, context) = connection(100);
        let (mut pump, mut pool) = (pump(), BufferPool::new(10));
        let slots = SlotCount::default();
        pump.adopt(connection, slots.take(), &mut pool).expect("it is tied to the window");
        client.shutdown(Shutdown::Write).expect("a FIN");
        while pump.connections.open_count() > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        assert_eq!((context.snapshot().closed, slots.in_use()), (1, 1), "it is closed, and its messages wait");
        while slots.in_use() > 0 {
            take_a_message(&mut pump, &mut pool);
        }
        pump.window.start_timer(IDLE_TIMER, Duration::from_millis(10)).expect("a timer");
        assert_eq!(pump.window.next().expect("a message"), WindowMessage::Timer(IDLE_TIMER), "none is left");
        assert!(pump.connections.is_empty());
    }

    #[test]
    fn a_connection_that_only_sends_ends_when_it_is_reset_after_its_fin() {
        let (sending, connection, context) = deaf_client();
        let (mut pump, mut pool) = (pump(), BufferPool::new(context.options().buffer));
        pump.adopt(connection, slot(), &mut pool).expect("it is tied to the window");
        while !pump.connections.open().all(|(_, _, connection)| only_sends(connection.interest())) {
            take_a_message(&mut pump, &mut pool);
        }
        assert!(pump.retries, "the timer runs");
        reset(sending.join().expect("no panic"));
        // By the timer alone: Wine posts a message for the reset too, which is not promised.
        let end = Instant::now() + Duration::from_secs(20);
        while pump.connections.open_count() > 0 {
            assert!(Instant::now() < end, "the reset goes unnoticed");
            pump.take(WindowMessage::Timer(RETRY_TIMER), &mut pool);
        }
        assert_eq!(context.snapshot().connection_errors, 1);
        while pump.retries {
            take_a_message(&mut pump, &mut pool);
        }
    }
}
