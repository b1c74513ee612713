//! `echo-tester backend`: where the proxy can't reach the tester, this is its backend, and carries each connection to
//! the tester. It judges nothing and knows no stream.
//!
//! - [`Relay`] has the life of it: it pairs with the tester, listens only while the tester is there, and ends in order.
//! - `control` is the connection that pairs the two: `place` the address where the proxy connects.
//! - `carrier` carries one connection, with its FINs, its resets and its back-pressure.
//!
//! The tester's half of the pairing stands in [`peer`](crate::peer), what they say to each other in `transport`.

mod carrier;
mod control;
mod place;

use std::io;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::sys;
use crate::transport::{ControlWord, PairingToken, carried_header};
use carrier::carry;
use control::{ControlLink, NotPaired};
use place::Place;

/// The pause before the tester is looked for again.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// How long connections may still take to end when the tester has gone, or when this is to stop.
const LAST_TIME: Duration = Duration::from_secs(5);

/// What a relay is told.
#[derive(Debug)]
pub struct RelayOptions {
    /// Where the proxy connects to.
    pub listen: SocketAddr,
    /// Where the tester is: `HOST:PORT`.
    pub tester: String,
    /// What both share.
    pub token: PairingToken,
    /// The most connections at a time. Further ones are reset.
    pub max_conns: usize,
    /// End when the first tester has gone.
    pub once: bool,
}

/// Something that its user wants to know at once.
#[derive(Debug)]
pub enum RelayEvent<'e> {
    /// The tester is not there, and why. Told once; it is looked for again and again.
    Absent(&'e str),
    /// The tester has another token. Told once; the next one may have the right one.
    WrongToken,
    /// It takes connections for the tester at this address.
    Listening {
        /// Where it listens.
        address: SocketAddr,
        /// The tester.
        tester: SocketAddr,
    },
    /// Something takes connections where the tester should be, and does not answer.
    Silent,
    /// It can't listen again where it did.
    Lost(&'e io::Error),
    /// The tester has gone.
    Gone,
}

impl<'e> From<&'e NotPaired> for RelayEvent<'e> {
    fn from(why: &'e NotPaired) -> Self {
        match why {
            NotPaired::WrongToken => RelayEvent::WrongToken,
            NotPaired::Absent(why) => RelayEvent::Absent(why),
            NotPaired::Silent => RelayEvent::Silent,
        }
    }
}

/// Why a relay ended that nobody had asked to.
#[derive(Debug)]
pub enum RelayFailure {
    /// It can't listen.
    Listen(io::Error),
    /// The tester has another token, and was the only one.
    WrongToken,
    /// The runtime could not be started.
    Start(io::Error),
}

/// What a relay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RelayCounts {
    /// Connections that were accepted for the tester.
    pub accepted: u64,
    /// Those that were reset at once, because there were too many.
    pub refused: u64,
    /// Those that were reset because the tester could not be reached.
    pub unreached: u64,
    /// Those that were carried and ended by a reset.
    pub resets: u64,
    /// Bytes carried to the tester.
    pub bytes_to_tester: u64,
    /// Bytes carried to the proxy.
    pub bytes_to_proxy: u64,
}

/// Stops a relay from any thread: the first call lets it end in order, the second one at once.
#[derive(Clone, Debug)]
pub struct RelayStopper(Arc<watch::Sender<u32>>);

impl RelayStopper {
    /// Asks once.
    pub fn stop(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// The requests to stop.
#[derive(Clone)]
struct RelayStops(watch::Receiver<u32>);

impl RelayStops {
    /// Waits until there are this many requests.
    async fn reached(&mut self, count: u32) {
        if self.0.wait_for(|requests| *requests >= count).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending().await
        }
    }
}

/// A relay that does not run yet.
pub struct Relay {
    options: RelayOptions,
    place: Place,
    stop: RelayStops,
    shared: Arc<RelayShared>,
    /// One for each connection.
    tasks: JoinSet<()>,
}

/// What the tasks share.
struct RelayShared {
    token: PairingToken,
    counts: Counts,
    /// The connections of this tester, and of those before it, are reset. Testers count from 1.
    over: watch::Sender<u64>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    unreached: AtomicU64,
    resets: AtomicU64,
    bytes_to_tester: AtomicU64,
    bytes_to_proxy: AtomicU64,
}

/// A tester that is there.
struct TesterSession {
    link: ControlLink,
    /// Which one it is, from 1 on.
    nth: u64,
}

/// Why a tester is served no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Gone,
    Stopped,
}

