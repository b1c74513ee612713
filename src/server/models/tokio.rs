//! `tokio` (every OS): a task a connection under an asynchronous runtime.
//!
//! **Mechanism.** The code reads like `threads`, but `await` gives the thread back: the runtime's reactor (epoll,
//! kqueue, and on Windows the readiness that AFD, the socket driver, reports) says which sockets are ready, and its
//! scheduler runs their tasks. Each worker is a thread with a `current_thread` runtime of its own, so a connection
//! stays on its thread; the first worker accepts and deals the connections out in turn.
//!
//! **Drawbacks.** The reactor is edge-triggered and notifies a task once, so the task must try until a call would
//! block. A round trip therefore costs one receive more than in `epoll`, unless a short read is taken to mean that the
//! socket is empty (tokio does so where the system allows), and a scheduler runs in between.
//!
//! **Limit.** None that matters: descriptors.
//!
//! A task that panics ends its own connection; the server goes on, and reports the panic at its end.
//!
//! Source: tokio's documentation (`TcpStream::ready`, `try_read`, 'Cancel safety').

use std::io;
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::thread;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::server::Session;
use crate::server::accepting::RuntimeListener;
use crate::server::context::{Accept, Context};
use crate::server::phase::ServerPhase;
use crate::server::pool::{Dealer, Mailbox, Position, WorkerGroup, run_workers};
use crate::server::readiness::connection::{BufferPool, slices, slices_mut};
use crate::server::wait::Waker;
use crate::sync::lock;
use crate::sys;

/// A connection on its way to its worker.
type Admitted = (StdStream, Session);

pub(super) fn run(listener: StdListener, context: Arc<Context>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let has_panicked = Arc::new(AtomicBool::new(false));
    let of_workers = Arc::clone(&has_panicked);
    let serve = move |worker: RuntimeWorker, position| worker.serve(position, &of_workers);
    run_workers(listener, &context, |_| thread::Builder::new(), RuntimeWorker::new, serve)?;
    match has_panicked.load(Ordering::Acquire) {
        true => Err(io::Error::other("the task of a connection panicked")),
        false => Ok(()),
    }
}

/// One worker's runtime, and what its waker changes.
struct RuntimeWorker {
    runtime: Runtime,
    woken: watch::Receiver<()>,
}

impl RuntimeWorker {
    fn new() -> io::Result<(RuntimeWorker, Waker)> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (wake, woken) = watch::channel(());
        let waker = move || {
            wake.send_replace(());
        };
        Ok((RuntimeWorker { runtime, woken }, Arc::new(waker)))
    }

    fn serve(self, position: Position<Admitted>, has_panicked: &AtomicBool) -> io::Result<()> {
        let RuntimeWorker { runtime, woken } = self;
        let Position { group, mailbox, accepting } = position;
        let serve = serve(mailbox, woken.clone(), &group, has_panicked);
        match accepting {
            None => runtime.block_on(serve),
            Some((listener, dealer)) => {
                let listener = {
                    let _reactor = runtime.enter();
                    RuntimeListener::new(listener)?
                };
                runtime.block_on(async { tokio::join!(accept(listener, dealer, woken, &group), serve) });
            }
        }
        Ok(())
    }
}

/// Accepts and deals out until the phase changes; to drain, also what waits at the listener then. The workers learn by
/// the end of the dealer that no more comes.
async fn accept(
    listener: RuntimeListener,
    mut dealer: Dealer<Admitted>,
    mut woken: watch::Receiver<()>,
    group: &WorkerGroup,
) {
    let context = group.context();
    let mut deal = |stream: StdStream| {
        if let Some(session) = Session::admit(context, &stream) {
            dealer.deal((stream, session));
        }
    };
    while group.phase() == ServerPhase::Run {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            _ = woken.changed() => continue,
        };
        match accepted {
            Ok(stream) => deal(stream),
            Err(e) => {
                if let Accept::After(pause) = context.accept_failed(&e) {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = woken.changed() => {}
                    }
                }
            }
        }
    }
    if group.phase() == ServerPhase::Drain
        && let Ok(listener) = listener.into_std()
    {
        for stream in context.accept_rest(listener) {
            // A reactor needs it. A socket that refuses is broken, and is closed.
            if stream.set_nonblocking(true).is_ok() {
                deal(stream);
            }
        }
    }
}

