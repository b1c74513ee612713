//! Accepts for the models that are notified once of a connection, and again only after an accept (FD_ACCEPT of
//! WSAEventSelect and WSAAsyncSelect).

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::connection::NonblockingConnection;
use crate::server::accepting::accept;
use crate::server::pool::{GrowingPool, PoolWorker};
use crate::server::{Accept, ServerPhase};

/// Accepts one connection and has it served. Call it once for each FD_ACCEPT. The listener must be nonblocking.
///
/// It does not accept in a row until the accept would block. On Windows that would re-arm FD_ACCEPT too. Under Wine 8.0
/// it would not, and after a notice whose client has gone, no other would come.
pub(in crate::server) fn accept_one<W>(listener: &TcpListener, pool: &mut GrowingPool<W>)
where
    W: PoolWorker<Connection = NonblockingConnection>,
{
    // While descriptors or memory are short, the client waits in the backlog, and no other notice comes for it.
    while let Err(Accept::After(pause)) = try_accept(listener, pool)
        && pool.phase() == ServerPhase::Run
    {
        std::thread::sleep(pause);
    }
}

/// Accepts the last connections that wait at the listener, closes it, and has them served. Call it when the phase is no
/// longer `Run`; unless it is `Drain`, it only closes. The listener must be nonblocking.
pub(in crate::server) fn accept_rest<W>(listener: TcpListener, pool: &mut GrowingPool<W>)
where
    W: PoolWorker<Connection = NonblockingConnection>,
{
    if pool.phase() != ServerPhase::Drain {
        return;
    }
    let context = Arc::clone(pool.group().context());
    for stream in context.accept_rest(listener) {
        // If it can't be served, it is closed, and counted.
        let connection = NonblockingConnection::new(stream, &context);
        if let Some(Err(error)) = connection.map(|connection| pool.hand_over(connection)) {
            context.accept_failed(&error);
        }
    }
}

fn try_accept<W>(listener: &TcpListener, pool: &mut GrowingPool<W>) -> Result<(), Accept>
where
    W: PoolWorker<Connection = NonblockingConnection>,
{
    let context = pool.group().context();
    let result = match accept(listener) {
        Ok(stream) => match NonblockingConnection::new(stream, context) {
            Some(connection) => pool.hand_over(connection),
            None => Ok(()),
        },
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(e) => Err(e),
    };
    result.map_err(|e| pool.group().context().accept_failed(&e))
}
