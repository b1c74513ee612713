//! What a worker does when something is found wrong: it makes a finding with addresses, time and circumstances, counts
//! it, and keeps it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::intake::IntakeFault;
use super::pair::Side;
use super::run_state::RunState;
use super::slot::LiveConnection;
use crate::measure::LoadStats;
use crate::plan::{Close, Profile, RECOGNIZED_BY_BYTES};
use crate::stream::kept::{is_worth_keeping, keep_first};
use crate::stream::{
    BackendFault, ConnId, Divergence, EndedBy, Finding, FindingKind, Op, OtherSide, StreamDirection, StreamSource,
};

/// What was found wrong, by one worker.
pub(super) struct Findings {
    /// What the current turn has found, of which no finding was made yet.
    found: Vec<Divergence>,
    /// For each group, the findings that are kept in full.
    kept: Vec<Vec<Finding>>,
    /// The connections that have findings, and of which kinds.
    connections: HashSet<(ConnId, FindingKind)>,
}

/// Entries of `connections`. Beyond that it is emptied, and a connection that fails again may count twice.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The circumstances under which something was found wrong.
#[derive(Clone)]
pub(super) struct FindingContext<'a> {
    /// Nanoseconds since the start of the run.
    pub(super) now: u64,
    pub(super) local: Option<String>,
    pub(super) remote: Option<String>,
    /// The last operations of the connection.
    pub(super) recent: Vec<Op>,
    /// Where both ends are ours: which of them has found it, and the other one.
    pub(super) other: Option<(Side, OtherSide)>,
    /// The way on which it went wrong, if that is known otherwise.
    pub(super) way: Option<StreamDirection>,
    /// What the system said, if that ended the connection.
    pub(super) error: Option<&'a io::Error>,
}

impl Findings {
    pub(super) fn new(groups: usize) -> Findings {
        Findings { found: Vec::new(), kept: vec![Vec::new(); groups], connections: HashSet::new() }
    }

    /// Where a turn puts what it finds wrong.
    #[inline]
    pub(super) fn found(&mut self) -> &mut Vec<Divergence> {
        &mut self.found
    }

    /// Makes findings of what the connection's last turn found wrong.
    pub(super) fn take_found(
        &mut self,
        run: &RunState,
        open: &mut LiveConnection,
        (group, stats): (usize, &mut LoadStats),
        now: u64,
        error: Option<&io::Error>,
    ) {
        let found = std::mem::take(&mut self.found);
        if found.is_empty() {
            return;
        }
        let LiveConnection { connection, socket, .. } = open;
        connection.fail(found.len());
        let text = |address: io::Result<SocketAddr>| address.ok().map(|address| address.to_string());
        let side = connection.side();
        let target = run.plan.target(connection.conn());
        let context = FindingContext {
            now,
            local: text(socket.stream().local_addr()),
            remote: match (side, target.preamble()) {
                (Some(Side::Backend), _) => connection.seen_from().map(|address| address.to_string()),
                // After a reset the socket no longer knows it.
                (_, None) => text(socket.stream().peer_addr()).or_else(|| Some(target.to_string())),
                // Behind a proxy, the socket's peer is not the target.
                (_, Some(preamble)) => Some(preamble.to_string()),
            },
            recent: connection.recent_ops(now),
            other: side.zip(connection.other_side()),
            way: None,
            error,
        };
        for divergence in found {
            self.add(run, (group, stats), divergence, context.clone());
        }
    }

    /// Makes a finding, counts it, and keeps it if there are not too many.
    pub(super) fn add(
        &mut self,
        run: &RunState,
        (group, stats): (usize, &mut LoadStats),
        divergence: Divergence,
        context: FindingContext<'_>,
    ) {
        let at_ms = divergence.circumstances.as_ref().map_or(context.now as f64 / 1e6, |then| then.at_ms);
        let is_first_of_connection = self.is_first(&divergence);
        stats.found(&divergence, at_ms, is_first_of_connection);
        let at = Duration::try_from_secs_f64(at_ms / 1000.0).unwrap_or_default();
        stats.timeline.at(at).findings += 1;
        let kept = &mut self.kept[group];
        if is_worth_keeping(kept, run.plan.findings, divergence.kind) {
            kept.push(finding(run, &run.plan.groups[group], divergence, context));
            keep_first(kept, run.plan.findings);
        }
        if run.plan.groups[group].fail_fast {
            run.fail_fast();
        }
    }

    /// Whether this is the connection's first finding of its kind.
    fn is_first(&mut self, divergence: &Divergence) -> bool {
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.clear();
        }
        self.connections.insert((divergence.conn, divergence.kind))
    }

    /// The findings of each group that were kept, in the order of the plan.
    pub(super) fn into_groups(self) -> Vec<Vec<Finding>> {
        self.kept
    }
}

