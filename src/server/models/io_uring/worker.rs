//! The loop of one worker: submit, wait, deal with what is complete.

#![expect(unsafe_code, reason = "operations on memory and descriptors that must outlive them")]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use socket2::SockRef;

use super::Tuning;
use super::buffers::{Buffers, GROUP};
use super::connection::{Connection, Piece};
use super::crew::Crew;
use super::ring::{Completion, Key, Kind, Ring, Token, with_total};
use super::table::Table;
use crate::server::{Accept, Context, Phase, Session};
use crate::sys;

/// IORING_RECVSEND_POLL_FIRST: wait for the socket before the first try, which is known to find nothing.
const POLL_FIRST: u16 = 1;

/// One worker: a ring, and the connections that live on it.
pub(super) struct Worker {
    ring: Ring,
    buffers: Buffers,
    connections: Table,
    context: Arc<Context>,
    crew: Arc<Crew>,
    index: usize,
    multishot: bool,
    acceptor: Option<Acceptor>,
    /// Who gets the next accepted connection.
    next: usize,
    /// Connections whose receive found no provided buffer, longest first.
    starved: VecDeque<Key>,
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
        let mut ring = Ring::new(tuning.submissions, tuning.completions)?;
        let size = tuning.buffer.min(context.options().buffer);
        let buffers = Buffers::new(&ring.submitter(), size, tuning.first_buffers, tuning.most_buffers)?;
        let multishot = tuning.multishot && bounded_multishot(&mut ring, &buffers)?;
        Ok(Worker {
            ring,
            buffers,
            connections: Table::default(),
            context: Arc::clone(context),
            crew: Arc::clone(crew),
            index,
            multishot,
            acceptor: listener.map(|listener| Acceptor { listener, armed: false, paused: None, stopping: false }),
            next: 0,
            starved: VecDeque::new(),
            next_sweep: Session::sweep_every(context).map(|every| Instant::now() + every),
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
            for completion in batch.drain(..) {
                self.complete(completion)?;
            }
            self.feed_starved();
            self.look_at_clock();
        }
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
            Kind::Receive => self.on_receive(key, &completion),
            Kind::Send => self.on_send(key, &completion),
        }
        Ok(())
    }

    // ---- connections

    /// Takes a connection on.
    fn adopt(&mut self, socket: OwnedFd) {
        // A socket that refuses is served all the same: only its timing differs.
        let _ = SockRef::from(&socket).set_tcp_nodelay(true);
        if let Some(session) = Session::admit(&self.context) {
            let key = self.connections.insert(Connection::new(socket, session));
            self.advance(key);
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
            if due.receive && !connection.receiving && !connection.starved && worth_receiving(connection) {
                self.receive(key);
            } else if due.finish {
                // The close sends the FIN.
                connection.session.fin_sent();
                connection.closing = true;
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

    fn receive(&mut self, key: Key) {
        let size = self.buffers.size();
        let multishot = self.multishot;
        let connection = self.connections.get(key);
        connection.began();
        connection.receiving = true;
        let space = connection.space();
        let fd = Fd(connection.fd());
        let entry = if multishot && space >= size {
            // The limit is looked at after each buffer: this one lets through `space` bytes at most.
            with_total(opcode::RecvMulti::new(fd, GROUP).build(), (space - size + 1) as u32)
        } else {
            let ioprio = if connection.readable { 0 } else { POLL_FIRST };
            let receive =
                opcode::Recv::new(fd, ptr::null_mut(), space.min(size) as u32).buf_group(GROUP).ioprio(ioprio);
            receive.build().flags(squeue::Flags::BUFFER_SELECT)
        };
        self.push(entry, Token { kind: Kind::Receive, key });
    }

    /// Every entry of this worker goes through here.
    fn push(&mut self, entry: squeue::Entry, token: Token) {
        // SAFETY: the entries point to nothing (accept, poll, cancel), to provided buffers, or to the bytes of a
        // connection. A connection, with its descriptor and its bytes, is dropped only when none of its operations is
        // outstanding, and leaves bytes that are being sent where they are; the provided buffers and the listener are
        // dropped with the worker, which reaps everything first, or else leaks them (`Drop`).
        unsafe { self.ring.push(&entry.user_data(token.pack())) }
    }

    fn on_receive(&mut self, key: Key, completion: &Completion) {
        // Claimed whatever the result is: a buffer that came with it must go back.
        let received = completion.result();
        let lease = completion.buffer().map(|id| self.buffers.claim(id, received.unwrap_or(0) as usize));
        let connection = self.connections.get(key);
        if !completion.more() {
            connection.ended();
            connection.receiving = false;
            connection.readable = completion.sock_nonempty();
        }
        match received {
            Ok(0) => connection.session.received(0),
            Ok(_) => connection.received(lease.expect("bytes come in a provided buffer")),
            Err(Errno::NOBUFS) => {
                connection.starved = true;
                self.starved.push_back(key);
                self.buffers.grow();
            }
            Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
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
        if connection.outstanding() > 0 {
            connection.began();
            let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(connection.fd())).all()).build();
            self.push(entry, Token { kind: Kind::Cancel, key });
        }
    }

    /// Lets connections receive again that found no provided buffer, as far as there are buffers now. If there are none,
    /// all of them are in sends that do not wait, so the next wait brings them back.
    fn feed_starved(&mut self) {
        let mut buffers = self.buffers.provided();
        while buffers > 0
            && let Some(key) = self.starved.pop_front()
        {
            if let Some(connection) = self.connections.find(key) {
                connection.starved = false;
                connection.readable = true;
                buffers -= 1;
                self.advance(key);
            }
        }
    }

    // ---- the listener

    fn accept_more(&mut self) {
        let Some(acceptor) = self.acceptor.as_mut().filter(|a| !a.armed && !a.stopping) else { return };
        acceptor.armed = true;
        let fd = Fd(acceptor.listener.as_raw_fd());
        if acceptor.paused.take().is_some() {
            // Accept takes a descriptor before it looks for a connection: asked again at once it would fail with nobody
            // there. So only once somebody is.
            let entry = opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).build();
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
            Err(e @ (Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::OPNOTSUPP)) => return Err(e.into()),
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

    /// Ends accepting; whether it has ended.
    fn accept_no_more(&mut self) -> bool {
        let Some(acceptor) = &mut self.acceptor else { return true };
        if acceptor.armed {
            if !mem::replace(&mut acceptor.stopping, true) {
                let cancel = CancelBuilder::fd(Fd(acceptor.listener.as_raw_fd())).all();
                self.push(opcode::AsyncCancel2::new(cancel).build(), Token::own(Kind::Cancel));
            }
            return false;
        }
        self.acceptor = None;
        self.crew.no_more();
        true
    }

    fn drained(&mut self) -> bool {
        self.accept_no_more() && self.connections.is_empty() && self.crew.nothing_comes(self.index)
    }

    // ---- waking, and the clock

    fn watch_wake(&mut self) {
        let fd = Fd(self.crew.event(self.index));
        self.push(opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).build(), Token::own(Kind::Wake));
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
            self.next_sweep = Session::sweep_every(&self.context).map(|every| now + every);
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
            for completion in batch.drain(..) {
                self.complete(completion)?;
            }
        }
        Ok(())
    }

    fn cancel_all(&mut self) {
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build(), Token::own(Kind::Cancel));
    }
}

