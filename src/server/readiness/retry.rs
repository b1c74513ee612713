//! Sends that are tried although nothing says that they would succeed, for the readiness models of Windows.
//!
//! A connection that waits only to send (its buffer is full, or its peer's FIN has come) can break without a report.
//! `select` promises that a broken connection is readable, not that it is writable. WSAAsyncSelect and WSAEventSelect
//! report FD_CLOSE once: if that was for the FIN, none is left for a reset. A send shows it: it fails with
//! WSAECONNRESET, or would block. So such connections try to send every [`EVERY`]; a server without any waits without
//! end.
//!
//! Sources: Microsoft, 'select function' (which set reports what), 'WSAAsyncSelect' (FD_CLOSE).

use std::time::{Duration, Instant};

use crate::server::readiness::connection::Interest;

/// The time between two tries, and so the longest time until a broken connection is found.
pub(in crate::server) const EVERY: Duration = Duration::from_secs(1);

/// Whether a connection with this interest can break without a report.
pub(in crate::server) fn only_sends(interest: Interest) -> bool {
    interest.write && !interest.read
}

/// When to send again.
#[derive(Debug, Default)]
pub(in crate::server) struct Retry {
    at: Option<Instant>,
}

impl Retry {
    /// How long the next wait may last. `some_only_send`: there are connections that only send; without any, it is
    /// `limit`.
    pub(in crate::server) fn limit(&mut self, some_only_send: bool, limit: Option<Duration>) -> Option<Duration> {
        if !some_only_send {
            self.at = None;
            return limit;
        }
        self.limit_at(Instant::now(), limit)
    }

    /// Whether those connections are to send now. Ask after each wait.
    pub(in crate::server) fn is_due(&mut self) -> bool {
        self.at.is_some() && self.is_due_at(Instant::now())
    }

    fn limit_at(&mut self, now: Instant, limit: Option<Duration>) -> Option<Duration> {
        // Not set again at each wait: under load no wait lasts that long.
        let left = self.at.get_or_insert(now + EVERY).saturating_duration_since(now);
        Some(limit.map_or(left, |limit| limit.min(left)))
    }

    fn is_due_at(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
pub(in crate::server) mod tests {
    use std::io::Write;
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread::JoinHandle;

    use socket2::{Domain, SockRef, Socket, Type};

    use super::*;
    use crate::server::readiness::connection::NonblockingConnection;
    use crate::server::{Context, Options};

    /// A connection whose client reads nothing. It sends more than the sockets hold, but no more than the server does,
    /// and a FIN: once the server has the FIN, the connection only sends.
    pub(in crate::server) fn deaf_client() -> (JoinHandle<TcpStream>, NonblockingConnection, Arc<Context>) {
        const SOCKET_BUFFER: usize = 64 * 1024;
        let context = Arc::new(Context::new(Options { buffer: 8 << 20, ..Options::default() }, channel().0));
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a listener");
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_recv_buffer_size(SOCKET_BUFFER).expect("a socket option");
        client.connect(&listener.local_addr().expect("bound").into()).expect("a connection");
        let (accepted, _) = listener.accept().expect("accepted");
        SockRef::from(&accepted).set_send_buffer_size(SOCKET_BUFFER).expect("a socket option");
        let connection = NonblockingConnection::new(accepted, &context).expect("it is admitted");
        let sending = std::thread::spawn(move || {
            let mut client = TcpStream::from(client);
            client.write_all(&vec![7; 4 << 20]).expect("the server takes all of it");
            client.shutdown(Shutdown::Write).expect("a FIN");
            client
        });
        (sending, connection, context)
    }

    /// Closes it with a reset.
    pub(in crate::server) fn reset(client: TcpStream) {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    #[test]
    fn only_a_connection_that_waits_only_to_send_can_break_without_a_report() {
        let interests = [(true, false), (true, true), (false, true), (false, false)];
        assert_eq!(interests.map(|(read, write)| only_sends(Interest { read, write })), [false, false, true, false]);
    }

    #[test]
    fn a_wait_is_shortened_only_while_there_are_such_connections() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        let hour = Some(Duration::from_secs(3600));
        assert_eq!([None, hour].map(|limit| retry.limit(false, limit)), [None, hour]);
        assert_eq!(retry.limit_at(now, hour), Some(EVERY));
        assert_eq!(retry.limit_at(now, Some(EVERY / 2)), Some(EVERY / 2));
        assert_eq!(retry.limit(false, None), None);
        assert!(!retry.is_due_at(now + EVERY), "there are none any more");
    }

    #[test]
    fn waits_that_end_early_do_not_delay_the_next_try() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        for tenth in 0..10 {
            let at = now + EVERY / 10 * tenth;
            assert_eq!(retry.limit_at(at, None), Some(EVERY / 10 * (10 - tenth)));
            assert!(!retry.is_due_at(at));
        }
        assert!(retry.is_due_at(now + EVERY) && !retry.is_due_at(now + EVERY), "once");
        assert_eq!(retry.limit_at(now + EVERY, None), Some(EVERY), "and again");
    }
}
