//! The faulty server itself: accepts connections, and runs one task for each on one `current_thread` runtime, whatever
//! `--workers` says. It is simple rather than fast, because nobody measures a faulty server.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::connection::FaultyConnection;
use super::log::FaultLog;
use super::shared::SharedState;
use super::spec::Fault;
use crate::server::accepting::accept_in_runtime;
use crate::server::context::{Accept, Context};
use crate::server::phase::ServerPhase;

/// A server that injects faults.
pub struct FaultyServer {
    /// The faults; without any it is a plain echo server.
    pub faults: Vec<Fault>,
    /// The seed of all places.
    pub seed: u64,
    /// Where the injected faults are written.
    pub log: FaultLog,
}

impl FaultyServer {
    /// Serves until told to stop, for [`Server::start_with`](crate::server::Server::start_with).
    ///
    /// # Errors
    /// The runtime or the listener fails, or the log can't be written.
    pub fn run(self, listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (wake, phase) = watch::channel(());
        let listener = {
            let _reactor = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        context.ready(move || {
            wake.send_replace(());
        });
        let shared = Rc::new(SharedState::new(self.faults, self.seed, self.log, context));
        LocalSet::new().block_on(&runtime, serve(listener, shared, phase))
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    shared: Rc<SharedState>,
    mut phase: watch::Receiver<()>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    let result = loop {
        match shared.context.phase() {
            ServerPhase::Run => {}
            ServerPhase::Drain => listener = None,
            ServerPhase::Abort => break Ok(()),
        }
        if listener.is_none() && connections.is_empty() {
            break Ok(());
        }
        tokio::select! {
            accepted = accept(listener.as_ref()) => match accepted {
                Ok((stream, peer)) => {
                    if let Some(connection) = FaultyConnection::admit(&shared, stream, peer, phase.clone()) {
                        connections.spawn_local(connection.serve());
                    }
                }
                Err(error) => {
                    if let Accept::After(pause) = shared.context.accept_failed(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended.map_err(JoinError::into_panic) {
                    std::panic::resume_unwind(panic);
                }
            }
            error = shared.log_failed() => break Err(error),
            _ = phase.changed() => {}
        }
    };
    // Dropping the tasks drops their connections.
    connections.shutdown().await;
    result
}

async fn accept(
    listener: Option<&tokio::net::TcpListener>,
) -> io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => accept_in_runtime(listener).await,
        None => std::future::pending().await,
    }
}
