//! Who is connected, under which number, and what was received lately: what the connections of a faulty server know of
//! each other. Pure; the time is given.
//!
//! **Numbers.** `conn=7` means the connection accepted as number 7, counted from 0. The count begins anew when the
//! server was without connections for [`QUIET`], so that each run of a client counts from 0. A client that opens its
//! connections in the order of their ids, as `echo-tester blast` does with its first ones, so finds the fault on the id
//! that was named.
//!
//! **Replays.** A connection that begins with the same bytes as an earlier one that is closed gets that one's number
//! again: so a client that runs one connection again, alone, meets the same faults. It is known from its first
//! [`PREFIX`] bytes on, and not by what they mean.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::injector::Archive;
use super::log::Source;
use super::schedule::draw;
use super::script::Passage;

/// Without connections for so long, the server counts from 0 again.
const QUIET: Duration = Duration::from_secs(1);
/// From so many first bytes a connection is known again.
pub(super) const PREFIX: usize = 8;
/// Beginnings that are remembered.
const KNOWN: usize = 1 << 20;
/// Closed connections whose last bytes are remembered.
const CLOSED: usize = 32;
/// Gifts that wait for one connection. Its client may never read.
const GIFTS: usize = 16;
/// A connection counts as closed for others this long after its end: its client has noticed by then.
const SETTLED: Duration = Duration::from_millis(50);
/// Old bytes come from at least so far before the place where they are sent again: nearer, they would be a duplicate.
const DISTANCE: u64 = 64;

/// One connection's key in the roster, never used again.
pub(super) type Id = u64;

/// A gift on its way: bytes of another connection, and the fault that gives them.
pub(super) type Gift = (Passage, usize);

/// All connections.
pub(super) struct Roster {
    entries: BTreeMap<Id, Entry>,
    next_id: Id,
    /// How many of the entries are ignored.
    ignored: usize,
    /// Accepted since the count began.
    counted: u64,
    /// When the last connection left.
    quiet_since: Option<Instant>,
    known: HashMap<[u8; PREFIX], Known>,
    closed: VecDeque<(Instant, History)>,
    /// How many bytes of each connection are remembered.
    keep: usize,
}

struct Entry {
    history: History,
    prefix: Option<[u8; PREFIX]>,
    /// Its client has ended its direction: it may be closed any moment.
    ending: bool,
    /// It takes up no place among those that are served.
    ignored: bool,
    gifts: VecDeque<Gift>,
    wake: Rc<Notify>,
}

struct Known {
    number: u64,
    open: bool,
}

/// The last bytes that were received on a connection.
struct History {
    conn: u64,
    peer: SocketAddr,
    bytes: VecDeque<u8>,
    /// Bytes received in all.
    end: u64,
}

impl History {
    fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    fn push(&mut self, bytes: &[u8], keep: usize) {
        self.end += bytes.len() as u64;
        self.bytes.extend(&bytes[bytes.len().saturating_sub(keep)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(keep));
    }

    /// `len` bytes from somewhere before stream offset `before`.
    fn passage(&self, len: usize, before: u64, pick: u64) -> Option<Passage> {
        let last = before.min(self.end).checked_sub(len as u64)?;
        let choice = last.checked_sub(self.start())? + 1;
        let offset = self.start() + draw(pick, &[1]) % choice;
        let skip = (offset - self.start()) as usize;
        let bytes = self.bytes.range(skip..skip + len).copied().collect();
        Some(Passage { bytes, source: Source { conn: self.conn, peer: self.peer, offset } })
    }
}

/// One of them, or none if there are none.
fn choose<T>(from: &[T], pick: u64) -> Option<&T> {
    let n = draw(pick, &[0]).checked_rem(from.len() as u64)?;
    from.get(n as usize)
}

impl Roster {
    /// Remembers the last `keep` bytes of each connection.
    pub(super) fn new(keep: usize) -> Roster {
        Roster {
            entries: BTreeMap::new(),
            next_id: 0,
            ignored: 0,
            counted: 0,
            quiet_since: None,
            known: HashMap::new(),
            closed: VecDeque::new(),
            keep,
        }
    }

    /// A connection was accepted: its key, its number, and what wakes it when there is a gift.
    pub(super) fn enter(&mut self, peer: SocketAddr, now: Instant) -> (Id, u64, Rc<Notify>) {
        let is_quiet = |since: Instant| now.saturating_duration_since(since) >= QUIET;
        if self.entries.is_empty() && self.quiet_since.is_some_and(is_quiet) {
            self.counted = 0;
        }
        let (id, conn) = (self.next_id, self.counted);
        self.next_id += 1;
        self.counted += 1;
        let history = History { conn, peer, bytes: VecDeque::new(), end: 0 };
        let wake = Rc::new(Notify::new());
        let entry = Entry {
            history,
            prefix: None,
            ending: false,
            ignored: false,
            gifts: VecDeque::new(),
            wake: Rc::clone(&wake),
        };
        self.entries.insert(id, entry);
        (id, conn, wake)
    }

