//! The connections of a faulty server: their numbers, and what each may know of the others. Pure; the time is given.
//!
//! **Numbers.** `conn=7` means the eighth accepted connection: they count from 0. The count restarts after the server
//! had no connection for [`QUIET_PERIOD`], so that each run of a client counts from 0. A client that opens its
//! connections in the order of their ids, as `echo-tester blast` does with its first ones, therefore finds the fault on
//! the id that was named.
//!
//! **Replays.** A connection that begins with the same bytes as an earlier, closed one gets the same number. So a
//! client that repeats a single connection meets the same faults. Only the first [`PREFIX_LEN`] bytes decide;
//! their meaning is ignored.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::history::{ByteHistory, MovedBytes, RecentBytes, SourcedBytes};
use super::schedule::draw;

/// After this time without connections the server counts from 0 again.
const QUIET_PERIOD: Duration = Duration::from_secs(1);
/// First bytes by which a replayed connection is recognised.
pub(super) const PREFIX_LEN: usize = 8;
/// Prefixes that are remembered.
const MAX_PREFIXES: usize = 1 << 20;
/// Closed connections whose last bytes are remembered.
const MAX_CLOSED: usize = 32;
/// Pieces of moved bytes that may wait for one connection, whose client may never read.
const MAX_MOVED_PER_CONNECTION: usize = 16;
/// Bytes of a closed connection are used only this long after its end, when its client has noticed the end.
const CLOSE_GRACE: Duration = Duration::from_millis(50);
/// Old bytes come from at least this far before the place where they are sent again. Nearer ones would look like a
/// duplicate.
pub(super) const MIN_STALE_DISTANCE: u64 = 64;

/// A connection's key in the registry, never used again.
pub(super) type RegistryId = u64;

/// All open connections, and what is remembered of the closed ones.
pub(super) struct Registry {
    open: BTreeMap<RegistryId, OpenConnection>,
    next_id: RegistryId,
    /// How many open connections are ignored.
    ignored: usize,
    /// Connections accepted since the count restarted.
    counted: u64,
    /// When the last connection left.
    quiet_since: Option<Instant>,
    prefixes: HashMap<[u8; PREFIX_LEN], KnownPrefix>,
    closed: VecDeque<(Instant, RecentBytes)>,
    /// Bytes to remember of each connection.
    keep: usize,
}

struct OpenConnection {
    recent: RecentBytes,
    prefix: Option<[u8; PREFIX_LEN]>,
    /// The client has sent its FIN, so it may close at any moment.
    fin_received: bool,
    /// It takes no place among the served connections.
    ignored: bool,
    moved: VecDeque<MovedBytes>,
    wake: Rc<Notify>,
}

/// Which connection began with a prefix.
struct KnownPrefix {
    number: u64,
    open: bool,
}

/// One element, chosen by `pick`; `None` if there is none.
fn choose<T>(from: &[T], pick: u64) -> Option<&T> {
    let n = draw(pick, &[0]).checked_rem(from.len() as u64)?;
    from.get(n as usize)
}

impl Registry {
    /// A registry that remembers the last `keep` bytes of each connection.
    pub(super) fn new(keep: usize) -> Registry {
        Registry {
            open: BTreeMap::new(),
            next_id: 0,
            ignored: 0,
            counted: 0,
            quiet_since: None,
            prefixes: HashMap::new(),
            closed: VecDeque::new(),
            keep,
        }
    }

    /// Adds an accepted connection. Returns its key, its number, and what wakes it when moved bytes wait for it.
    pub(super) fn add(&mut self, peer: SocketAddr, now: Instant) -> (RegistryId, u64, Rc<Notify>) {
        let is_quiet = |since: Instant| now.saturating_duration_since(since) >= QUIET_PERIOD;
        if self.open.is_empty() && self.quiet_since.is_some_and(is_quiet) {
            self.counted = 0;
        }
        let (id, conn) = (self.next_id, self.counted);
        self.next_id += 1;
        self.counted += 1;
        let wake = Rc::new(Notify::new());
        let connection = OpenConnection {
            recent: RecentBytes::new(conn, peer),
            prefix: None,
            fin_received: false,
            ignored: false,
            moved: VecDeque::new(),
            wake: Rc::clone(&wake),
        };
        self.open.insert(id, connection);
        (id, conn, wake)
    }

    /// How many open connections are served.
    pub(super) fn served(&self) -> usize {
        self.open.len() - self.ignored
    }

    /// Marks a connection as one that is never served.
    pub(super) fn ignore(&mut self, id: RegistryId) {
        if let Some(connection) = self.open.get_mut(&id).filter(|connection| !connection.ignored) {
            connection.ignored = true;
            self.ignored += 1;
        }
    }