impl Relay {
    /// Binds the address. It does not listen before the tester is there.
    ///
    /// # Errors
    /// The address is in use, or not one of this machine.
    pub fn bind(options: RelayOptions) -> Result<(Relay, RelayStopper), RelayFailure> {
        let place = Place::bind(options.listen).map_err(RelayFailure::Listen)?;
        let (stopper, stop) = watch::channel(0);
        let token = options.token.clone();
        let shared = Arc::new(RelayShared { token, counts: Counts::default(), over: watch::channel(0).0 });
        let relay = Relay { options, place, stop: RelayStops(stop), shared, tasks: JoinSet::new() };
        Ok((relay, RelayStopper(Arc::new(stopper))))
    }

    /// Carries connections until it is stopped.
    ///
    /// # Errors
    /// The tester has another token and was to be the only one, or there is no runtime.
    pub fn run(self, tell: &mut dyn FnMut(RelayEvent<'_>)) -> Result<RelayCounts, RelayFailure> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(RelayFailure::Start)?;
        runtime.block_on(self.serve(tell))
    }

    async fn serve(mut self, tell: &mut dyn FnMut(RelayEvent<'_>)) -> Result<RelayCounts, RelayFailure> {
        let mut stop = self.stop.clone();
        // What was told of why there is no tester: once is enough.
        let (mut told, mut nth) = (Vec::new(), 0);
        loop {
            let paired = tokio::select! {
                paired = ControlLink::open(&self.options.tester, &self.shared.token) => paired,
                () = stop.reached(1) => break,
            };
            match paired {
                Err(NotPaired::WrongToken) if self.options.once => return Err(RelayFailure::WrongToken),
                // A slip at the tester must not end what somebody has to start again on another machine.
                Err(why) => {
                    if !told.contains(&discriminant(&why)) {
                        told.push(discriminant(&why));
                        tell(RelayEvent::from(&why));
                    }
                    // A request to stop is seen by the next connect.
                    let _ = timeout(RETRY_INTERVAL, stop.reached(1)).await;
                }
                Ok((link, first)) => {
                    nth += 1;
                    let served = self.serve_tester(TesterSession { link, nth }, first, tell).await;
                    self.place.refuse();
                    if served == Served::Stopped || self.options.once {
                        break;
                    }
                    tell(RelayEvent::Gone);
                    // That it is absent now goes without saying.
                    told = vec![discriminant(&NotPaired::Absent(String::new()))];
                    // Its connections end by themselves, unless the network is cut.
                    let shared = Arc::clone(&self.shared);
                    tokio::spawn(async move {
                        sleep(LAST_TIME).await;
                        shared.ends(nth);
                    });
                }
            }
        }
        self.drain().await;
        Ok(self.shared.counts.read())
    }

    /// Takes connections for this tester until it has gone, or until this is to stop.
    async fn serve_tester(
        &mut self,
        mut session: TesterSession,
        first: ControlWord,
        tell: &mut dyn FnMut(RelayEvent<'_>),
    ) -> Served {
        let (mut stop, mut resets, mut is_told) = (self.stop.clone(), false, false);
        let mut word = Some(first);
        loop {
            if let Some(word) = word.take() {
                let answer = match self.obey(word, &mut resets, &session) {
                    Ok(()) => word,
                    Err(error) => {
                        tell(RelayEvent::Lost(&error));
                        ControlWord::Failed
                    }
                };
                if answer == ControlWord::Serve && !std::mem::replace(&mut is_told, true) {
                    tell(RelayEvent::Listening { address: self.place.address(), tester: session.link.tester });
                }
                session.link.answer(answer).await;
            }
            tokio::select! {
                next = session.link.next() => match next {
                    Some(next) => word = Some(next),
                    None => return Served::Gone,
                },
                accepted = self.place.accept() => self.admit(accepted, resets, &session),
                Some(_) = self.tasks.join_next() => {}
                () = stop.reached(1) => return Served::Stopped,
            }
        }
    }

    /// Does this with connections from now on.
    fn obey(&mut self, word: ControlWord, resets: &mut bool, session: &TesterSession) -> io::Result<()> {
        match word {
            ControlWord::Refuse => self.place.refuse(),
            ControlWord::Serve | ControlWord::Reset => {
                // What came before is served as it was said then.
                while let Some(accepted) = self.place.accept_waiting() {
                    self.admit(accepted, *resets, session);
                }
                self.place.listen()?;
                *resets = word == ControlWord::Reset;
            }
            // No tester says this.
            ControlWord::WrongToken | ControlWord::Failed => {}
        }
        Ok(())
    }

    fn admit(&mut self, (client, from): (TcpStream, SocketAddr), resets: bool, session: &TesterSession) {
        let counts = &self.shared.counts;
        if resets {
            return sys::close_with_reset(&client);
        }
        if self.tasks.len() >= self.options.max_conns {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return sys::close_with_reset(&client);
        }
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        let place = (session.link.tester, session.nth);
        self.tasks.spawn(carry_to(place, (client, from), Arc::clone(&self.shared)));
    }

    /// Waits for the connections to end, for a while; a second request to stop resets those that are left.
    async fn drain(&mut self) {
        let mut stop = self.stop.clone();
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = sleep(LAST_TIME) => {}
            () = stop.reached(2) => {}
        }
        self.shared.ends(u64::MAX);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl RelayShared {
    /// Resets the connections of this tester, and of those before it.
    fn ends(&self, nth: u64) {
        self.over.send_modify(|over| *over = nth.max(*over));
    }

    /// Does this, unless the connections of this tester are reset before.
    async fn unless_over<T>(&self, nth: u64, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut over = self.over.subscribe();
        tokio::select! {
            done = work => done,
            _ = over.wait_for(|over| *over >= nth) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Carries a connection to this tester, to its end.
async fn carry_to((tester, nth): (SocketAddr, u64), (client, from): (TcpStream, SocketAddr), shared: Arc<RelayShared>) {
    let counts = &shared.counts;
    let Ok(far) = shared.unless_over(nth, dial(tester, &client, from, &shared.token)).await else {
        counts.unreached.fetch_add(1, Ordering::Relaxed);
        return sys::close_with_reset(&client);
    };
    let carried = [&counts.bytes_to_tester, &counts.bytes_to_proxy];
    if shared.unless_over(nth, carry(&client, &far, carried)).await.is_err() {
        counts.resets.fetch_add(1, Ordering::Relaxed);
        sys::close_with_reset(&client);
        sys::close_with_reset(&far);
    }
}

/// Opens the connection to the tester that belongs to this one, and says where this one came from.
async fn dial(tester: SocketAddr, client: &TcpStream, from: SocketAddr, token: &PairingToken) -> io::Result<TcpStream> {
    // Best effort: a socket that refuses it carries the same bytes.
    let _ = client.set_nodelay(true);
    let mut far = TcpStream::connect(tester).await?;
    let _ = far.set_nodelay(true);
    if sys::refuses_itself(&far) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    far.write_all(&carried_header(token, in_its_family(from), in_its_family(client.local_addr()?))).await?;
    Ok(far)
}

/// An address of IPv4 as one, also at a listener of both families.
fn in_its_family(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Counts {
    fn read(&self) -> RelayCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RelayCounts {
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            unreached: read(&self.unreached),
            resets: read(&self.resets),
            bytes_to_tester: read(&self.bytes_to_tester),
            bytes_to_proxy: read(&self.bytes_to_proxy),
        }
    }
}
