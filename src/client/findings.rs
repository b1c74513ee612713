//! What a worker does when something is found wrong: it makes a finding with addresses, time and circumstances, counts
//! it, and keeps it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::run_state::RunState;
use super::slot::LiveConnection;
use crate::measure::LoadStats;
use crate::stream::{Divergence, Finding, Op};

/// What was found wrong, by one worker.
pub(super) struct Findings {
    /// What the current turn has found, of which no finding was made yet.
    found: Vec<Divergence>,
    /// For each group, the findings that are kept in full.
    kept: Vec<Vec<Finding>>,
}

/// The circumstances under which something was found wrong.
#[derive(Clone)]
pub(super) struct FindingContext<'a> {
    /// Nanoseconds since the start of the run.
    pub(super) now: u64,
    pub(super) local: Option<String>,
    pub(super) remote: Option<String>,
    /// The last operations of the connection.
    pub(super) recent: Vec<Op>,
    /// What the system said, if that ended the connection.
    pub(super) error: Option<&'a io::Error>,
}

impl Findings {
    pub(super) fn new(groups: usize) -> Findings {
        Findings { found: Vec::new(), kept: vec![Vec::new(); groups] }
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
        let LiveConnection { connection, socket } = open;
        connection.fail();
        let text = |address: io::Result<SocketAddr>| address.ok().map(|address| address.to_string());
        let target = run.plan.target(connection.conn());
        let context = FindingContext {
            now,
            local: text(socket.stream().local_addr()),
            // After a reset the socket no longer knows it.
            remote: text(socket.stream().peer_addr()).or_else(|| Some(target.to_string())),
            recent: connection.recent_ops(now),
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
        stats.counters.found(divergence.kind);
        stats.timeline.at(Duration::from_nanos(context.now)).findings += 1;
        let kept = &mut self.kept[group];
        if kept.len() < run.plan.findings {
            kept.push(finding(run, divergence, context));
        }
        if run.plan.groups[group].fail_fast {
            run.fail_fast();
        }
    }

    /// The findings of each group that were kept, in the order of the plan.
    pub(super) fn into_groups(self) -> Vec<Vec<Finding>> {
        self.kept
    }
}

fn finding(run: &RunState, mut divergence: Divergence, context: FindingContext<'_>) -> Finding {
    let FindingContext { now, local, remote, recent, error } = context;
    let replay = run.plan.replay.as_ref().map(|command| match divergence.source {
        Some(source) if source.conn != divergence.conn => {
            format!("{command} --only-conn {},{}", divergence.conn, source.conn)
        }
        _ => format!("{command} --only-conn {}", divergence.conn),
    });
    let source_shard = divergence.source.and_then(|source| run.ledger.other_shard(source.conn));
    // The operations around the wrong bytes are not those around the moment at which their nature became certain.
    let (at_ms, recent) = match divergence.circumstances.take() {
        Some(then) => (then.at_ms, then.recent.clone()),
        None => (now as f64 / 1e6, recent),
    };
    Finding {
        divergence,
        source_shard: source_shard.map(|shard| shard.to_string()),
        local,
        remote,
        at_ms,
        cause: error.map(ToString::to_string),
        recent,
        replay,
    }
}