fn finding(run: &RunState, group: &Profile, mut divergence: Divergence, context: FindingContext<'_>) -> Finding {
    let FindingContext { now, local, remote, recent, other, way, error } = context;
    let direction = way.or_else(|| other.as_ref().map(|(side, other)| direction(*side, other, &divergence)));
    // Connections that end together fail together: one alone would end as ever.
    let needs_others = group.close == Close::Together && group.conns > 1;
    let replay = run.plan.replay.as_ref().map(|command| match divergence.source {
        None if needs_others => command.clone(),
        Some(source) if source.conn != divergence.conn && divergence.earlier.is_none() => {
            format!("{command} --only-conn {},{}", divergence.conn, source.conn)
        }
        _ => format!("{command} --only-conn {}", divergence.conn),
    });
    let own_source = divergence.source.filter(|_| divergence.earlier.is_none());
    let source_shard = own_source.and_then(|source| run.ledger.other_shard(source.conn));
    let other = other.map(|(_, other)| other);
    // The operations around the wrong bytes are not those around the moment at which their nature became certain.
    // Neither is what the other end had done.
    let (at_ms, recent, other) = match divergence.circumstances.take() {
        Some(then) => (then.at_ms, then.recent.clone(), then.other.clone().or(other)),
        None => (now as f64 / 1e6, recent, other),
    };
    // What the system says is about the end of the connection, and not about bytes that came before.
    let is_of_end = divergence.ending.is_some() || !divergence.kind.is_of_bytes();
    Finding {
        divergence,
        direction,
        other: other.map(Box::new),
        source_shard: source_shard.map(|shard| shard.to_string()),
        local,
        remote,
        at_ms,
        cause: error.filter(|_| is_of_end).map(ToString::to_string),
        recent,
        replay,
    }
}

/// The finding of what came to the backend of a connection and should not have.
pub(super) fn of_fault(run: &RunState, fault: &IntakeFault) -> Option<(usize, Finding)> {
    let IntakeFault { conn, fault, source, at } = *fault;
    let group = run.plan.slots.of(conn).ok()?.0.group as usize;
    let (kind, extent) = match fault {
        BackendFault::BeganAgain => (FindingKind::Duplicated, RECOGNIZED_BY_BYTES),
        BackendFault::HeaderOfAnother => (FindingKind::Crosstalk, 0),
    };
    let divergence = Divergence {
        at_backend: Some(fault),
        source: Some(StreamSource { conn: source, offset: 0, open: true }),
        ..Divergence::of_connection(kind, conn, 0, extent)
    };
    let now = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let way = Some(StreamDirection::Up);
    let context = FindingContext { now, local: None, remote: None, recent: Vec::new(), other: None, way, error: None };
    Some((group, finding(run, &run.plan.groups[group], divergence, context)))
}

/// On which way it went wrong: the one that ends at the side that has found it, unless a write of that side failed, or
/// the connection has not reached the other side. Bytes that came are of the way on which they came.
fn direction(side: Side, other: &OtherSide, divergence: &Divergence) -> StreamDirection {
    let write_failed = divergence.ending.as_ref().is_some_and(|ending| ending.write_failed);
    let is_unreached = !other.reached && !divergence.kind.is_of_bytes();
    match (side, write_failed || is_unreached) {
        (Side::Client, false) | (Side::Backend, true) => StreamDirection::Down,
        (Side::Backend, false) | (Side::Client, true) => StreamDirection::Up,
    }
}

/// The connection of this finding has reached the backend after all, when its client had ended: what ended the client
/// came on the way back, and only what it missed was on the way to the server.
pub(super) fn note_late(finding: &mut Finding) {
    let Some(other) = finding.other.as_deref_mut().filter(|other| !other.reached) else { return };
    other.late = true;
    let ending = finding.divergence.ending.as_deref().filter(|ending| !ending.write_failed);
    if ending.is_some_and(|ending| matches!(ending.by, EndedBy::Fin | EndedBy::Reset)) {
        finding.direction = Some(StreamDirection::Down);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::*;
    use crate::stream::{Ending, FINDING_KINDS};

    fn conn() -> ConnId {
        ConnId::new(7).expect("small")
    }

    #[test]
    fn bytes_that_came_are_of_the_way_back_though_the_backend_was_not_reached() {
        let other = Pair::new(conn(), 0, 0).shown(Side::Backend);
        for row in FINDING_KINDS {
            let divergence = Divergence::of_connection(row.kind, conn(), 0, 8);
            let expected = if row.is_of_bytes { StreamDirection::Down } else { StreamDirection::Up };
            assert_eq!(direction(Side::Client, &other, &divergence), expected, "{}", row.name);
        }
    }

    #[test]
    fn an_end_before_the_backend_was_reached_came_on_the_way_back() {
        let mut divergence = Divergence::of_connection(FindingKind::Truncated, conn(), 0, 0);
        for (by, expected) in [
            (EndedBy::Fin, StreamDirection::Down),
            (EndedBy::Reset, StreamDirection::Down),
            (EndedBy::Silence, StreamDirection::Up),
        ] {
            let ending = Ending {
                by,
                own_fin_ms: None,
                probed: false,
                silent_ms: 0.0,
                received_after_fin: 0,
                writes_blocked: false,
                write_failed: false,
                sent: 0,
                received: 0,
            };
            divergence.ending = Some(Box::new(ending));
            let mut finding = Finding {
                direction: Some(StreamDirection::Up),
                other: Some(Box::new(Pair::new(conn(), 0, 0).shown(Side::Backend))),
                ..Finding::of(divergence.clone())
            };
            note_late(&mut finding);
            assert_eq!((finding.direction, finding.other.map(|other| other.late)), (Some(expected), Some(true)));
        }
    }
}
