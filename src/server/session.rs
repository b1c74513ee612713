//! One served connection as its model sees it: [`Echo`]'s rules with the counters attached. So no model can forget to
//! count, and the discarded bytes are known however the connection ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::context::Context;
use super::echo::{Due, Echo, Pieces};

/// The rules and the accounting of one connection. Dropping it counts the connection as closed, and its pending bytes
/// as discarded.
pub struct Session {
    context: Arc<Context>,
    echo: Echo,
    /// When bytes last moved. Kept only under `--idle-timeout`, since reading the clock at each call is not free.
    active: Option<Instant>,
}

impl Session {
    /// A session for an accepted socket, if it is admitted. `None`: `--max-conns` are open; close the socket at once
    /// (it is counted as refused).
    pub fn admit<'s>(context: &Arc<Context>, accepted: impl Into<SockRef<'s>>) -> Option<Session> {
        context.admit(accepted).then(|| Session::new(context))
    }

    /// The same for tests that have no socket.
    #[cfg(all(test, not(windows)))]
    pub(super) fn without_socket(context: &Arc<Context>) -> Option<Session> {
        context.count_accepted().then(|| Session::new(context))
    }

    fn new(context: &Arc<Context>) -> Session {
        Session {
            echo: Echo::new(context.options().buffer),
            active: context.options().idle_timeout.map(|_| Instant::now()),
            context: Arc::clone(context),
        }
    }

    /// Its server.
    #[cfg(any(windows, test))]
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// See [`Echo::space`].
    pub fn space(&self) -> Pieces {
        self.echo.space()
    }

    /// See [`Echo::pending`].
    pub fn pending(&self) -> Pieces {
        self.echo.pending()
    }

    /// See [`Echo::due`].
    pub fn due(&self) -> Due {
        self.echo.due()
    }

    /// See [`Echo::capacity`].
    pub fn capacity(&self) -> usize {
        self.echo.capacity()
    }

    /// See [`Echo::backlog`].
    pub fn backlog(&self) -> usize {
        self.echo.backlog()
    }

    /// See [`Echo::rewind`].
    pub fn rewind(&mut self) {
        self.echo.rewind();
    }

    /// Bytes that the connection may have in the server: the most that [`moved`](Self::moved) may be given.
    pub fn limit(&self) -> usize {
        self.context.options().buffer
    }

    /// See [`Echo::moved`].
    pub fn moved(&mut self, capacity: usize) {
        self.echo.moved(capacity);
    }

    /// A receive returned `n` bytes; 0 is the peer's FIN.
    pub fn received(&mut self, n: usize) {
        if n == 0 {
            self.echo.fin_received();
        } else {
            self.echo.received(n);
            self.context.received(n as u64);
        }
        self.touch();
    }

    /// A send took `n` bytes.
    pub fn sent(&mut self, n: usize) {
        self.echo.sent(n);
        self.context.sent(n as u64);
        self.touch();
    }

    /// The FIN was sent.
    pub fn fin_sent(&mut self) {
        self.echo.fin_sent();
    }

    /// See [`Echo::is_over`].
    pub fn is_over(&self) -> bool {
        self.echo.is_over()
    }

    /// The connection broke, by a reset or any other error. Counts it, so call it once.
    pub fn failed(&mut self) {
        self.context.failed();
    }

    /// Whether `--idle-timeout` has passed for this connection; then close it. Counts it, so ask once.
    pub fn is_idle(&self, now: Instant) -> bool {
        let (Some(limit), Some(active)) = (self.context.options().idle_timeout, self.active) else {
            return false;
        };
        let idle = now.saturating_duration_since(active) >= limit;
        if idle {
            self.context.idle();
        }
        idle
    }

    /// A call has timed out: nothing has moved for `--idle-timeout`. Close the connection. Counts it, so call it once.
    pub fn timed_out(&mut self) {
        self.context.idle();
    }

    /// How often a model should look for idle connections; `None`: never, and its wait may be endless.
    pub fn idle_check_interval(context: &Context) -> Option<Duration> {
        let limit = context.options().idle_timeout?;
        Some((limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)))
    }

    fn touch(&mut self) {
        if self.active.is_some() {
            self.active = Some(Instant::now());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.closed(self.echo.backlog() as u64);
    }
}