impl Drop for Worker {
    /// After a panic, or when the ring itself failed, the kernel may go on writing into the provided buffers and reading
    /// what is being sent: that memory is then leaked.
    fn drop(&mut self) {
        if self.ring.outstanding() > 0 {
            mem::forget(mem::take(&mut self.connections));
            mem::forget(self.buffers.clone());
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

/// Whether this kernel ends a multishot receive after a given number of bytes. Without that limit a client that sends
/// and does not read would have its connection receive into every buffer that there is, before the program sees it.
fn bounded_multishot(ring: &mut Ring, buffers: &Buffers) -> io::Result<bool> {
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    drop(theirs);
    let entry = with_total(opcode::RecvMulti::new(Fd(ours.as_raw_fd()), GROUP).build(), 1);
    // SAFETY: the entry points to nothing, and the socket is open until everything was reaped.
    unsafe { ring.push(&entry.user_data(Token::own(Kind::Receive).pack())) };
    let mut batch = Vec::new();
    while ring.outstanding() > 0 {
        ring.enter(None)?;
        ring.reap(&mut batch);
    }
    for completion in &batch {
        if let Some(id) = completion.buffer() {
            drop(buffers.claim(id, 0));
        }
    }
    Ok(matches!(&batch[..], [only] if only.result() == Ok(1)))
}