    /// Records bytes that a connection received.
    pub(super) fn received(&mut self, id: RegistryId, bytes: &[u8]) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.recent.push(bytes, self.keep);
        }
    }

    /// Records a connection's first bytes. Returns the number that it has from now on.
    pub(super) fn recognise(&mut self, id: RegistryId, prefix: [u8; PREFIX_LEN]) -> Option<u64> {
        let connection = self.open.get_mut(&id)?;
        let own = connection.recent.conn;
        let is_full = self.prefixes.len() >= MAX_PREFIXES;
        match self.prefixes.get_mut(&prefix) {
            // Two connections that are open at the same time are two, even if they begin alike.
            Some(known) if known.open => return Some(own),
            Some(known) => {
                known.open = true;
                connection.recent.conn = known.number;
            }
            None if is_full => return Some(own),
            None => {
                self.prefixes.insert(prefix, KnownPrefix { number: own, open: true });
            }
        }
        connection.prefix = Some(prefix);
        Some(connection.recent.conn)
    }

    /// Records that a connection's client has sent its FIN.
    pub(super) fn fin_received(&mut self, id: RegistryId) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.fin_received = true;
        }
    }

    /// Removes a closed connection. Further calls for it do nothing.
    pub(super) fn remove(&mut self, id: RegistryId, now: Instant) {
        let Some(connection) = self.open.remove(&id) else { return };
        self.ignored -= usize::from(connection.ignored);
        if let Some(known) = connection.prefix.and_then(|prefix| self.prefixes.get_mut(&prefix)) {
            known.open = false;
        }
        if connection.recent.len() > 0 {
            self.closed.push_back((now, connection.recent));
            self.closed.drain(..self.closed.len().saturating_sub(MAX_CLOSED));
        }
        self.quiet_since = Some(now);
    }

    /// Moves bytes that connection `from` sent to another one with room for them. If there is none, they are lost.
    pub(super) fn move_bytes(&mut self, from: RegistryId, moved: MovedBytes, pick: u64) {
        let has_room =
            |(_, connection): &(&RegistryId, &OpenConnection)| connection.moved.len() < MAX_MOVED_PER_CONNECTION;
        let others: Vec<RegistryId> = self.others(from).filter(has_room).map(|(id, _)| *id).collect();
        let to = choose(&others, pick).and_then(|id| self.open.get_mut(id));
        if let Some(to) = to {
            to.moved.push_back(moved);
            to.wake.notify_one();
        }
    }

    /// The oldest moved bytes that wait for this connection.
    pub(super) fn take_moved(&mut self, id: RegistryId) -> Option<MovedBytes> {
        self.open.get_mut(&id)?.moved.pop_front()
    }

    fn others(&self, me: RegistryId) -> impl Iterator<Item = (&RegistryId, &OpenConnection)> {
        self.open.iter().filter(move |(id, connection)| **id != me && !connection.fin_received)
    }
}

/// The registry as one connection sees it.
pub(super) struct RegistryView<'r> {
    pub(super) registry: &'r Registry,
    pub(super) me: RegistryId,
    pub(super) now: Instant,
}

impl RegistryView<'_> {
    fn own(&self) -> Option<&RecentBytes> {
        self.registry.open.get(&self.me).map(|connection| &connection.recent)
    }
}

