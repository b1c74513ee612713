//! The server's halves of the connections of a run, where both ends are ours: their streams, their profiles, and the
//! connections that have reached the backend and wait for their workers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use mio::net::TcpStream;

use super::connection::{ClientConnection, Half};
use super::greeting::{Greeted, Greetings};
use super::intake::{FirstWords, NamedClient, Offered};
use super::pair::{Pair, Pairs, Side};
use super::recognition::{candidates, damaged_candidates};
use super::run_plan::RunPlan;
use super::sent_ledger::SentLedger;
use crate::plan::{ConnectionPlan, FirstSpeaker, Profile, Slot, backend_seed, case_seed};
use crate::stream::{ConnId, Divergence, Stream};
use crate::sync::lock;

/// What the server's halves have in common.
pub(super) struct TwoSides {
    /// The streams that they send.
    pub(super) stream: Stream,
    /// What they have sent.
    pub(super) ledger: SentLedger,
    pub(super) pairs: Pairs,
    /// If the server speaks first: what it says.
    greetings: Option<Greetings>,
    /// The seed of their plans.
    seed: u64,
    /// For each group, the profile of the server's halves.
    profiles: Vec<Arc<Profile>>,
    /// For each worker, connections that it is to take over.
    mailboxes: Vec<Mutex<Vec<Reached>>>,
}

/// A connection that has reached the backend.
pub(super) struct Reached {
    pub(super) stream: TcpStream,
    pub(super) pair: Arc<Pair>,
}

impl TwoSides {
    /// Those of this plan, which this many workers run; `None`: it has only the client's side.
    pub(super) fn of(plan: &RunPlan, workers: usize) -> Option<TwoSides> {
        plan.backend.as_ref()?;
        let profiles = plan.groups.iter().map(|profile| profile.of_backend().map(Arc::new));
        let seed = backend_seed(plan.seed);
        let speaks_first = plan.groups.iter().any(|profile| profile.speaks_first == FirstSpeaker::Server);
        Some(TwoSides {
            stream: Stream::new(seed),
            ledger: SentLedger::new(plan.slots.clone(), plan.shard),
            pairs: Pairs::default(),
            greetings: speaks_first.then(|| Greetings::new(case_seed(plan.seed, "greeting"))),
            seed,
            profiles: profiles.collect::<Option<_>>()?,
            mailboxes: (0..workers).map(|_| Mutex::default()).collect(),
        })
    }

    /// The plan of the server's half of a connection.
    fn plan_of(&self, slot: Slot, conn: ConnId) -> ConnectionPlan {
        ConnectionPlan::new(Arc::clone(&self.profiles[slot.group as usize]), self.seed, slot, conn)
    }

    /// The client has opened a connection: it is one half of a pair from now on.
    /// `place`: the worker, and the slot in it. `address`: that of its socket. `began`: when it began to connect.
    pub(super) fn opened(
        &self,
        connection: ClientConnection,
        slot: Slot,
        (place, address, began): ((usize, usize), Option<SocketAddr>, u64),
    ) -> ClientConnection {
        let conn = connection.conn();
        let pair = self.pairs.open(conn, place, (address, began));
        connection.paired(Half::new(pair, Side::Client, self.plan_of(slot, conn)))
    }

    /// The server's half of a connection that has reached the backend. `client`: the plan of the client's half.
    /// `continues_at`: where the server's open-loop schedule of the slot continues.
    pub(super) fn reached(
        &self,
        pair: &Arc<Pair>,
        slot: Slot,
        (client, continues_at): (ConnectionPlan, u64),
        now: u64,
    ) -> ClientConnection {
        let conn = pair.conn();
        let mut plan = self.plan_of(slot, conn);
        plan.resume_schedule(continues_at);
        let connection = ClientConnection::new(plan, conn, now);
        connection.paired(Half::new(Arc::clone(pair), Side::Backend, client))
    }

    /// The pair whose client sends these first bytes, of the client's streams.
    pub(super) fn recognized(&self, up: &Stream, first: &FirstWords) -> Option<Arc<Pair>> {
        candidates(up, first).into_iter().flatten().find_map(|conn| self.pairs.of(conn))
    }

    /// The pair that has not reached the backend, and whose client has sent these bytes, which are damaged: others came
    /// before them, or some of them are changed or missing.
    pub(super) fn recognized_damaged(&self, up: &Stream, bytes: &[u8]) -> Option<Arc<Pair>> {
        let mut pairs = damaged_candidates(up, bytes).filter_map(|conn| self.pairs.of(conn));
        pairs.find(|pair| !pair.is_reached() && !pair.has_ended(Side::Client))
    }

    /// Greets a connection that was accepted, if the server speaks first; gives it back if not.
    pub(super) fn greet(&self, stream: TcpStream, from: Option<IpAddr>) -> Result<bool, TcpStream> {
        match &self.greetings {
            Some(greetings) => Ok(greetings.greet(stream, from).is_ok()),
            None => Err(stream),
        }
    }

    /// See [`Greetings::damage`].
    pub(super) fn greeting_damage(&self, conn: ConnId, greeting: &FirstWords) -> Option<Divergence> {
        self.greetings.as_ref().map(|greetings| greetings.damage(conn, greeting))
    }

    /// Whether the server speaks first.
    pub(super) fn greets(&self) -> bool {
        self.greetings.is_some()
    }

    /// A client has received these first bytes of a server that speaks first.
    pub(super) fn claim(&self, greeting: &FirstWords) -> Greeted {
        self.greetings.as_ref().map_or(Greeted::Unknown, |greetings| greetings.claim(greeting))
    }

    /// Whose client has this address, which came in a header with this connection.
    pub(super) fn named(&self, pair: &Pair, address: SocketAddr) -> NamedClient {
        match pair.client_address() == Some(address) {
            true => NamedClient::Own,
            false => self.pairs.with_address(address).map_or(NamedClient::Unknown, NamedClient::Other),
        }
    }

    /// Hands a connection over to the worker of its pair. Returns the worker to wake, or what the connection is: not
    /// the first of its pair, or too late for the client's half.
    pub(super) fn hand_over(&self, stream: TcpStream, pair: Arc<Pair>, now: u64) -> Result<usize, Offered> {
        if pair.has_ended(Side::Client) && !pair.is_reached() {
            return Err(Offered::Late(pair.conn()));
        }
        if pair.has_ended(Side::Client) || !pair.reach(now) {
            return Err(Offered::Repeated(pair.conn()));
        }
        let worker = pair.worker();
        lock(&self.mailboxes[worker]).push(Reached { stream, pair });
        Ok(worker)
    }

    /// The connections that this worker is to take over.
    pub(super) fn taken_over(&self, worker: usize) -> Vec<Reached> {
        std::mem::take(&mut *lock(&self.mailboxes[worker]))
    }
}
