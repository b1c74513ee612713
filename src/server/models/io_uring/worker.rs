//! The loop of one worker: submit, wait, deal with what is complete.

#![expect(unsafe_code, reason = "operations on memory and descriptors that must outlive them")]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use super::Tuning;
use super::buffers::Pool;
use super::connection::{Connection, Piece};
use super::crew::Crew;
use super::ring::{Completion, Key, Kind, Ring, Token};
use super::table::Table;
use crate::server::{Accept, Context, Phase, Session};
use crate::sys;

/// Receives of a connection in a row, while others wait: what it sent is worked off as long as it is in the cache.
const TURNS: u8 = 8;

/// One worker: a ring, and the connections that live on it.
pub(super) struct Worker {
    ring: Ring,
    pool: Pool,
    connections: Table,
    context: Arc<Context>,
    crew: Arc<Crew>,
    index: usize,
    acceptor: Option<Acceptor>,
    /// Who gets the next accepted connection.
    next: usize,
    /// Connections that have something to receive, in the order in which they will.
    queue: VecDeque<Key>,
    next_sweep: Option<Instant>,
    winding_up: bool,
}

/// The first worker's.
struct Acceptor {
    listener: TcpListener,
    /// An operation on the listener is outstanding.
    armed: bool,
    /// Not to be armed before this time.
    paused: Option<Instant>,
    /// Being cancelled.
    stopping: bool,
}

impl Worker {
    /// A worker on the calling thread, the `index`th of the crew. Only the first has the listener.
    pub(super) fn new(
        index: usize,
        listener: Option<TcpListener>,
        context: &Arc<Context>,
        crew: &Arc<Crew>,
        tuning: &Tuning,
    ) -> io::Result<Worker> {
        let ring = Ring::new(tuning.submissions, tuning.completions)?;
        let pool = Pool::new(tuning.buffer.min(context.options().buffer), tuning.buffers, tuning.batch);
        Ok(Worker {
            ring,
            pool,
            connections: Table::default(),
            context: Arc::clone(context),
            crew: Arc::clone(crew),
            index,
            acceptor: listener.map(|listener| Acceptor { listener, armed: false, paused: None, stopping: false }),
            next: 0,
            queue: VecDeque::new(),
            next_sweep: Session::idle_check_interval(context).map(|every| Instant::now() + every),
            winding_up: false,
        })
    }

    /// Serves until the context says stop. Whatever happened, nothing is outstanding afterwards.
    pub(super) fn run(mut self) -> io::Result<()> {
        let served = self.serve();
        let wound_up = self.wind_up();
        let all = served.and(wound_up);
        if all.is_err() {
            self.crew.fail();
        }
        all
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut batch = Vec::new();
        self.watch_wake();
        self.accept_more();
        loop {
            match self.crew.phase(&self.context) {
                Phase::Run => {}
                Phase::Drain if self.drained() => return Ok(()),
                Phase::Drain => {}
                Phase::Abort => return Ok(()),
            }
            self.ring.enter(self.patience())?;
            self.ring.reap(&mut batch);
            self.complete_all(&mut batch)?;
            self.receive_from_queue();
            self.look_at_clock();
        }
    }