impl ByteHistory for RegistryView<'_> {
    fn has_another(&self) -> bool {
        self.registry.others(self.me).next().is_some()
    }

    fn of_another(&self, len: usize, pick: u64) -> Option<SourcedBytes> {
        let others: Vec<&RecentBytes> = self
            .registry
            .others(self.me)
            .map(|(_, connection)| &connection.recent)
            .filter(|recent| recent.len() >= len)
            .collect();
        choose(&others, pick)?.choose(len, u64::MAX, pick)
    }

    fn of_own_past(&self, len: usize, before: u64, pick: u64) -> Option<SourcedBytes> {
        self.own()?.choose(len, before.checked_sub(MIN_STALE_DISTANCE)?, pick)
    }

    fn of_closed(&self, len: usize, pick: u64) -> Option<SourcedBytes> {
        let own = self.own()?.conn;
        let is_usable = |(closed_at, recent): &&(Instant, RecentBytes)| {
            let is_noticed = self.now.saturating_duration_since(*closed_at) >= CLOSE_GRACE;
            is_noticed && recent.conn != own && recent.len() >= len
        };
        let closed: Vec<&RecentBytes> =
            self.registry.closed.iter().filter(is_usable).map(|(_, recent)| recent).collect();
        choose(&closed, pick)?.choose(len, u64::MAX, pick)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::StreamPlace;
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Adds a connection that begins with this prefix; returns its key and its number.
    fn add_with_prefix(registry: &mut Registry, prefix: &[u8; PREFIX_LEN], now: Instant) -> (RegistryId, u64) {
        let (id, _, _) = registry.add(peer(1), now);
        registry.received(id, prefix);
        (id, registry.recognise(id, *prefix).expect("the connection was just added"))
    }

    #[test]
    fn ignored_connections_take_no_place_and_removed_ones_free_theirs() {
        let (mut registry, now) = (Registry::new(0), Instant::now());
        let [first, second, ignored] = std::array::from_fn(|_| registry.add(peer(1), now).0);
        registry.ignore(ignored);
        registry.ignore(ignored);
        assert_eq!(registry.served(), 2);
        registry.remove(ignored, now);
        registry.remove(first, now);
        assert_eq!(registry.served(), 1);
        registry.remove(second, now);
        assert_eq!(registry.served(), 0);
    }

    #[test]
    fn connections_count_from_0_and_again_from_0_after_a_quiet_second() {
        let mut registry = Registry::new(0);
        let start = Instant::now();
        let (a, b) = (registry.add(peer(1), start), registry.add(peer(2), start));
        assert_eq!((a.1, b.1), (0, 1));
        registry.remove(a.0, start);
        assert_eq!(registry.add(peer(3), start + 9 * QUIET_PERIOD).1, 2, "one connection was open all the time");
        for id in 0..3 {
            registry.remove(id, start + 9 * QUIET_PERIOD);
        }
        let c = registry.add(peer(4), start + 9 * QUIET_PERIOD + QUIET_PERIOD / 2);
        assert_eq!(c.1, 3, "not quiet for long enough");
        registry.remove(c.0, start + 10 * QUIET_PERIOD);
        assert_eq!(registry.add(peer(5), start + 11 * QUIET_PERIOD).1, 0);
    }

    #[test]
    fn a_connection_that_begins_like_a_closed_one_gets_its_number() {
        let mut registry = Registry::new(0);
        let now = Instant::now();
        let (first, _) = add_with_prefix(&mut registry, b"01234567", now);
        let (_, other) = add_with_prefix(&mut registry, b"abcdefgh", now);
        assert_eq!(other, 1);
        let (twin, number) = add_with_prefix(&mut registry, b"01234567", now);
        assert_eq!(number, 2, "two connections that are open at once are two");
        registry.remove(twin, now);
        assert_eq!(add_with_prefix(&mut registry, b"01234567", now).1, 3, "the first is still open");
        registry.remove(first, now);
        let (again, number) = add_with_prefix(&mut registry, b"01234567", now);
        assert_eq!(number, 0);
        registry.remove(again, now);
        assert_eq!(add_with_prefix(&mut registry, b"01234567", now).1, 0, "every replay gets the number");
    }

    #[test]
    fn foreign_bytes_come_from_open_connections_and_old_ones_from_closed_ones() {
        let mut registry = Registry::new(200);
        let now = Instant::now();
        let ids: Vec<RegistryId> = (0..3).map(|n| registry.add(peer(n), now).0).collect();
        let bytes = |conn: u8| -> Vec<u8> { (0..=255).map(|n: u8| n.wrapping_add(conn)).collect() };
        for (conn, id) in ids.iter().enumerate() {
            registry.received(*id, &bytes(conn as u8));
        }
        registry.fin_received(ids[2]);
        let check = |found: SourcedBytes, conns: &[u64], last: u64| {
            let StreamPlace { conn, offset, peer: from } = found.source;
            assert!(conns.contains(&conn) && from == peer(conn as u16), "{conn}");
            assert!(offset >= 56 && offset + 20 <= last, "only the last 200 bytes are kept: {offset}");
            assert_eq!(found.bytes, &bytes(conn as u8)[offset as usize..offset as usize + 20]);
        };
        for pick in 0..200 {
            let view = RegistryView { registry: &registry, me: ids[0], now: now + CLOSE_GRACE };
            check(view.of_another(20, pick).expect("connection 1"), &[1], 256);
            check(view.of_own_past(20, 180, pick).expect("bytes of its own past"), &[0], 180 - MIN_STALE_DISTANCE);
            assert_eq!(view.of_closed(20, pick), None);
            assert_eq!(
                (view.of_another(201, pick), view.of_own_past(20, 130, pick)),
                (None, None),
                "fewer bytes are kept"
            );
        }
        registry.remove(ids[1], now);
        let view = RegistryView { registry: &registry, me: ids[0], now };
        assert_eq!(view.of_closed(20, 1), None, "its client may not have noticed the close yet");
        for pick in 0..50 {
            let view = RegistryView { registry: &registry, me: ids[0], now: now + CLOSE_GRACE };
            assert_eq!(view.of_another(20, pick), None, "the only other connection has received its FIN");
            check(view.of_closed(20, pick).expect("connection 1"), &[1], 256);
        }
    }

    #[test]
    fn moved_bytes_wait_for_another_connection_up_to_a_limit() {
        let mut registry = Registry::new(0);
        let now = Instant::now();
        let (a, b) = (registry.add(peer(1), now).0, registry.add(peer(2), now).0);
        let source = StreamPlace { conn: 0, peer: peer(1), offset: 5 };
        let moved = MovedBytes { bytes: SourcedBytes { bytes: b"xyz".to_vec(), source }, fault: 3 };
        registry.move_bytes(a, moved.clone(), 9);
        assert_eq!((registry.take_moved(a), registry.take_moved(b)), (None, Some(moved.clone())));
        assert_eq!(registry.take_moved(b), None);
        for _ in 0..10 * MAX_MOVED_PER_CONNECTION {
            registry.move_bytes(a, moved.clone(), 9);
        }
        assert_eq!(std::iter::from_fn(|| registry.take_moved(b)).count(), MAX_MOVED_PER_CONNECTION);
    }
}