/// One worker: a task for each connection that is dealt to it. Returns when no more come and the last one has ended, or
/// at `Abort`.
async fn serve(
    mut mailbox: Mailbox<Admitted>,
    mut woken: watch::Receiver<()>,
    group: &WorkerGroup,
    has_panicked: &AtomicBool,
) {
    let context = group.context();
    let buffers = Arc::new(Mutex::new(BufferPool::new(context.options().buffer)));
    let mut tasks = JoinSet::new();
    let look_at = |ended: Result<(), JoinError>| {
        if ended.is_err_and(|e| e.is_panic()) {
            has_panicked.store(true, Ordering::Release);
        }
    };
    loop {
        for admitted in mailbox.take() {
            tasks.spawn(TaskConnection::serve(admitted, Arc::clone(&buffers), Arc::clone(context)));
        }
        if group.phase() == ServerPhase::Abort || tasks.is_empty() && mailbox.is_over() {
            break;
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => look_at(ended),
            _ = woken.changed() => {}
        }
    }
    // Dropping the tasks of an abort drops their connections.
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        look_at(ended);
    }
}

/// One connection. The order matters: the socket is closed before the session counts it as closed.
struct TaskConnection {
    stream: TcpStream,
    session: Session,
    storage: Option<Box<[u8]>>,
    buffers: Arc<Mutex<BufferPool>>,
    context: Arc<Context>,
}

impl TaskConnection {
    async fn serve((stream, mut session): Admitted, buffers: Arc<Mutex<BufferPool>>, context: Arc<Context>) {
        let Ok(stream) = TcpStream::from_std(stream) else { return session.failed() };
        let interval = Session::idle_check_interval(&context);
        let mut connection = TaskConnection { stream, session, storage: None, buffers, context };
        let ended = loop {
            let echo = std::future::poll_fn(|cx| connection.poll_echo(cx));
            let Some(interval) = interval else { break echo.await };
            match tokio::time::timeout(interval, echo).await {
                Ok(ended) => break ended,
                Err(_) if connection.session.is_idle(Instant::now()) => break Ok(()),
                Err(_) => {}
            }
        };
        if ended.is_err() {
            connection.session.failed();
        }
    }

    /// Moves bytes both ways until neither way can go on, or the connection is over. Between the calls a connection
    /// without a backlog holds no buffer. The runtime's budget (`tokio::task::coop`) ends the turn of a connection that
    /// could go on for ever.
    fn poll_echo(&mut self, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let received = self.poll_receive(cx)?;
            let sent = self.poll_send(cx)?;
            if self.session.due().finish {
                // A socket's shutdown never waits.
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.session.fin_sent();
            }
            if self.session.is_over() {
                return Poll::Ready(Ok(()));
            }
            if received.is_pending() && sent.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        if !self.session.due().receive {
            return Poll::Pending;
        }
        let storage = self.storage.get_or_insert_with(|| lock(&self.buffers).take());
        let [first, _] = slices_mut(storage, self.session.space());
        let mut first = ReadBuf::new(first);
        let received = Pin::new(&mut self.stream).poll_read(cx, &mut first)?;
        if received.is_ready() {
            self.session.received(first.filled().len());
        }
        self.give_back();
        received.map(Ok)
    }

    fn poll_send(&mut self, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        let Some(storage) = self.storage.as_ref().filter(|_| self.session.due().send) else { return Poll::Pending };
        let pieces = slices(storage, self.session.pending()).map(io::IoSlice::new);
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces))?;
        self.session.sent(sent);
        self.give_back();
        Poll::Ready(Ok(()))
    }

    fn give_back(&mut self) {
        if self.session.backlog() == 0 {
            self.session.rewind();
            lock(&self.buffers).put(self.storage.take());
        }
    }
}

impl Drop for TaskConnection {
    fn drop(&mut self) {
        if self.context.phase() == ServerPhase::Abort {
            sys::close_with_reset(&self.stream);
        }
        lock(&self.buffers).put(self.storage.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Options, Server};
    use std::io::{Read, Write};
    use std::time::Duration;

    #[test]
    fn a_connection_that_panics_ends_alone_and_the_server_reports_it_at_its_end() {
        for workers in [1, 2] {
            // No allocation can be that large: the first receive panics.
            let options = Options { workers, buffer: usize::MAX, ..Options::default() };
            let server = Server::start_with(run, "tokio", ([127, 0, 0, 1], 0).into(), options).expect("it starts");
            for _ in 0..workers {
                let mut client =
                    std::net::TcpStream::connect(server.address()).expect("it still listens after a panic");
                client.set_read_timeout(Some(Duration::from_secs(60))).expect("a time that is not 0");
                client.write_all(b"x").expect("it is open");
                assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "it echoed");
            }
            let stopped = server.stop(Duration::from_secs(60));
            assert_eq!(stopped.error.as_deref(), Some("the task of a connection panicked"), "{stopped:?}");
            assert!(!stopped.hung && stopped.aborted == 0 && stopped.counters.add_up(), "{stopped:?}");
        }
    }
}
