//! Starts and stops a server: binds the listener, runs the model on a thread of its own, and ends it in three steps:
//! drain, abort, and if it still runs, report it as hung.

#[cfg(not(unix))]
use std::convert::Infallible as SocketFile;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::context::{Context, CountersSnapshot};
use super::models::{AUTO_TLS, Model};
use super::phase::ServerPhase;
use super::tls::TlsServer;
#[cfg(unix)]
use super::unix_socket::{self, SocketFile};
use super::{Options, context};
use crate::sys;
use crate::sys::advice;
use crate::transport::Endpoint;

/// How long a model may take until it would serve a connection.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end after it was told to abort.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server.
pub struct Server {
    endpoint: Endpoint,
    /// The file of its Unix domain socket, which is removed with it.
    _file: Option<SocketFile>,
    context: Arc<Context>,
    thread: Option<JoinHandle<()>>,
    events: Receiver<ServerEvent>,
    interrupt: Sender<ServerEvent>,
}

/// What ends a wait for the server.
enum ServerEvent {
    Ended(io::Result<()>),
    Interrupted,
}

/// How [`Server::wait`] ended.
#[derive(Debug)]
pub enum Waited {
    /// The model returned: during a drain because all its connections have ended, before it because it failed.
    Ended(io::Result<()>),
    /// An [`interrupter`](Server::interrupter) was called.
    Interrupted,
    /// The time limit has passed.
    TimedOut,
}

/// How a server ended.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The counters at the end.
    pub counters: CountersSnapshot,
    /// Connections that were still open at the end of the drain time, and were then aborted.
    pub aborted: u64,
    /// The model did not return even after the abort. Its thread is still there.
    pub hung: bool,
    /// The model's error or panic, if it ended with one.
    pub error: Option<String>,
}

impl Server {
    /// Binds `address` (port 0 allowed) and starts `model`; returns when a connection would be served.
    ///
    /// # Errors
    /// The address can't be bound, the model is not in this build, its probe fails (an old kernel, a seccomp filter …),
    /// or it ended before it was ready.
    pub fn start(model: &Model, address: SocketAddr, options: Options) -> io::Result<Server> {
        Self::start_at(model, None, address.into(), options)
    }

    /// The same at any endpoint, and over TLS if it is given what that needs.
    ///
    /// # Errors
    /// As for [`start`](Self::start), or the model does not speak TLS.
    pub fn start_at(model: &Model, tls: Option<TlsServer>, at: Endpoint, options: Options) -> io::Result<Server> {
        let unsupported = |why: String| io::Error::new(io::ErrorKind::Unsupported, why);
        let run = model.run.ok_or_else(|| {
            let Model { name, os, .. } = model;
            unsupported(format!("the model '{name}' needs {os}; 'echo-tester models' lists what runs here"))
        })?;
        (model.probe)().map_err(|e| {
            io::Error::new(e.kind(), format!("the model '{}' can't run on this machine: {e}", model.name))
        })?;
        match (tls, model.run_tls) {
            (None, _) => Self::start_with(run, model.name, at, options),
            (Some(tls), Some(run)) => {
                Self::start_with(move |listener, context| run(listener, context, tls), model.name, at, options)
            }
            (Some(_), None) => Err(unsupported(format!("the model '{}' speaks no TLS: take '{AUTO_TLS}'", model.name))),
        }
    }

