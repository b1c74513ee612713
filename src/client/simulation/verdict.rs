//! Whether what the client found in a world is right: nothing where nothing was wrong, and each fault by its kind, at
//! its place. Every byte that was sent has come, or a finding says what became of it.

#![cfg(all(test, unix))]

use super::kernel::Link;
use super::plan::is_exact;
use super::way::{Injected, WayFault};
use super::world::{Client, World};
use crate::plan::Close;
use crate::stream::{Change, ConnId, Divergence, FindingKind};

/// What is wrong, if anything is.
pub(super) fn judge(world: &World) -> Result<(), String> {
    let counters = world.server.counters();
    if !counters.add_up() {
        return Err(format!("the server's counters do not add up: {counters:?}"));
    }
    for (index, client) in world.clients.iter().enumerate() {
        of_connection(world, index, client).map_err(|wrong| describe(world, index, &wrong))?;
    }
    let stats = &world.stats.counters;
    let handed: u64 = world.links.iter().map(|link| link.borrow().sent).sum();
    let given: u64 = world.links.iter().map(|link| link.borrow().received.len() as u64).sum();
    if (stats.bytes_sent, stats.bytes_received) != (handed, given) {
        return Err(format!("the kernel moved {handed} and {given}, the client counted {stats:?}"));
    }
    Ok(())
}

fn describe(world: &World, index: usize, wrong: &str) -> String {
    let kinds = world.clients[index].found.iter();
    let found: Vec<String> = kinds
        .map(|found| {
            let Divergence { offset, extent, replaced, overtaken_by, source, ending, .. } = found;
            format!(
                "{} at {offset}, {extent} B, replaced {replaced}, overtaken by {overtaken_by}, {source:?}, {ending:?}",
                found.kind.name()
            )
        })
        .collect();
    format!("connection {index}: {wrong}\n  found {found:#?}\n{}", world.describe())
}

fn of_connection(world: &World, index: usize, client: &Client) -> Result<(), String> {
    let link = world.links[index].borrow();
    let injected = link.ways.iter().find_map(|way| way.injected);
    let is_stopped = world.steps >= world.plan.stops_after;
    let Some(injected) = injected else {
        if !client.found.is_empty() {
            return Err("a finding where nothing was wrong".to_owned());
        }
        let is_whole = is_exact(&world.plan.groups[client.group]) && !is_stopped;
        if is_whole && link.received.len() as u64 != link.sent {
            return Err("no finding, but bytes did not come".to_owned());
        }
        return Ok(());
    };
    if !injected.fault.is_of_end() && link.received == of(world, client.connection.conn(), 0, link.sent) {
        // Bytes that changed places may have been equal.
        return if client.found.is_empty() { Ok(()) } else { Err("a finding, but all that came is right".to_owned()) };
    }
    if client.found.is_empty() {
        // A plan that was cut short may end where the fault was to come. Who closes then does not wait for an end.
        let is_unseen = injected.at == link.sent && world.plan.close_of(index) != Close::HalfClose;
        return if is_unseen { Ok(()) } else { Err("not found".to_owned()) };
    }
    if client.found.iter().any(is_conversion) {
        // A CR that came before an LF by chance: nothing shows that no program did that. How many bytes became how many
        // is not said.
        return Ok(());
    }
    explains(world, client, &link.received, link.sent)?;
    named(world, client, &injected, &link)
}

/// Whether the finding is a conversion of texts, which changes how many bytes there are.
fn is_conversion(finding: &Divergence) -> bool {
    use Change::{CrLfToLf, Latin1ToUtf8, LfToCrLf, Utf8Replaced};
    let change = finding.detail.as_ref().and_then(|detail| detail.looks_like);
    change.is_some_and(|change| matches!(change, LfToCrLf | CrLfToLf | Latin1ToUtf8 | Utf8Replaced))
}

impl WayFault {
    /// Whether it concerns how the connection ends, and not which bytes come.
    fn is_of_end(self) -> bool {
        matches!(self, WayFault::Cut | WayFault::LoseRest | WayFault::Stand | WayFault::Swallow | WayFault::Reset)
    }
}

/// Bytes of a connection's stream.
fn of(world: &World, conn: ConnId, from: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    world.stream.fill(conn, from, &mut bytes);
    bytes
}

/// What was received, and how far the findings explain it.
struct Walk<'w> {
    world: &'w World,
    conn: ConnId,
    /// The offset in the connection's own stream.
    at: u64,
    rest: &'w [u8],
}

