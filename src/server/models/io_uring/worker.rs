//! The loop of one worker: submit, wait, handle what has completed.

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

use super::buffers::ReceiveBuffers;
use super::connection::{Piece, RingConnection};
use super::ring::{Completion, ConnectionKey, OperationKind, OperationToken, UringQueues};
use super::setup::{Prepared, Tuning};
use super::table::ConnectionTable;
use crate::server::pool::{Dealer, IdleTimer, Mailbox, Position, WorkerGroup};
use crate::server::wait::eventfd::EventFd;
use crate::server::{Accept, Context, ServerPhase, Session};
use crate::sys;

/// Receives of a connection in a row, while others wait: its bytes are processed while they are still cached.
const RECEIVES_IN_A_ROW: u8 = 8;

/// One worker: a ring, and the connections that live on it.
pub(super) struct RingWorker {
    ring: UringQueues,
    wake: Arc<EventFd>,
    buffers: ReceiveBuffers,
    connections: ConnectionTable,
    context: Arc<Context>,
    group: WorkerGroup,
    mailbox: Mailbox<OwnedFd>,
    acceptor: Option<MultishotAcceptor>,
    /// Connections that have something to receive, in the order of their turns.
    queue: VecDeque<ConnectionKey>,
    idle: IdleTimer,
    winding_up: bool,
}

/// Accepts for all workers, in the first one.
struct MultishotAcceptor {
    listener: TcpListener,
    dealer: Dealer<OwnedFd>,
    /// An operation on the listener is outstanding.
    armed: bool,
    /// Not to be armed before this time.
    paused_until: Option<Instant>,
    /// Being cancelled.
    stopping: bool,
}

impl RingWorker {
    pub(super) fn new(prepared: Prepared, position: Position<OwnedFd>, tuning: &Tuning) -> RingWorker {
        let Prepared { ring, wake } = prepared;
        let Position { group, mailbox, accepting } = position;
        let context = Arc::clone(group.context());
        let acceptor = |(listener, dealer)| MultishotAcceptor {
            listener,
            dealer,
            armed: false,
            paused_until: None,
            stopping: false,
        };
        RingWorker {
            ring,
            wake,
            buffers: ReceiveBuffers::new(tuning.buffer.min(context.options().buffer), tuning.buffers, tuning.batch),
            connections: ConnectionTable::default(),
            idle: IdleTimer::new(&context),
            context,
            group,
            mailbox,
            acceptor: accepting.map(acceptor),
            queue: VecDeque::new(),
            winding_up: false,
        }
    }

    /// Serves until the context says stop. Nothing is outstanding afterwards, unless the ring broke while it wound up.
    ///
    /// # Errors
    /// The listener or the ring broke.
    pub(super) fn run(mut self) -> io::Result<()> {
        let served = self.serve();
        let wound_up = self.wind_up();
        served.and(wound_up)
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut batch = Vec::new();
        self.watch_wake();
        self.accept_more();
        loop {
            match self.group.phase() {
                ServerPhase::Run => {}
                ServerPhase::Drain if self.drained() => return Ok(()),
                ServerPhase::Drain => {}
                ServerPhase::Abort => return Ok(()),
            }
            self.ring.enter(self.timeout())?;
            self.ring.reap(&mut batch);
            self.complete_all(&mut batch)?;
            self.receive_from_queue();
            self.look_at_clock();
        }
    }