    /// How many connections are open and served.
    pub(super) fn served(&self) -> usize {
        self.entries.len() - self.ignored
    }

    /// The connection is not served and never will be.
    pub(super) fn ignore(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.ignored) {
            entry.ignored = true;
            self.ignored += 1;
        }
    }

    /// Bytes were received.
    pub(super) fn received(&mut self, id: Id, bytes: &[u8]) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.history.push(bytes, self.keep);
        }
    }

    /// The first bytes of the connection are these: gives the number that it has from now on.
    pub(super) fn recognise(&mut self, id: Id, prefix: [u8; PREFIX]) -> Option<u64> {
        let entry = self.entries.get_mut(&id)?;
        let own = entry.history.conn;
        let is_full = self.known.len() >= KNOWN;
        match self.known.get_mut(&prefix) {
            // Two that are open at the same time are two, however they begin.
            Some(known) if known.open => return Some(own),
            Some(known) => {
                known.open = true;
                entry.history.conn = known.number;
            }
            None if is_full => return Some(own),
            None => {
                self.known.insert(prefix, Known { number: own, open: true });
            }
        }
        entry.prefix = Some(prefix);
        Some(entry.history.conn)
    }

    /// The connection's client has ended its direction.
    pub(super) fn ending(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.ending = true;
        }
    }

    /// The connection is closed. Only the first call counts.
    pub(super) fn leave(&mut self, id: Id, now: Instant) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.ignored -= usize::from(entry.ignored);
        if let Some(known) = entry.prefix.and_then(|prefix| self.known.get_mut(&prefix)) {
            known.open = false;
        }
        if !entry.history.bytes.is_empty() {
            self.closed.push_back((now, entry.history));
            self.closed.drain(..self.closed.len().saturating_sub(CLOSED));
        }
        self.quiet_since = Some(now);
    }

    /// Gives bytes that connection `from` sent to another one that has room for them. Without one they are lost.
    pub(super) fn give(&mut self, from: Id, gift: Gift, pick: u64) {
        let has_room = |(_, entry): &(&Id, &Entry)| entry.gifts.len() < GIFTS;
        let others: Vec<Id> = self.others(from).filter(has_room).map(|(id, _)| *id).collect();
        let to = choose(&others, pick).and_then(|id| self.entries.get_mut(id));
        if let Some(to) = to {
            to.gifts.push_back(gift);
            to.wake.notify_one();
        }
    }

    /// The oldest gift that waits for this connection.
    pub(super) fn take_gift(&mut self, id: Id) -> Option<Gift> {
        self.entries.get_mut(&id)?.gifts.pop_front()
    }

    fn others(&self, me: Id) -> impl Iterator<Item = (&Id, &Entry)> {
        self.entries.iter().filter(move |(id, entry)| **id != me && !entry.ending)
    }
}

/// The roster as one connection sees it.
pub(super) struct View<'r> {
    pub(super) roster: &'r Roster,
    pub(super) me: Id,
    pub(super) now: Instant,
}

