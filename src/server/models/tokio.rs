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
use tokio::task::JoinSet;

use crate::server::Session;
use crate::server::context::{Accept, Context, Phase};
use crate::server::reactor::{Pool, slices, slices_mut};
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
        for (index, runtime) in others.into_iter().enumerate() {
            let (sender, inbox) = unbounded_channel();
            let serve = serve(inbox, phase.clone(), Arc::clone(&context));
            // When it fails, the senders are dropped: the workers that are there see their inbox closed, and end.
            thread::Builder::new()
                .name(format!("{name}-{}", index + 1))
                .spawn_scoped(scope, move || runtime.block_on(serve))?;
            senders.push(sender);
        }
        context.ready(move || {
            wake.send_replace(());
        });
        first.block_on(async {
            let accept = accept(listener, senders, phase.clone(), &context);
            tokio::join!(accept, serve(own_inbox, phase.clone(), Arc::clone(&context)));
        });
        Ok(())
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

/// Accepts and deals out, until the phase changes. The workers learn by their closed inbox that no more will come.
async fn accept(
    listener: tokio::net::TcpListener,
    senders: Vec<UnboundedSender<Dealt>>,
    mut phase: watch::Receiver<()>,
    context: &Arc<Context>,
) {
    let mut next = senders.iter().cycle();
    while context.phase() == Phase::Run {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.changed() => continue,
        };
        // Out of this worker's reactor, and into its own worker's.
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                if let (Some(session), Some(sender)) = (Session::admit(context), next.next()) {
                    // A worker that is gone was told to abort: then the connection is closed here.
                    let _ = sender.send((stream, session));
                }
            }
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
}

/// One worker: a task for each connection dealt to it. Returns when no more come and the last has ended, or at `Abort`.
async fn serve(mut inbox: UnboundedReceiver<Dealt>, mut phase: watch::Receiver<()>, context: Arc<Context>) {
    let pool = Arc::new(Mutex::new(Pool::new(context.options().buffer)));
    let mut tasks = JoinSet::new();
    let mut more = true;
    while context.phase() != Phase::Abort && (more || !tasks.is_empty()) {
        tokio::select! {
            dealt = inbox.recv(), if more => match dealt {
                Some(dealt) => {
                    tasks.spawn(Connection::serve(dealt, Arc::clone(&pool), Arc::clone(&context)));
                }
                None => more = false,
            },
            Some(_) = tasks.join_next() => {}
            _ = phase.changed() => {}
        }
    }
    // Dropping the tasks of an abort drops their connections.
    tasks.shutdown().await;
}

/// One connection. The order matters: the socket is closed before the session counts it as closed.
struct Connection {
    stream: TcpStream,
    session: Session,
    storage: Option<Box<[u8]>>,
    pool: Arc<Mutex<Pool>>,
    context: Arc<Context>,
}

impl Connection {
    async fn serve((stream, mut session): Dealt, pool: Arc<Mutex<Pool>>, context: Arc<Context>) {
        let Ok(stream) = TcpStream::from_std(stream) else { return session.failed() };
        sys::prepare_accepted(&stream);
        let sweep = Session::sweep_every(&context);
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

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}