    /// Handles all completions, even after one that fails, since the kernel delivers each of them only once.
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
        let OperationToken { kind, key } = completion.token;
        match kind {
            OperationKind::Accept | OperationKind::Readable => return self.on_listener(&completion),
            OperationKind::Wake => self.on_wake(),
            OperationKind::Cancel if key == ConnectionKey::NONE => {}
            OperationKind::Cancel => {
                self.connections.get(key).ended();
                self.advance(key);
            }
            OperationKind::Ready => self.on_ready(key, &completion),
            OperationKind::Receive => self.on_receive(key, &completion),
            OperationKind::Send => self.on_send(key, &completion),
        }
        Ok(())
    }

    // ---- connections

    /// Takes an accepted socket on.
    fn adopt(&mut self, socket: OwnedFd) {
        if let Some(session) = Session::admit(&self.context, &socket) {
            let key = self.connections.insert(RingConnection::new(socket, session));
            self.watch(key);
        }
    }

    /// Starts what is due on a connection, or drops it once it is over. Only this function decides that.
    fn advance(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        if !connection.closing {
            let piece = if connection.sending { None } else { connection.piece() };
            connection.sending |= piece.is_some();
            let due = connection.session.due();
            let receives = due.receive
                && connection.readable
                && connection.receiving.is_none()
                && !connection.queued
                && worth_receiving(connection);
            if let Some(piece) = piece {
                self.send(key, &piece);
            }
            if receives {
                self.enqueue(key);
                return;
            }
            if !due.finish {
                return;
            }
            // The close sends the FIN.
            self.connections.get(key).session.fin_sent();
            self.close(key);
        }
        if self.connections.get(key).outstanding() == 0 {
            self.connections.remove(key);
        }
    }

    fn send(&mut self, key: ConnectionKey, piece: &Piece) {
        let connection = self.connections.get(key);
        connection.began();
        let flags = if piece.wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        let entry = opcode::Send::new(Fd(connection.fd()), piece.start, piece.len).flags(flags.bits() as i32).build();
        // SAFETY: the connection was told of the operation, so it keeps its descriptor. It leaves the bytes of `piece`
        // where they are until the send is complete.
        unsafe { self.push(entry, OperationToken { kind: OperationKind::Send, key }) };
    }

    /// Asks the kernel to report whenever a connection has something to receive.
    fn watch(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        connection.began();
        let events = PollFlags::IN | PollFlags::RDHUP;
        let entry = opcode::PollAdd::new(Fd(connection.fd()), mask(events)).multi(true).build();
        // SAFETY: a poll points to no memory. The connection was told of it, so it keeps its descriptor.
        unsafe { self.push(entry, OperationToken { kind: OperationKind::Ready, key }) };
    }

    /// Puts a connection in the queue of those that will receive: first, if it has just received and may go on.
    fn enqueue(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        connection.queued = true;
        if (1..RECEIVES_IN_A_ROW).contains(&connection.turns) {
            self.queue.push_front(key);
        } else {
            connection.turns = 0;
            self.queue.push_back(key);
        }
    }

    /// Starts receives of the connections in the queue, as many as the buffers allow.
    fn receive_from_queue(&mut self) {
        while let Some(&key) = self.queue.front() {
            let Some(connection) = self.connections.find(key) else {
                self.queue.pop_front();
                continue;
            };
            let Some(mut buffer) = self.buffers.take(connection.expected) else { return };
            self.queue.pop_front();
            connection.queued = false;
            if connection.closing {
                continue;
            }
            let len = connection.space().min(self.buffers.size());
            let receive = opcode::Recv::new(Fd(connection.fd()), buffer.target(), len as u32);
            connection.receiving = Some(buffer);
            connection.readable_again = false;
            connection.turns += 1;
            connection.began();
            let entry = receive.flags(RecvFlags::DONTWAIT.bits() as i32).build();
            // SAFETY: the connection was told of the receive, so it keeps its descriptor. It keeps the buffer, in
            // `receiving`, until the receive is complete.
            unsafe { self.push(entry, OperationToken { kind: OperationKind::Receive, key }) };
        }
    }

    /// Pushes an entry. Every entry of this worker goes through here.
    ///
    /// Three things are kept while an operation on them is outstanding: a connection, which is removed only when its
    /// own count of operations is 0; the listener, while its acceptor is armed; and the eventfd, as long as the worker.
    /// If operations are outstanding when the worker is dropped, all three are leaked: see `drop`.
    ///
    /// # Safety
    /// The entry's descriptor is one of these three, and a connection was told of the operation
    /// ([`began`](RingConnection::began)). Memory that the entry points to belongs to that connection, which keeps it
    /// in its place until the last completion.
    unsafe fn push(&mut self, entry: squeue::Entry, token: OperationToken) {
        // SAFETY: the descriptor and the memory outlive the last completion, as said above.
        unsafe { self.ring.push(&entry.user_data(token.pack())) }
    }

    fn on_ready(&mut self, key: ConnectionKey, completion: &Completion) {
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

    fn on_receive(&mut self, key: ConnectionKey, completion: &Completion) {
        let connection = self.connections.get(key);
        connection.ended();
        let mut buffer = connection.receiving.take().expect("a receive was outstanding");
        match completion.result() {
            Ok(n) => {
                let n = n as usize;
                // The poll reports once for everything that has come. So three things count: whether more came with
                // these bytes (a FIN too), any report of the poll since the receive was pushed, before or after it ran,
                // and whether the poll has reported the end.
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

    fn on_send(&mut self, key: ConnectionKey, completion: &Completion) {
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
    fn fail(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        if !connection.closing {
            connection.session.failed();
            self.close(key);
        }
    }

    /// Closes a connection as soon as none of its operations is outstanding.
    fn close(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key);
        connection.closing = true;
        if connection.outstanding() == 0 {
            return;
        }
        // By token, which the kernel finds at once; by descriptor it would search the operations of all connections.
        let sending = connection.sending;
        self.cancel(OperationToken { kind: OperationKind::Ready, key });
        if sending {
            self.cancel(OperationToken { kind: OperationKind::Send, key });
        }
    }

    /// Cancels an operation of a connection, if it is still outstanding.
    fn cancel(&mut self, operation: OperationToken) {
        let key = operation.key;
        self.connections.get(key).began();
        let entry = opcode::AsyncCancel::new(operation.pack()).build();
        // SAFETY: the entry has no descriptor and points to no memory: it names the operation by its token.
        unsafe { self.push(entry, OperationToken { kind: OperationKind::Cancel, key }) };
    }

    // ---- the listener

    fn accept_more(&mut self) {
        let Some(acceptor) = self.acceptor.as_mut().filter(|acceptor| !acceptor.armed && !acceptor.stopping) else {
            return;
        };
        acceptor.armed = true;
        let fd = Fd(acceptor.listener.as_raw_fd());
        if acceptor.paused_until.take().is_some() {
            // Accept takes a descriptor before it looks for a connection, so it would fail again even with no client
            // there. It is armed when there is one.
            let entry = opcode::PollAdd::new(fd, mask(PollFlags::IN)).build();
            // SAFETY: a poll points to no memory. The acceptor is armed, so it keeps the listener.
            unsafe { self.push(entry, OperationToken::own(OperationKind::Readable)) };
        } else {
            let entry = opcode::AcceptMulti::new(fd).flags(SocketFlags::CLOEXEC.bits() as i32).build();
            // SAFETY: as above. The accept is asked for no address, so it writes to no memory.
            unsafe { self.push(entry, OperationToken::own(OperationKind::Accept)) };
        }
    }

    fn on_listener(&mut self, completion: &Completion) -> io::Result<()> {
        let acceptor =
            self.acceptor.as_mut().expect("only the worker with the acceptor has operations on the listener");
        acceptor.armed = completion.more();
        match completion.result() {
            Ok(fd) if completion.token.kind == OperationKind::Accept => {
                // SAFETY: a new descriptor, which nothing else owns.
                let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
                self.deal(socket);
            }
            Ok(_) | Err(Errno::CANCELED) => {}
            Err(e) if is_of_the_listener(e) => return Err(e.into()),
            Err(e) => {
                if let Accept::After(pause) = self.context.accept_failed(&e.into()) {
                    acceptor.paused_until = Some(Instant::now() + pause);
                    return Ok(());
                }
            }
        }
        self.accept_more();
        Ok(())
    }

    /// Deals accepted sockets out to the workers in turn.
    fn deal(&mut self, socket: OwnedFd) {
        // When the worker winds up, no worker serves the socket any more, and it is closed.
        if !self.winding_up
            && let Some(acceptor) = &mut self.acceptor
            && let Some(own) = acceptor.dealer.deal_to_others(socket)
        {
            self.adopt(own);
        }
    }

    /// Ends accepting, and takes the last connections that wait at the listener. Returns whether accepting has ended.
    #[cold]
    fn accept_no_more(&mut self) -> bool {
        let Some(acceptor) = &mut self.acceptor else { return true };
        if acceptor.armed {
            if !mem::replace(&mut acceptor.stopping, true) {
                // By their tokens: an entry that names the listener could still be queued when that is closed, and its
                // number belongs to another socket.
                for kind in [OperationKind::Accept, OperationKind::Readable] {
                    let entry = opcode::AsyncCancel::new(OperationToken::own(kind).pack()).build();
                    // SAFETY: the entry has no descriptor and points to no memory: it names the operation by its token.
                    unsafe { self.push(entry, OperationToken::own(OperationKind::Cancel)) };
                }
            }
            return false;
        }
        let Some(MultishotAcceptor { listener, mut dealer, .. }) = self.acceptor.take() else { return true };
        // Only now, because an accept of the ring would not wait on a nonblocking listener.
        if listener.set_nonblocking(true).is_ok() {
            for stream in self.context.accept_rest(listener) {
                if let Some(own) = dealer.deal_to_others(stream.into()) {
                    self.adopt(own);
                }
            }
        }
        true
    }

    fn drained(&mut self) -> bool {
        self.accept_no_more() && self.connections.is_empty() && self.mailbox.is_over()
    }

    // ---- waking, and the clock

    fn watch_wake(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), mask(PollFlags::IN)).build();
        // SAFETY: a poll points to no memory, and the eventfd is kept.
        unsafe { self.push(entry, OperationToken::own(OperationKind::Wake)) };
    }

    fn on_wake(&mut self) {
        self.wake.clear();
        let sockets = self.mailbox.take();
        if !self.winding_up {
            sockets.into_iter().for_each(|socket| self.adopt(socket));
            self.watch_wake();
        }
    }

    /// How long a wait may last.
    fn timeout(&self) -> Option<Duration> {
        self.idle.timeout_or(self.paused_until())
    }

    fn paused_until(&self) -> Option<Instant> {
        self.acceptor.as_ref().and_then(|acceptor| acceptor.paused_until)
    }

    fn look_at_clock(&mut self) {
        let paused_until = self.paused_until();
        if paused_until.is_none() && !self.idle.is_set() {
            return;
        }
        let now = Instant::now();
        if paused_until.is_some_and(|until| until <= now) {
            self.accept_more();
        }
        if self.idle.is_due_at(now) {
            for key in self.connections.keys() {
                let connection = self.connections.get(key);
                if !connection.closing && connection.session.is_idle(now) {
                    self.close(key);
                    self.advance(key);
                }
            }
        }
    }

    // ---- the end

    /// Closes the connections that are left with resets, and takes everything back from the kernel.
    fn wind_up(&mut self) -> io::Result<()> {
        const CANCEL_AGAIN: Duration = Duration::from_millis(100);
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
        let (mut batch, mut result) = (Vec::new(), Ok(()));
        while self.ring.outstanding() > 0 {
            self.ring.enter(Some(CANCEL_AGAIN))?;
            self.ring.reap(&mut batch);
            if batch.is_empty() {
                // A cancellation can miss an operation that is just being carried out.
                self.cancel_all();
            }
            // The listener may report an error here, and the other operations are still to be waited for.
            result = result.and(self.complete_all(&mut batch));
        }
        result
    }

    fn cancel_all(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: the entry has no descriptor and points to no memory.
        unsafe { self.push(entry, OperationToken::own(OperationKind::Cancel)) };
    }
}

impl Drop for RingWorker {
    /// After a panic, or when the ring broke, operations are outstanding: the kernel may still write into buffers, read
    /// bytes that are being sent, and use descriptors. Then the connections with their memory, the listener and the
    /// eventfd are leaked.
    fn drop(&mut self) {
        if self.ring.outstanding() > 0 {
            mem::forget(mem::take(&mut self.connections));
            mem::forget(Arc::clone(&self.wake));
            if let Some(MultishotAcceptor { listener, .. }) = self.acceptor.take() {
                mem::forget(listener);
            }
        }
    }
}

/// A connection with a backlog receives again only when half of its room is free: less is not worth an operation.
fn worth_receiving(connection: &RingConnection) -> bool {
    let space = connection.space();
    connection.session.backlog() == 0 || space >= connection.session.capacity().div_ceil(2)
}

/// Whether an accept failed because of the listener itself. Any other error is that of one connection, whose own errors
/// accept passes on (accept(2), 'Error handling': EOPNOTSUPP among them), or passes by.
pub(super) fn is_of_the_listener(error: Errno) -> bool {
    matches!(error, Errno::BADF | Errno::NOTSOCK | Errno::INVAL)
}

/// The events as a poll operation takes them. rustix has them signed where it goes through libc.
fn mask(events: PollFlags) -> u32 {
    i64::from(events.bits()) as u32
}
