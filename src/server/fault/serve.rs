//! The sockets of the faulty server: accepts, and runs a task a connection on one `current_thread` runtime, whatever
//! `--workers` says. Simple before fast: nobody measures a faulty server.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::Faulty;
use super::link::{Desk, Link};
use crate::server::context::{Accept, Context, Phase};

pub(super) fn run(faulty: Faulty, listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
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
    let desk = Rc::new(Desk::new(faulty, context));
    LocalSet::new().block_on(&runtime, serve(listener, desk, phase))
}

async fn serve(listener: tokio::net::TcpListener, desk: Rc<Desk>, mut phase: watch::Receiver<()>) -> io::Result<()> {
    let mut links = JoinSet::new();
    let mut listener = Some(listener);
    let result = loop {
        match desk.context.phase() {
            Phase::Run => {}
            Phase::Drain => listener = None,
            Phase::Abort => break Ok(()),
        }
        if listener.is_none() && links.is_empty() {
            break Ok(());
        }
        tokio::select! {
            accepted = accept(listener.as_ref()) => match accepted {
                Ok((stream, peer)) => {
                    if let Some(link) = Link::admit(&desk, stream, peer, phase.clone()) {
                        links.spawn_local(link.serve());
                    }
                }
                Err(error) => {
                    if let Accept::After(pause) = desk.context.accept_failed(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            },
            Some(ended) = links.join_next() => {
                if let Err(panic) = ended.map_err(JoinError::into_panic) {
                    std::panic::resume_unwind(panic);
                }
            }
            error = desk.log_failed() => break Err(error),
            _ = phase.changed() => {}
        }
    };
    // Dropping the tasks drops their connections.
    links.shutdown().await;
    result
}

async fn accept(
    listener: Option<&tokio::net::TcpListener>,
) -> io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