    /// Every one of them, whatever comes of one: the kernel tells of none of them again.
    ///
    /// # Errors
    /// The last one.
    fn complete_all(&mut self, batch: &mut Vec<Completion>) -> io::Result<()> {
        let mut result = Ok(());
        for completion in batch.drain(..) {
            if let Err(e) = self.complete(completion) {
                result = Err(e);
            }
        }
        result
    }

    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        let Token { kind, key } = completion.token;
        match kind {
            Kind::Accept | Kind::Readable => return self.on_listener(&completion),
            Kind::Wake => self.on_wake(),
            Kind::Cancel if key == Key::NONE => {}
            Kind::Cancel => {
                self.connections.get(key).ended();
                self.advance(key);
            }
            Kind::Ready => self.on_ready(key, &completion),
            Kind::Receive => self.on_receive(key, &completion),
            Kind::Send => self.on_send(key, &completion),
        }
        Ok(())
    }

    // ---- connections

    /// Takes a connection on.
    fn adopt(&mut self, socket: OwnedFd) {
        if let Some(session) = Session::admit(&self.context, &socket) {
            let key = self.connections.insert(Connection::new(socket, session));
            self.watch(key);
        }
    }

    /// Starts whatever is due on a connection: the one place that decides.
    fn advance(&mut self, key: Key) {
        let connection = self.connections.get(key);
        if !connection.closing {
            if !connection.sending
                && let Some(piece) = connection.piece()
            {
                connection.sending = true;
                self.send(key, &piece);
            }
            let connection = self.connections.get(key);
            let due = connection.session.due();
            if due.receive && connection.readable && connection.receiving.is_none() && worth_receiving(connection) {
                self.enqueue(key);
            } else if due.finish {
                // The close sends the FIN.
                connection.session.fin_sent();
                self.close(key);
            }
        }
        let connection = self.connections.get(key);
        if connection.closing && connection.outstanding() == 0 {
            self.connections.remove(key);
        }
    }

    fn send(&mut self, key: Key, piece: &Piece) {
        let connection = self.connections.get(key);
        connection.began();
        let flags = if piece.wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        let entry = opcode::Send::new(Fd(connection.fd()), piece.start, piece.len).flags(flags.bits() as i32).build();
        self.push(entry, Token { kind: Kind::Send, key });
    }

    /// Asks to be told whenever a connection has something to receive.
    fn watch(&mut self, key: Key) {
        let connection = self.connections.get(key);
        connection.began();
        let events = PollFlags::IN | PollFlags::RDHUP;
        let entry = opcode::PollAdd::new(Fd(connection.fd()), mask(events)).multi(true).build();
        self.push(entry, Token { kind: Kind::Ready, key });
    }

    /// Puts a connection among those that will receive: first, if it has just done so, and it has turns left.
    fn enqueue(&mut self, key: Key) {
        let connection = self.connections.get(key);
        if mem::replace(&mut connection.queued, true) {
            return;
        }
        if (1..TURNS).contains(&connection.turns) {
            self.queue.push_front(key);
        } else {
            connection.turns = 0;
            self.queue.push_back(key);
        }
    }

    /// Starts receives of those who wait for it, as many at a time as are worth it.
    fn receive_from_queue(&mut self) {
        while let Some(&key) = self.queue.front() {
            let Some(connection) = self.connections.find(key) else {
                self.queue.pop_front();
                continue;
            };
            let Some(mut buffer) = self.pool.take(connection.expected) else { return };
            self.queue.pop_front();
            connection.queued = false;
            if connection.closing {
                continue;
            }
            let len = connection.space().min(self.pool.size());
            let receive = opcode::Recv::new(Fd(connection.fd()), buffer.target(), len as u32);
            connection.receiving = Some(buffer);
            connection.readable_again = false;
            connection.turns += 1;
            connection.began();
            let entry = receive.flags(RecvFlags::DONTWAIT.bits() as i32).build();
            self.push(entry, Token { kind: Kind::Receive, key });
        }
    }

    /// Every entry of this worker goes through here.
    fn push(&mut self, entry: squeue::Entry, token: Token) {
        // SAFETY: the entries point to nothing (accept, poll, cancel), to the buffer of a connection's receive, or to
        // the bytes that it is sending. A connection, with its descriptor and its memory, is dropped only when none of
        // its operations is outstanding; until its receive or send is complete it keeps the buffer, and leaves the
        // bytes where they are. The listener and the eventfd are dropped after the worker has reaped everything, or
        // else leaked (`Drop`).
        unsafe { self.ring.push(&entry.user_data(token.pack())) }
    }

    fn on_ready(&mut self, key: Key, completion: &Completion) {
        let connection = self.connections.get(key);
        if !completion.more() {
            connection.ended();
        }
        match completion.result() {
            Ok(events) => {
                connection.readable = true;
                connection.readable_again = true;
                connection.hung_up |= events & mask(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) != 0;
                if !completion.more() && !connection.closing {
                    self.watch(key);
                }
            }
            Err(Errno::CANCELED) => {}
            Err(_) => self.fail(key),
        }
        self.advance(key);
    }

    fn on_receive(&mut self, key: Key, completion: &Completion) {
        let connection = self.connections.get(key);
        connection.ended();
        let mut buffer = connection.receiving.take().expect("a receive was outstanding");
        match completion.result() {
            Ok(n) => {
                let n = n as usize;
                // The poll speaks once for all that has come. So it counts what came along with these bytes (a FIN
                // too), what the poll said since the receive was pushed, be it before or after this, and an end that it
                // has told.
                connection.readable = completion.sock_nonempty() || connection.readable_again || connection.hung_up;
                connection.expected = n;
                if !connection.readable {
                    connection.turns = 0;
                }
                if n == 0 {
                    connection.session.received(0);
                } else {
                    buffer.received(n);
                    connection.received(buffer);
                }
            }
            Err(Errno::AGAIN) => connection.readable = connection.readable_again,
            Err(Errno::INTR | Errno::CANCELED) => {}
            Err(_) => self.fail(key),
        }
        self.advance(key);
    }

    fn on_send(&mut self, key: Key, completion: &Completion) {
        let connection = self.connections.get(key);
        connection.ended();
        connection.sending = false;
        match completion.result() {
            Ok(n) => connection.sent(n as usize),
            Err(Errno::AGAIN | Errno::CANCELED | Errno::INTR) => connection.would_block(),
            Err(_) => self.fail(key),
        }
        self.advance(key);
    }

    /// The connection broke.
    fn fail(&mut self, key: Key) {
        let connection = self.connections.get(key);
        if !connection.closing {
            connection.session.failed();
            self.close(key);
        }
    }

    /// Closes a connection as soon as the kernel has given back what it holds of it.
    fn close(&mut self, key: Key) {
        let connection = self.connections.get(key);
        connection.closing = true;
        if connection.outstanding() == 0 {
            return;
        }
        // By their names, which the kernel finds at once; by descriptor it would look through the operations of all.
        let sending = connection.sending;
        self.cancel(Token { kind: Kind::Ready, key });
        if sending {
            self.cancel(Token { kind: Kind::Send, key });
        }
    }

    /// Cancels an operation of a connection, if it is still outstanding.
    fn cancel(&mut self, operation: Token) {
        let key = operation.key;
        self.connections.get(key).began();
        self.push(opcode::AsyncCancel::new(operation.pack()).build(), Token { kind: Kind::Cancel, key });
    }

    // ---- the listener

    fn accept_more(&mut self) {
        let Some(acceptor) = self.acceptor.as_mut().filter(|a| !a.armed && !a.stopping) else { return };
        acceptor.armed = true;
        let fd = Fd(acceptor.listener.as_raw_fd());
        if acceptor.paused.take().is_some() {
            // Accept takes a descriptor before it looks for a connection: asked again at once it would fail with nobody
            // there. So only once somebody is.
            let entry = opcode::PollAdd::new(fd, mask(PollFlags::IN)).build();
            self.push(entry, Token::own(Kind::Readable));
        } else {
            let entry = opcode::AcceptMulti::new(fd).flags(SocketFlags::CLOEXEC.bits() as i32).build();
            self.push(entry, Token::own(Kind::Accept));
        }
    }

    fn on_listener(&mut self, completion: &Completion) -> io::Result<()> {
        let acceptor = self.acceptor.as_mut().expect("only the acceptor has operations on a listener");
        acceptor.armed = completion.more();
        match completion.result() {
            Ok(fd) if completion.token.kind == Kind::Accept => {
                // SAFETY: a new descriptor, which the kernel tells to nobody else.
                let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
                self.hand_out(socket);
            }
            Ok(_) | Err(Errno::CANCELED) => {}
            Err(e) if is_of_the_listener(e) => return Err(e.into()),
            Err(e) => {
                if let Accept::After(pause) = self.context.accept_failed(&e.into()) {
                    acceptor.paused = Some(Instant::now() + pause);
                    return Ok(());
                }
            }
        }
        self.accept_more();
        Ok(())
    }

    /// Gives the workers accepted connections in turn.
    fn hand_out(&mut self, socket: OwnedFd) {
        let to = self.next;
        self.next = (to + 1) % self.crew.size();
        if self.winding_up {
            // Nobody is there to serve it.
        } else if to == self.index {
            self.adopt(socket);
        } else {
            self.crew.hand(to, socket);
        }
    }

    /// Ends accepting, and takes what waits at the listener then; whether it has ended.
    fn accept_no_more(&mut self) -> bool {
        let Some(acceptor) = &mut self.acceptor else { return true };
        if acceptor.armed {
            if !mem::replace(&mut acceptor.stopping, true) {
                let cancel = CancelBuilder::fd(Fd(acceptor.listener.as_raw_fd())).all();
                self.push(opcode::AsyncCancel2::new(cancel).build(), Token::own(Kind::Cancel));
            }
            return false;
        }
        if let Some(Acceptor { listener, .. }) = self.acceptor.take()
            // Only now, since an accept of the ring's would no longer wait.
            && listener.set_nonblocking(true).is_ok()
        {
            let context = Arc::clone(&self.context);
            context.accept_rest(&listener, |stream| self.hand_out(stream.into()));
        }
        self.crew.no_more();
        true
    }

    fn drained(&mut self) -> bool {
        self.accept_no_more() && self.connections.is_empty() && self.crew.nothing_comes(self.index)
    }

    // ---- waking, and the clock

    fn watch_wake(&mut self) {
        let fd = Fd(self.crew.event(self.index));
        self.push(opcode::PollAdd::new(fd, mask(PollFlags::IN)).build(), Token::own(Kind::Wake));
    }

    fn on_wake(&mut self) {
        for socket in self.crew.take(self.index) {
            if !self.winding_up {
                self.adopt(socket);
            }
        }
        if !self.winding_up {
            self.watch_wake();
        }
    }

    /// How long a wait may be.
    fn patience(&self) -> Option<Duration> {
        let paused = self.acceptor.as_ref().and_then(|a| a.paused);
        let first = [self.next_sweep, paused].into_iter().flatten().min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    fn look_at_clock(&mut self) {
        let paused = self.acceptor.as_ref().and_then(|a| a.paused);
        if paused.is_none() && self.next_sweep.is_none() {
            return;
        }
        let now = Instant::now();
        if paused.is_some_and(|until| until <= now) {
            self.accept_more();
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            for key in self.connections.keys() {
                let connection = self.connections.get(key);
                if !connection.closing && connection.session.is_idle(now) {
                    self.close(key);
                    self.advance(key);
                }
            }
            self.next_sweep = Session::idle_check_interval(&self.context).map(|every| now + every);
        }
    }

    // ---- the end

    /// Closes what is left with resets, and takes everything back from the kernel.
    fn wind_up(&mut self) -> io::Result<()> {
        const AGAIN: Duration = Duration::from_millis(100);
        self.winding_up = true;
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.stopping = true;
        }
        for key in self.connections.keys() {
            let connection = self.connections.get(key);
            sys::close_with_reset(connection.socket());
            connection.closing = true;
            self.advance(key);
        }
        self.cancel_all();
        let mut batch = Vec::new();
        while self.ring.outstanding() > 0 {
            self.ring.enter(Some(AGAIN))?;
            self.ring.reap(&mut batch);
            if batch.is_empty() {
                // A cancellation can miss what is just being worked on.
                self.cancel_all();
            }
            self.complete_all(&mut batch)?;
        }
        Ok(())
    }

    fn cancel_all(&mut self) {
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build(), Token::own(Kind::Cancel));
    }
}

impl Drop for Worker {
    /// After a panic, or when the ring itself failed, the kernel may go on writing into buffers and reading what is
    /// being sent: the connections, with that memory, are then leaked.
    fn drop(&mut self) {
        if self.ring.outstanding() > 0 {
            mem::forget(mem::take(&mut self.connections));
            mem::forget(self.acceptor.take());
            self.crew.fail();
        }
    }
}

/// Small windows are not worth an operation: a connection with a backlog receives again when half of it is free.
fn worth_receiving(connection: &Connection) -> bool {
    let space = connection.space();
    connection.session.backlog() == 0 || space >= connection.session.capacity().div_ceil(2)
}

/// Whether an accept failed because of the listener itself. All else is of one connection, whose own errors accept
/// passes on (accept(2), 'Error handling': EOPNOTSUPP among them), or of a moment.
pub(super) fn is_of_the_listener(error: Errno) -> bool {
    matches!(error, Errno::BADF | Errno::NOTSOCK | Errno::INVAL)
}

/// The events as a poll's entry takes them. rustix has them signed where it goes through libc.
fn mask(events: PollFlags) -> u32 {
    i64::from(events.bits()) as u32
}