    /// The same for a `run` that is not in the table: the servers that are faulty on purpose.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with<R>(run: R, name: &str, at: Endpoint, options: Options) -> io::Result<Server>
    where
        R: FnOnce(TcpListener, Arc<Context>) -> io::Result<()> + Send + 'static,
    {
        let Bound { listener, endpoint, file } =
            listen(&at, &options).map_err(|e| io::Error::new(e.kind(), format!("can't listen on {at}: {e}")))?;
        let (announce, ready) = channel();
        let (interrupt, events) = channel();
        let end = interrupt.clone();
        let context = Arc::new(context::Context::new(options, announce));
        let of_model = Arc::clone(&context);
        let thread = std::thread::Builder::new().name(format!("serve-{name}")).spawn(move || {
            let run = AssertUnwindSafe(|| run(listener, Arc::clone(&of_model)));
            let result = catch_unwind(run).unwrap_or_else(|_| Err(io::Error::other("the server's thread panicked")));
            let result = result.and_then(|()| of_model.nothing_outstanding());
            // The receiver is gone only when the server was reported as hung.
            let _ = end.send(ServerEvent::Ended(result));
            of_model.never_ready();
        });
        let thread = thread.map_err(|error| advice::refused("thread", &error))?;
        let server = Server { endpoint, _file: file, context, thread: Some(thread), events, interrupt };
        // Ready, or ended before that.
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(()) => Ok(server),
            Err(RecvTimeoutError::Timeout) => {
                server.context.advance(ServerPhase::Abort);
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the model '{name}' was not ready after {START_TIMEOUT:?}"),
                ))
            }
            Err(RecvTimeoutError::Disconnected) => Err(server.why_it_ended(name)),
        }
    }

    fn why_it_ended(self, name: &str) -> io::Error {
        match self.ended(ABORT_TIMEOUT) {
            Some(Err(e)) => io::Error::new(e.kind(), format!("the model '{name}' could not start: {e}")),
            _ => io::Error::other(format!("the model '{name}' ended before it was ready")),
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The address where it listens.
    ///
    /// # Panics
    /// It listens at a Unix domain socket, or at a port of vsock.
    pub fn address(&self) -> SocketAddr {
        match &self.endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(_) | Endpoint::Vsock { .. } => panic!("{} has no address", self.endpoint),
        }
    }

    /// The counters now.
    pub fn counters(&self) -> CountersSnapshot {
        self.context.snapshot()
    }

    /// Waits until the model ends, the wait is interrupted, or `time` is over (`None`: without end).
    pub fn wait(&self, time: Option<Duration>) -> Waited {
        let event = match time {
            Some(time) => self.events.recv_timeout(time),
            None => self.events.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(ServerEvent::Ended(result)) => Waited::Ended(result),
            Ok(ServerEvent::Interrupted) => Waited::Interrupted,
            Err(_) => Waited::TimedOut,
        }
    }

    /// Calls this, once, when descriptors, memory, threads or processes are short for a connection.
    pub fn on_shortage(&self, complain: impl Fn(&io::Error) + Send + Sync + 'static) {
        self.context.on_shortage(complain);
    }

    /// Interrupts a [`wait`](Self::wait) from any thread, or the next one if there is none now.
    pub fn interrupter(&self) -> impl Fn() + Send + Clone + 'static {
        let interrupt = self.interrupt.clone();
        move || {
            // When the server is gone, nobody waits.
            let _ = interrupt.send(ServerEvent::Interrupted);
        }
    }

    /// Waits up to `time` for the model to end, whatever interrupts the wait. `None`: it still runs.
    pub fn ended(&self, time: Duration) -> Option<io::Result<()>> {
        let end = Instant::now() + time;
        loop {
            match self.wait(Some(end.saturating_duration_since(Instant::now()))) {
                Waited::Ended(result) => return Some(result),
                Waited::Interrupted => {}
                Waited::TimedOut => return None,
            }
        }
    }

    /// Tells the model to accept no more and to return when its connections have ended. Returns at once.
    pub fn drain(&self) {
        self.context.advance(ServerPhase::Drain);
    }

    /// Tells the model to close everything and return. Returns at once.
    pub fn abort(&self) {
        self.context.advance(ServerPhase::Abort);
    }

    /// Drains for up to `drain`, then aborts, then gives up. The counters are returned in any case.
    pub fn stop(self, drain: Duration) -> Stopped {
        self.drain();
        if let Some(result) = self.ended(drain) {
            return self.finish(result);
        }
        let aborted = self.counters().active();
        self.abort();
        let ended = self.ended(ABORT_TIMEOUT);
        self.stopped(aborted, ended)
    }

    /// Collects the rest after [`wait`](Self::wait) has returned the model's `result`.
    pub fn finish(self, result: io::Result<()>) -> Stopped {
        self.stopped(0, Some(result))
    }

    fn stopped(mut self, aborted: u64, ended: Option<io::Result<()>>) -> Stopped {
        let hung = ended.is_none();
        if let Some(thread) = self.thread.take()
            && !hung
        {
            // A panic was caught, and is the result already.
            let _ = thread.join();
        }
        let error = ended.and_then(Result::err).map(|e| e.to_string());
        Stopped { counters: self.context.snapshot(), aborted, hung, error }
    }
}

