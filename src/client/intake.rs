//! The door through which connections come in that reached the backend: the listener offers each, with its first bytes,
//! to the run that is going on. The listener outlives the runs of a suite.

use std::collections::HashSet;
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::measure::BackendLoss;
use crate::plan::RECOGNIZED_BY_BYTES;
use crate::stream::{BackendFault, ConnId};
use crate::sync::lock;

/// The first bytes of a connection: two words of its stream.
pub type FirstWords = [u8; RECOGNIZED_BY_BYTES as usize];

/// How a TLS connection begins: a record of a handshake, of version 3 in the old way of counting (RFC 8446, 5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 3];

/// As many connections are remembered that came late. Findings are kept of far fewer.
const MOST_LATE: usize = 1 << 20;

/// A run that takes over the connections that are halves of its own.
pub(super) trait TakesOver: Send + Sync {
    /// Takes the connection over, if it begins like one of the run. `header`: the address in the header of the PROXY
    /// protocol that came with it. Says also whose address that is.
    fn offer(&self, first: &FirstWords, stream: TcpStream, header: Option<SocketAddr>) -> (Offered, NamedClient);

    /// Whether the connection begins like one of the run.
    fn knows(&self, first: &FirstWords, stream: &TcpStream) -> bool;

    /// Greets a connection that came from this address, if the server speaks first, and returns whether that worked;
    /// gives the connection back if the client does.
    fn greet(&self, stream: TcpStream, from: Option<IpAddr>) -> Result<bool, TcpStream>;

    /// Whether the server speaks first.
    fn greets(&self) -> bool;

    /// The backend serves nobody from now on, or is up again.
    fn set_down(&self, is_down: bool);
}

/// Whose address a header of the PROXY protocol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedClient {
    /// That of the connection's own client.
    Own,
    /// That of the client of another connection, which is open.
    Other(ConnId),
    /// None that is known here, such as another proxy on the way.
    Unknown,
}

/// The door of a backend.
#[derive(Default)]
pub struct Intake {
    run: Mutex<Option<Weak<dyn TakesOver>>>,
    counts: Mutex<IntakeCounts>,
    /// The connections of the run that came after their clients had ended: the first [`MOST_LATE`].
    late: Mutex<HashSet<ConnId>>,
    /// What came of connections of the run that is a fault: the first [`MOST_LATE`].
    faults: Mutex<Vec<IntakeFault>>,
    /// When the run began.
    begun: Mutex<Option<Instant>>,
    /// Runs that have begun.
    runs: AtomicU64,
    is_down: AtomicBool,
    /// What a connection begins with that looks whether the backend can be reached, and whether it has come.
    probe: Mutex<Option<(FirstWords, bool)>>,
    probe_came: Condvar,
    /// Has the listener take note of all that has happened.
    settle: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What came to the backend during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those that were recognized as the halves of connections of the run.
    pub recognized: u64,
    /// Those that began like a connection that another one had begun like before.
    pub repeated: u64,
    /// Those that began like a connection of the run whose client had ended.
    pub late: u64,
    /// Those whose first bytes are no connection's of the run.
    pub unknown: u64,
    /// Those of them that began with a TLS handshake, which nobody had taken away on the way.
    pub tls: u64,
    /// Those that ended, or were closed, before they had sent enough to be recognized.
    pub silent: u64,
    /// Those of the run that came with a header of the PROXY protocol.
    pub with_header: u64,
    /// Those whose header names the address of the client's own socket.
    pub with_client_address: u64,
    /// Those whose header names the address of another client's socket that was open.
    pub with_other_address: u64,
    /// Those that began like such a header, and had none.
    pub broken_headers: u64,
    /// Those that had to come from `echo-tester backend`, and had no token or a wrong one. They are not accepted.
    pub without_token: u64,
    /// Those that came from `echo-tester backend`, where this backend has no token and so does not want one.
    pub unwanted_backends: u64,
    /// The address from which the first one of the run came.
    pub seen_from: Option<IpAddr>,
    /// The first `echo-tester backend` that was lost during the run.
    pub lost: Option<BackendLoss>,
}

/// A connection of the run of which something came to the backend that should not.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntakeFault {
    /// The connection.
    pub(super) conn: ConnId,
    /// What came.
    pub(super) fault: BackendFault,
    /// The connection whose bytes came, or whose client was named.
    pub(super) source: ConnId,
    /// When, after the begin of the run.
    pub(super) at: Duration,
}

