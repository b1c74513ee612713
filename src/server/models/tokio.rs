//! `tokio` (every OS): a task a connection under an asynchronous runtime.
//!
//! **Mechanism.** The code reads like `threads`, but `await` gives the thread back: the runtime's reactor (epoll,
//! kqueue, and on Windows readiness asked of the socket driver, AFD) says which sockets are ready, and its scheduler
//! runs their tasks. Each worker is a thread with a `current_thread` runtime of its own, so a connection never changes
//! its thread; the first one accepts and deals the connections out in turn.
//!
//! **Drawbacks.** The reactor is edge-triggered and a task is told once: it must try until a call would block. So a
//! round trip costs one receive more than in `epoll` unless a short one is believed (tokio believes it where the system
//! allows), and a scheduler runs in between.
//!
//! **Limit.** None that matters: descriptors.
//!
//! A task that panics ends its own connection; the server goes on, and says so at its end.
//!
//! Source: tokio's documentation (`TcpStream::ready`, `try_read`, 'Cancel safety').

use std::io;
use std::net::{TcpListener, TcpStream as Accepted};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::thread;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::server::Session;
use crate::server::context::{Accept, Context, Phase};
use crate::server::readiness::connection::{BufferPool, slices, slices_mut};
use crate::sys;

/// A connection on its way to its worker.
type Dealt = (Accepted, Session);

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let workers = context.options().workers.max(1);
    let first = runtime()?;
    let others = (1..workers).map(|_| runtime()).collect::<io::Result<Vec<_>>>()?;
    let listener = {
        let _reactor = first.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (wake, phase) = watch::channel(());
    let name = thread::current().name().unwrap_or("serve").to_owned();
    thread::scope(|scope| {
        let (sender, own_inbox) = unbounded_channel();
        let mut senders = vec![sender];
        let mut handles = Vec::new();
        for (index, runtime) in others.into_iter().enumerate() {
            let (sender, inbox) = unbounded_channel();
            let serve = serve(inbox, phase.clone(), Arc::clone(&context));
            // When it fails, the senders are dropped: the workers that are there see their inbox closed, and end.
            let builder = thread::Builder::new().name(format!("{name}-{}", index + 1));
            handles.push(builder.spawn_scoped(scope, move || runtime.block_on(serve))?);
            senders.push(sender);
        }
        context.ready(move || {
            wake.send_replace(());
        });
        let mut result = first.block_on(async {
            let accept = accept(listener, senders, phase.clone(), &context);
            tokio::join!(accept, serve(own_inbox, phase.clone(), Arc::clone(&context))).1
        });
        for handle in handles {
            result = result.and(handle.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))));
        }
        result
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

/// Accepts and deals out, until the phase changes, and to drain also what waits then. The workers learn by their closed
/// inbox that no more will come.
async fn accept(
    listener: tokio::net::TcpListener,
    senders: Vec<UnboundedSender<Dealt>>,
    mut phase: watch::Receiver<()>,
    context: &Arc<Context>,
) {
    let mut next = senders.iter().cycle();
    let mut deal = |stream: Accepted| {
        if let (Some(session), Some(sender)) = (Session::admit(context, &stream), next.next()) {
            // A worker that is gone was told to abort: then the connection is closed here.
            let _ = sender.send((stream, session));
        }
    };
    while context.phase() == Phase::Run {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.changed() => continue,
        };
        // Out of this worker's reactor, and into its own worker's.
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => deal(stream),
            Err(e) => {
                if let Accept::After(pause) = context.accept_failed(&e) {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = phase.changed() => {}
                    }
                }
            }
        }
    }
    if context.phase() == Phase::Drain
        && let Ok(listener) = listener.into_std()
    {
        context.accept_rest(&listener, |stream| {
            // A reactor wants it so; one that refuses is broken, and closed.
            if stream.set_nonblocking(true).is_ok() {
                deal(stream);
            }
        });
    }
}

/// One worker: a task for each connection dealt to it. Returns when no more come and the last has ended, or at `Abort`.
async fn serve(
    mut inbox: UnboundedReceiver<Dealt>,
    mut phase: watch::Receiver<()>,
    context: Arc<Context>,
) -> io::Result<()> {
    let pool = Arc::new(Mutex::new(BufferPool::new(context.options().buffer)));
    let mut tasks = JoinSet::new();
    let mut more = true;
    let mut result = Ok(());
    let mut look_at = |ended: Result<(), JoinError>| {
        if ended.is_err_and(|e| e.is_panic()) {
            result = Err(io::Error::other("the task of a connection panicked"));
        }
    };
    while context.phase() != Phase::Abort && (more || !tasks.is_empty()) {
        tokio::select! {
            dealt = inbox.recv(), if more => match dealt {
                Some(dealt) => {
                    tasks.spawn(Connection::serve(dealt, Arc::clone(&pool), Arc::clone(&context)));
                }
                None => more = false,
            },
            Some(ended) = tasks.join_next() => look_at(ended),
            _ = phase.changed() => {}
        }
    }
    // Dropping the tasks of an abort drops their connections.
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        look_at(ended);
    }
    result
}

/// One connection. The order matters: the socket is closed before the session counts it as closed.
struct Connection {
    stream: TcpStream,
    session: Session,
    storage: Option<Box<[u8]>>,
    pool: Arc<Mutex<BufferPool>>,
    context: Arc<Context>,
}

impl Connection {
    async fn serve((stream, mut session): Dealt, pool: Arc<Mutex<BufferPool>>, context: Arc<Context>) {
        let Ok(stream) = TcpStream::from_std(stream) else { return session.failed() };
        let sweep = Session::idle_check_interval(&context);
        let mut connection = Connection { stream, session, storage: None, pool, context };
        let ended = loop {
            let echo = std::future::poll_fn(|cx| connection.poll_echo(cx));
            let Some(sweep) = sweep else { break echo.await };
            match tokio::time::timeout(sweep, echo).await {
                Ok(ended) => break ended,
                Err(_) if connection.session.is_idle(Instant::now()) => break Ok(()),
                Err(_) => {}
            }
        };
        if ended.is_err() {
            connection.session.failed();
        }
    }

    /// Moves bytes both ways until neither way can, or the connection is over. Between the calls a connection without a
    /// backlog holds no buffer. The runtime's budget (`tokio::task::coop`) ends the turn of one that could go on for
    /// ever.
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
        let storage = self.storage.get_or_insert_with(|| lock(&self.pool).take());
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
            lock(&self.pool).put(self.storage.take());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.context.phase() == Phase::Abort {
            sys::close_with_reset(&self.stream);
        }
        lock(&self.pool).put(self.storage.take());
    }
}

fn lock(pool: &Mutex<BufferPool>) -> MutexGuard<'_, BufferPool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Options, Server};
    use std::io::{Read, Write};
    use std::time::Duration;

    #[test]
    fn a_connection_that_panics_ends_alone_and_the_server_says_so_in_the_end() {
        for workers in [1, 2] {
            // A buffer that no allocation can have: the first receive panics.
            let options = Options { workers, buffer: usize::MAX, ..Options::default() };
            let server = Server::start_with(run, "tokio", ([127, 0, 0, 1], 0).into(), options).expect("it starts");
            for _ in 0..workers {
                let mut client = std::net::TcpStream::connect(server.address()).expect("it listens, after a panic too");
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