impl Walk<'_> {
    /// Takes the next bytes, which must be these ones of this connection's stream.
    fn take(&mut self, conn: ConnId, from: u64, len: u64, what: &str) -> Result<(), String> {
        let wanted = of(self.world, conn, from, len);
        self.rest = self.rest.strip_prefix(&wanted[..]).ok_or_else(|| format!("{what}, other bytes came"))?;
        Ok(())
    }

    /// Takes the next bytes, whatever they are.
    fn skip(&mut self, len: u64) -> Result<(), String> {
        self.rest = self.rest.get(len as usize..).ok_or("a finding names more bytes than came")?;
        Ok(())
    }

    fn explain(&mut self, finding: &Divergence) -> Result<(), String> {
        let Divergence { kind, offset, extent, replaced, overtaken_by, source, .. } = *finding;
        let before = offset.checked_sub(self.at).ok_or_else(|| format!("two findings of one byte: {finding:?}"))?;
        self.take(self.conn, self.at, before, "before a finding")?;
        self.at = offset;
        match kind {
            FindingKind::Reordered => {
                self.take(self.conn, offset + extent, overtaken_by, "where they overtook others")?;
                self.take(self.conn, offset, extent, "where they were overtaken")?;
                self.at += extent + overtaken_by;
            }
            FindingKind::Lost | FindingKind::Truncated | FindingKind::Stalled | FindingKind::Reset => self.at += extent,
            FindingKind::NoFin => {}
            FindingKind::Corrupt => {
                self.skip(extent)?;
                self.at += extent;
            }
            _ => {
                match source {
                    Some(source) => self.take(source.conn, source.offset, extent, "where others are named")?,
                    None => self.skip(extent)?,
                }
                self.at += replaced;
            }
        }
        Ok(())
    }
}

/// Goes through what was received with the findings as a guide: outside of them every byte is right, in them it is what
/// the finding says, and at the end nothing is left over on either side.
fn explains(world: &World, client: &Client, received: &[u8], sent: u64) -> Result<(), String> {
    let mut found: Vec<&Divergence> = client.found.iter().collect();
    found.sort_by_key(|finding| finding.offset);
    let mut walk = Walk { world, conn: client.connection.conn(), at: 0, rest: received };
    for finding in found {
        walk.explain(finding)?;
    }
    let behind = sent.checked_sub(walk.at).ok_or("a finding is about bytes that were not sent")?;
    walk.take(walk.conn, walk.at, behind, "behind the last finding")?;
    if walk.rest.is_empty() { Ok(()) } else { Err(format!("{} bytes came that no finding names", walk.rest.len())) }
}

/// Fewer bytes than this may hold no aligned word, so nothing shows where they come from.
const MIN_NAMEABLE_BYTES: usize = 15;

/// Whether the finding has the kind and the place of what was done.
fn named(world: &World, client: &Client, injected: &Injected, link: &Link) -> Result<(), String> {
    use FindingKind::{
        Corrupt, Crosstalk, Duplicated, Lost, NoFin, Reordered, Reset, Stale, Stalled, Surplus, Truncated,
    };
    let [found] = &client.found[..] else { return Err("one finding is right".to_owned()) };
    let at = injected.at;
    // At a border, one byte in 256 fits both sides by chance.
    let near = |place: u64| found.offset.abs_diff(place) <= 3;
    let is = |kind, place, extent: usize| found.kind == kind && near(place) && found.extent == extent as u64;
    let (sent, received) = (link.sent, &link.received);
    // Also if the bytes behind those that are lost equal them.
    let is_cut_off = || *received == of(world, client.connection.conn(), 0, received.len() as u64);
    let is_right = match injected.fault {
        WayFault::Lose(len) => {
            is(Lost, at, len) || (is_cut_off() && [Truncated, Stalled].contains(&found.kind) && near(at))
        }
        WayFault::Duplicate(len) => {
            is(Duplicated, at + len as u64, len)
                || (len <= 3 && (is(Surplus, at, len) || is(Surplus, at + len as u64, len)))
        }
        // Changed bytes may be the right ones in another order.
        WayFault::Change(len) => {
            (found.kind, found.offset, found.extent) == (Corrupt, at, len as u64)
                || (found.kind == Reordered && near(at) && found.extent + found.overtaken_by <= len as u64)
        }
        WayFault::Reorder(first, second) => {
            found.kind == Reordered
                && near(at)
                && (first + second <= 4
                    || (found.extent.abs_diff(first as u64) <= 3 && found.overtaken_by.abs_diff(second as u64) <= 3))
        }
        WayFault::Insert(len) => is(Surplus, at, len) || (len <= 3 && is(Duplicated, at, len)),
        WayFault::Swap(len) => {
            let source = found.source.map(|source| (source.conn, source.offset + at));
            let other =
                injected.other.map(|(other, place)| (world.clients[other].connection.conn(), place + found.offset));
            let foreign = [Crosstalk, Stale].contains(&found.kind) && source == other;
            near(at) && (foreign || (len < MIN_NAMEABLE_BYTES && found.kind == Corrupt))
        }
        WayFault::Cut => found.kind == Truncated && found.offset == at,
        // What the connection does next decides: if its FIN came, the stream is cut; if it waits, it has stalled.
        WayFault::LoseRest => [Truncated, Stalled, Lost].contains(&found.kind) && found.offset == at,
        WayFault::Stand | WayFault::Swallow => {
            found.offset == at && (found.kind == Stalled || (found.kind == NoFin && at == sent))
        }
        WayFault::Reset => found.kind == Reset && found.offset <= at,
    };
    if is_right { Ok(()) } else { Err("another kind, or another place, is right".to_owned()) }
}