/// What became of a connection that was offered to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is the server's half of this connection.
    TakenOver(ConnId),
    /// Its first bytes are no connection's of the run.
    Unknown,
    /// It names a connection that has its half already.
    Repeated(ConnId),
    /// It only looks whether the backend can be reached.
    Probe,
    /// It names a connection of the run whose client has ended.
    Late(ConnId),
}

impl Intake {
    /// A connection was accepted that came from this address. Gives it back if its client speaks first, so that it must
    /// be recognized.
    pub fn accepted(&self, stream: TcpStream, from: Option<IpAddr>) -> Option<TcpStream> {
        lock(&self.counts).accepted += 1;
        let run = lock(&self.run).as_ref().and_then(Weak::upgrade);
        let Some(run) = run else { return Some(stream) };
        match run.greet(stream, from) {
            Ok(is_greeted) => {
                lock(&self.counts).silent += u64::from(!is_greeted);
                None
            }
            Err(stream) => Some(stream),
        }
    }

    /// The number of the run that is going on, if its server speaks first: connections that were opened in advance,
    /// during an earlier one, have not been greeted.
    pub fn greeting_run(&self) -> Option<u64> {
        let run = lock(&self.run).as_ref().and_then(Weak::upgrade);
        run.filter(|run| run.greets()).map(|_| self.runs.load(Ordering::Relaxed))
    }

    /// A client has received the greeting of a connection that came from this address.
    pub(super) fn was_claimed(&self, from: Option<IpAddr>) {
        let mut counts = lock(&self.counts);
        counts.recognized += 1;
        counts.seen_from = counts.seen_from.or(from);
    }

    /// This connection of the run came with a header of the PROXY protocol.
    pub(super) fn had_header(&self, conn: ConnId, named: NamedClient) {
        let mut counts = lock(&self.counts);
        counts.with_header += 1;
        counts.with_client_address += u64::from(named == NamedClient::Own);
        if let NamedClient::Other(source) = named {
            counts.with_other_address += 1;
            drop(counts);
            self.note_fault(conn, BackendFault::HeaderOfAnother, source);
        }
    }

    /// A client has received a greeting that is not its own.
    pub(super) fn was_mistaken(&self, is_known: bool) {
        let mut counts = lock(&self.counts);
        *(if is_known { &mut counts.repeated } else { &mut counts.unknown }) += 1;
    }

    /// A connection sent too little to be recognized.
    pub fn was_silent(&self) {
        lock(&self.counts).silent += 1;
    }

    /// A connection began like a header of the PROXY protocol, and had none.
    pub fn had_broken_header(&self) {
        lock(&self.counts).broken_headers += 1;
    }

    /// A connection came without the token, or with a wrong one.
    pub fn had_no_token(&self) {
        lock(&self.counts).without_token += 1;
    }

    /// A connection came from `echo-tester backend`, and there is no token here.
    pub fn had_unwanted_backend(&self) {
        lock(&self.counts).unwanted_backends += 1;
    }

    /// An `echo-tester backend` at this address was lost.
    pub fn has_lost_backend(&self, address: IpAddr, is_silent: bool) {
        let begun = *lock(&self.begun);
        // Between two runs it is nobody's loss: the next run waits for it.
        let Some(begun) = begun else { return };
        lock(&self.counts).lost.get_or_insert(BackendLoss { address, after: begun.elapsed(), is_silent });
    }

    /// Whether it is known what a connection with these first bytes is, which still lie in its socket. Without a run,
    /// no more is to be known of any.
    pub fn knows(&self, first: &FirstWords, stream: &TcpStream) -> bool {
        let is_probe = lock(&self.probe).is_some_and(|(probe, _)| probe == *first);
        let run = lock(&self.run).as_ref().and_then(Weak::upgrade);
        is_probe || first.starts_with(&TLS_HANDSHAKE) || run.is_none_or(|run| run.knows(first, stream))
    }