impl Drop for Server {
    /// A server that is dropped without a stop, as by a failed test, does not go on listening.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.context.advance(ServerPhase::Abort);
        }
    }
}

/// A listener, and where it listens.
struct Bound {
    listener: TcpListener,
    endpoint: Endpoint,
    file: Option<SocketFile>,
}

fn listen(at: &Endpoint, options: &Options) -> io::Result<Bound> {
    match at {
        Endpoint::Tcp(address) => {
            let listener = listen_at_address(*address, options)?;
            Ok(Bound { endpoint: listener.local_addr()?.into(), listener, file: None })
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            let (listener, file) = unix_socket::listen(path, sys::listen_backlog(options.backlog))?;
            Ok(Bound { listener, endpoint: at.clone(), file: Some(file) })
        }
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        Endpoint::Vsock { .. } => {
            let (socket, address) = at.socket()?;
            socket.bind(&address).map_err(|error| at.explained(error))?;
            socket.listen(sys::listen_backlog(options.backlog))?;
            Ok(Bound { endpoint: at.bound(&socket), listener: socket.into(), file: None })
        }
    }
}

/// A listener with the same socket options for every model, so that the comparison is fair.
fn listen_at_address(address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket = sys::bound_socket(address, options.reuse_port)?;
    socket.listen(sys::listen_backlog(options.backlog))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(run: fn(TcpListener, Arc<Context>) -> io::Result<()>) -> io::Result<Server> {
        Server::start_with(run, "broken", ([127, 0, 0, 1], 0).into(), Options::default())
    }

    #[test]
    fn an_address_that_can_not_be_bound_is_named() {
        // Its network interface does not exist. Without IPv6 the bind fails earlier.
        let address: SocketAddr = "[fe80::1%4000000000]:0".parse().expect("it is an address");
        let run = |_, _| Ok(());
        let error =
            Server::start_with(run, "none", address.into(), Options::default()).err().expect("it can't be bound");
        assert!(error.to_string().starts_with(&format!("can't listen on {address}: ")), "{error}");
    }

    #[test]
    fn the_error_of_a_model_that_ends_before_it_is_ready_is_reported_at_once() {
        let error = start(|_, _| Err(io::Error::other("no ring"))).err().expect("it never served");
        assert_eq!(error.to_string(), "the model 'broken' could not start: no ring");
    }

    #[test]
    fn a_model_that_panics_before_it_is_ready_is_an_error() {
        let error = start(|_, _| panic!("a test's panic")).err().expect("it never served");
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    /// Becomes ready, and then does nothing until the phase.
    fn wait_for(phase: ServerPhase, context: &Arc<Context>) {
        let (sender, woken) = channel();
        let sender = std::sync::Mutex::new(sender);
        context.ready(move || {
            let _ = sender.lock().expect("no test panics with it").send(());
        });
        while context.phase() < phase {
            woken.recv().expect("the context keeps the sender");
        }
    }

    #[test]
    fn a_model_that_ends_before_its_operations_is_an_error() {
        let ended = start(|_, context| {
            wait_for(ServerPhase::Drain, &context);
            (0..3).for_each(|_| context.operation_begins());
            context.operation_ended();
            Ok(())
        });
        let error = ended.expect("it was ready").stop(START_TIMEOUT).error.expect("two operations are outstanding");
        assert!(error.contains("operations outstanding (2)"), "{error}");
    }

    #[test]
    fn an_error_or_a_panic_after_the_stop_began_is_reported() {
        let failing = start(|_, context| {
            wait_for(ServerPhase::Drain, &context);
            Err(io::Error::other("a broken wait"))
        });
        let stopped = failing.expect("it was ready").stop(START_TIMEOUT);
        assert_eq!((stopped.error.as_deref(), stopped.hung), (Some("a broken wait"), false));
        let panicking = start(|_, context| {
            wait_for(ServerPhase::Abort, &context);
            panic!("a test's panic");
        });
        let stopped = panicking.expect("it was ready").stop(Duration::ZERO);
        assert_eq!((stopped.error.as_deref(), stopped.hung), (Some("the server's thread panicked"), false));
        let orderly = start(|_, context| {
            wait_for(ServerPhase::Drain, &context);
            Ok(())
        });
        assert_eq!(orderly.expect("it was ready").stop(START_TIMEOUT).error, None);
    }
}