impl Archive for View<'_> {
    fn has_another(&self) -> bool {
        self.roster.others(self.me).next().is_some()
    }

    fn of_another(&self, len: usize, pick: u64) -> Option<Passage> {
        let others: Vec<&History> = self
            .roster
            .others(self.me)
            .map(|(_, entry)| &entry.history)
            .filter(|history| history.bytes.len() >= len)
            .collect();
        choose(&others, pick)?.passage(len, u64::MAX, pick)
    }

    fn older(&self, len: usize, before: u64, pick: u64) -> Option<Passage> {
        self.roster.entries.get(&self.me)?.history.passage(len, before.checked_sub(DISTANCE)?, pick)
    }

    fn of_a_closed_one(&self, len: usize, pick: u64) -> Option<Passage> {
        let me = self.roster.entries.get(&self.me)?.history.conn;
        let has_settled = |(at, history): &&(Instant, History)| {
            let settled = self.now.saturating_duration_since(*at) >= SETTLED;
            settled && history.conn != me && history.bytes.len() >= len
        };
        let closed: Vec<&History> = self.roster.closed.iter().filter(has_settled).map(|(_, history)| history).collect();
        choose(&closed, pick)?.passage(len, u64::MAX, pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Enters a connection whose number and first bytes are these.
    fn enter(roster: &mut Roster, prefix: &[u8; PREFIX], now: Instant) -> (Id, u64) {
        let (id, _, _) = roster.enter(peer(1), now);
        roster.received(id, prefix);
        (id, roster.recognise(id, *prefix).expect("it is there"))
    }

    #[test]
    fn what_is_ignored_takes_no_place_and_what_left_gives_it_back() {
        let (mut roster, now) = (Roster::new(0), Instant::now());
        let [first, second, ignored] = std::array::from_fn(|_| roster.enter(peer(1), now).0);
        roster.ignore(ignored);
        roster.ignore(ignored);
        assert_eq!(roster.served(), 2);
        roster.leave(ignored, now);
        roster.leave(first, now);
        assert_eq!(roster.served(), 1);
        roster.leave(second, now);
        assert_eq!(roster.served(), 0);
    }

    #[test]
    fn connections_are_numbered_as_they_come_and_anew_after_a_quiet_second() {
        let mut roster = Roster::new(0);
        let start = Instant::now();
        let (a, b) = (roster.enter(peer(1), start), roster.enter(peer(2), start));
        assert_eq!((a.1, b.1), (0, 1));
        roster.leave(a.0, start);
        assert_eq!(roster.enter(peer(3), start + 9 * QUIET).1, 2, "one was open all the time");
        for id in 0..3 {
            roster.leave(id, start + 9 * QUIET);
        }
        let c = roster.enter(peer(4), start + 9 * QUIET + QUIET / 2);
        assert_eq!(c.1, 3, "not quiet for long enough");
        roster.leave(c.0, start + 10 * QUIET);
        assert_eq!(roster.enter(peer(5), start + 11 * QUIET).1, 0);
    }

    #[test]
    fn a_connection_that_begins_like_a_closed_one_is_that_one_again() {
        let mut roster = Roster::new(0);
        let now = Instant::now();
        let (first, _) = enter(&mut roster, b"01234567", now);
        let (_, other) = enter(&mut roster, b"abcdefgh", now);
        assert_eq!(other, 1);
        let (twin, number) = enter(&mut roster, b"01234567", now);
        assert_eq!(number, 2, "two that are open at once are two");
        roster.leave(twin, now);
        assert_eq!(enter(&mut roster, b"01234567", now).1, 3, "the first is still open");
        roster.leave(first, now);
        let (again, number) = enter(&mut roster, b"01234567", now);
        assert_eq!(number, 0);
        roster.leave(again, now);
        assert_eq!(enter(&mut roster, b"01234567", now).1, 0, "as often as it comes back");
    }

    #[test]
    fn bytes_of_others_come_from_open_connections_and_old_ones_from_long_before_or_from_closed_ones() {
        let mut roster = Roster::new(200);
        let now = Instant::now();
        let ids: Vec<Id> = (0..3).map(|n| roster.enter(peer(n), now).0).collect();
        let bytes = |conn: u8| -> Vec<u8> { (0..=255).map(|n: u8| n.wrapping_add(conn)).collect() };
        for (conn, id) in ids.iter().enumerate() {
            roster.received(*id, &bytes(conn as u8));
        }
        roster.ending(ids[2]);
        let check = |passage: Passage, conns: &[u64], last: u64| {
            let Source { conn, offset, peer: from } = passage.source;
            assert!(conns.contains(&conn) && from == peer(conn as u16), "{conn}");
            assert!(offset >= 56 && offset + 20 <= last, "only the last 200 bytes are kept: {offset}");
            assert_eq!(passage.bytes, &bytes(conn as u8)[offset as usize..offset as usize + 20]);
        };
        for pick in 0..200 {
            let view = View { roster: &roster, me: ids[0], now: now + SETTLED };
            check(view.of_another(20, pick).expect("connection 1"), &[1], 256);
            check(view.older(20, 180, pick).expect("its own"), &[0], 180 - DISTANCE);
            assert_eq!(view.of_a_closed_one(20, pick), None);
            assert_eq!((view.of_another(201, pick), view.older(20, 130, pick)), (None, None), "not that many");
        }
        roster.leave(ids[1], now);
        assert_eq!(
            View { roster: &roster, me: ids[0], now }.of_a_closed_one(20, 1),
            None,
            "its client may not know yet"
        );
        for pick in 0..50 {
            let view = View { roster: &roster, me: ids[0], now: now + SETTLED };
            assert_eq!(view.of_another(20, pick), None, "the last other one is ending");
            check(view.of_a_closed_one(20, pick).expect("connection 1"), &[1], 256);
        }
    }

    #[test]
    fn gifts_wait_for_another_connection() {
        let mut roster = Roster::new(0);
        let now = Instant::now();
        let (a, b) = (roster.enter(peer(1), now).0, roster.enter(peer(2), now).0);
        let passage = Passage { bytes: b"xyz".to_vec(), source: Source { conn: 0, peer: peer(1), offset: 5 } };
        roster.give(a, (passage.clone(), 3), 9);
        assert_eq!((roster.take_gift(a), roster.take_gift(b)), (None, Some((passage.clone(), 3))));
        assert_eq!(roster.take_gift(b), None);
        for _ in 0..10 * GIFTS {
            roster.give(a, (passage.clone(), 3), 9);
        }
        assert_eq!(std::iter::from_fn(|| roster.take_gift(b)).count(), GIFTS);
    }
}