    /// Offers a connection with these first bytes, which still lie in its socket, to the run that is going on.
    /// `header`: it came with a header of the PROXY protocol, and what that says of the client's address. `seen_from`:
    /// where it came from.
    pub fn offer(
        &self,
        first: &FirstWords,
        stream: TcpStream,
        header: Option<Option<SocketAddr>>,
        seen_from: Option<IpAddr>,
    ) -> Offered {
        if let Some((_, has_come)) = lock(&self.probe).as_mut().filter(|(probe, _)| probe == first) {
            // A close with bytes unread would be a reset, for which the way could take the backend to be broken.
            let _ = (&stream).read(&mut [0; 4 * RECOGNIZED_BY_BYTES as usize]);
            *has_come = true;
            self.probe_came.notify_all();
            return Offered::Probe;
        }
        // Held until the connection is counted: with its last one a run may end at once, and its end waits for this.
        let current = lock(&self.run);
        let run = current.as_ref().and_then(Weak::upgrade);
        let none = (Offered::Unknown, NamedClient::Unknown);
        let (offered, named) = run.map_or(none, |run| run.offer(first, stream, header.flatten()));
        let mut counts = lock(&self.counts);
        match offered {
            Offered::TakenOver(conn) => {
                counts.recognized += 1;
                counts.seen_from = counts.seen_from.or(seen_from);
                drop(counts);
                if header.is_some() {
                    self.had_header(conn, named);
                }
            }
            Offered::Unknown => {
                counts.unknown += 1;
                counts.tls += u64::from(first.starts_with(&TLS_HANDSHAKE));
            }
            Offered::Repeated(conn) => {
                counts.repeated += 1;
                drop(counts);
                self.note_fault(conn, BackendFault::BeganAgain, conn);
            }
            Offered::Probe => {}
            Offered::Late(conn) => {
                counts.late += 1;
                drop(counts);
                self.note_late(conn);
            }
        }
        offered
    }

    /// From now on, a connection that begins like this only looks whether the backend can be reached. Not during a run.
    pub fn expect_probe(&self, words: FirstWords) {
        *lock(&self.probe) = Some((words, false));
    }

    /// Whether that connection has come, or comes within this time.
    pub fn probe_came(&self, patience: Duration) -> bool {
        let is_missing = |probe: &mut Option<(FirstWords, bool)>| !probe.is_some_and(|(_, has_come)| has_come);
        let waited = self.probe_came.wait_timeout_while(lock(&self.probe), patience, is_missing);
        let (mut probe, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        !is_missing(&mut probe)
    }

    fn note_fault(&self, conn: ConnId, fault: BackendFault, source: ConnId) {
        let mut faults = lock(&self.faults);
        if faults.len() < MOST_LATE {
            let at = lock(&self.begun).map_or(Duration::ZERO, |begun| begun.elapsed());
            faults.push(IntakeFault { conn, fault, source, at });
        }
    }

    fn note_late(&self, conn: ConnId) {
        let mut late = lock(&self.late);
        if late.len() < MOST_LATE {
            late.insert(conn);
        }
    }

    /// The backend is about to go down on purpose, or is up again: what is open while it is down need not reach it.
    pub fn set_down(&self, is_down: bool) {
        // Under the lock, so that a run that begins now misses nothing.
        let run = lock(&self.run);
        self.is_down.store(is_down, Ordering::Relaxed);
        run.as_ref().and_then(Weak::upgrade).inspect(|run| run.set_down(is_down));
    }

    /// This run begins: connections are offered to it from now on.
    pub(super) fn begin(&self, run: Weak<dyn TakesOver>) {
        *lock(&self.counts) = IntakeCounts::default();
        lock(&self.late).clear();
        lock(&self.faults).clear();
        *lock(&self.begun) = Some(Instant::now());
        self.runs.fetch_add(1, Ordering::Relaxed);
        let mut current = lock(&self.run);
        run.upgrade().inspect(|run| run.set_down(self.is_down.load(Ordering::Relaxed)));
        *current = Some(run);
    }

    /// What has come so far.
    pub fn counts(&self) -> IntakeCounts {
        *lock(&self.counts)
    }

    /// The connections of the run that came after their clients had ended.
    pub(super) fn take_late(&self) -> HashSet<ConnId> {
        std::mem::take(&mut *lock(&self.late))
    }

    /// What came of connections of the run that is a fault.
    pub(super) fn take_faults(&self) -> Vec<IntakeFault> {
        let mut faults = std::mem::take(&mut *lock(&self.faults));
        let counts = self.counts();
        // Of a proxy behind another one, a port may be a client's too, by chance. Most headers are of no client then.
        if 2 * (counts.with_client_address + counts.with_other_address) < counts.with_header {
            faults.retain(|fault| fault.fault != BackendFault::HeaderOfAnother);
        }
        faults
    }

    /// Does this before the end of each run. Only the first call counts.
    pub fn before_end(&self, settle: impl Fn() + Send + Sync + 'static) {
        let _ = self.settle.set(Box::new(settle));
    }

    /// The run has ended. Returns what came during it.
    pub(super) fn end(&self) -> IntakeCounts {
        self.settle.get().into_iter().for_each(|settle| settle());
        *lock(&self.run) = None;
        *lock(&self.begun) = None;
        self.counts()
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("counts", &*lock(&self.counts)).finish_non_exhaustive()
    }
}
