//! What a worker does with what is found wrong: it adds who, where and when, counts it, and keeps it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::slot::Stage;
use super::worker::Worker;
use crate::stream::{Divergence, Finding, Op};

impl Worker {
    /// Makes findings of what the slot's last turn found wrong.
    pub(super) fn take_findings(&mut self, index: usize, error: Option<&io::Error>) {
        let found = std::mem::take(&mut self.found);
        if found.is_empty() {
            return;
        }
        let now = self.clock.read();
        let slot = &mut self.slots[index];
        let group = usize::from(slot.group);
        let Stage::Open(open) = &mut slot.stage else { return };
        open.connection.fail();
        let text = |address: io::Result<SocketAddr>| address.ok().map(|address| address.to_string());
        let target = self.shared.plan.target(open.connection.conn());
        let addresses = (
            text(open.link.stream.local_addr()),
            // After a reset the socket does not know it any more.
            text(open.link.stream.peer_addr()).or_else(|| Some(target.to_string())),
        );
        let recent = open.connection.recent(now);
        for divergence in found {
            let finding = self.finding(divergence, now, addresses.clone(), recent.clone(), error);
            self.keep(group, finding, now);
        }
    }

    pub(super) fn finding(
        &self,
        mut divergence: Divergence,
        now: u64,
        (local, remote): (Option<String>, Option<String>),
        recent: Vec<Op>,
        error: Option<&io::Error>,
    ) -> Finding {
        let replay = self.shared.plan.replay.as_ref().map(|command| match divergence.source {
            Some(source) if source.conn != divergence.conn => {
                format!("{command} --only-conn {},{}", divergence.conn, source.conn)
            }
            _ => format!("{command} --only-conn {}", divergence.conn),
        });
        let source_shard = divergence.source.and_then(|source| self.shared.ledger.other_shard(source.conn));
        let cause = error.map(ToString::to_string);
        // What surrounded the wrong bytes is not what surrounds the moment in which it became certain what they are.
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
            cause,
            recent,
            replay,
        }
    }

    /// Counts a finding, and keeps it if there are not too many.
    pub(super) fn keep(&mut self, group: usize, finding: Finding, now: u64) {
        let (figures, findings) = &mut self.groups[group];
        figures.counters.found(finding.divergence.kind);
        figures.timeline.at(Duration::from_nanos(now)).findings += 1;
        if findings.len() < self.shared.plan.findings {
            findings.push(finding);
        }
        if self.shared.plan.groups[group].fail_fast {
            self.shared.failed_fast.store(true, Ordering::Relaxed);
        }
    }
}
