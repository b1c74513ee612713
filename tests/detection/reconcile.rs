//! Matches the server's log with the client's findings, one to one.
//!
//! # What cannot be told apart in principle
//!
//! The client sees only the bytes that arrive, and two different faults may leave the same bytes behind:
//!
//! - Among equal neighbours, nothing shows which byte was dropped or duplicated, and a byte replaced by an equal one
//!   did not change. So a place is right if the finding, applied to the stream, makes the same bytes as the fault. With
//!   random bytes the two places are the same in all but about one of 128 cases.
//! - A drop that reaches the end of what the client sent is a truncation if an EOF follows.
//! - Bytes of a connection that closes before the client has examined them are stale. So `crosstalk` from a connection
//!   that is closed when the bytes arrive may be reported as stale.
//! - Fewer than 15 bytes may hold no aligned word, so nothing shows where they come from. So few foreign or old bytes
//!   may be reported as `surplus` if they were inserted, and as `corrupt` if they replaced others.
//! - Faults less than 64 bytes apart leave too few right bytes between them to show where one ends. They are judged
//!   together: the findings must begin where the first fault does and lie within the faults, and one must have a right
//!   name.
//! - One random byte may equal the byte before it, and is then reported as `duplicated`.
//! - A reset discards bytes in flight, so it may be seen earlier than it was injected, but never later.
//! - A delay shorter than the stall time-out is not a finding, and a server that serves one connection at a time is
//!   only slow to clients that leave soon.

use std::collections::HashMap;
use std::net::SocketAddr;

use echo_tester::server::fault::{FaultKind, FaultRecord};
use echo_tester::stream::{Change, ConnId, Divergence, EndedBy, Finding, FindingKind, OpKind, Stream};

/// How well one fault was found, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Found, named and placed right, to the byte.
    Exact,
    /// Found, named, and placed so that the same bytes result.
    Equal,
    /// Found and named together with other faults that are too near.
    Together,
    /// Found and named, but at a wrong place, or with a wrong extent or source.
    Misplaced,
    /// Found, but with a wrong name.
    Misnamed,
    /// Not found.
    Missed,
}

/// The result of a case.
#[derive(Default)]
pub(crate) struct Reconciled {
    /// Each fault of the log, with the finding that was matched to it.
    pub(crate) faults: Vec<(FaultRecord, Verdict, Option<Finding>)>,
    /// Findings that no fault explains.
    pub(crate) unexplained: Vec<Finding>,
}

impl Reconciled {
    /// Findings on connections without a fault.
    pub(crate) fn false_alarms(&self) -> impl Iterator<Item = &Finding> {
        let hit = |finding: &&Finding| self.faults.iter().any(|(record, ..)| local(finding) == Some(record.peer));
        self.unexplained.iter().filter(move |finding| !hit(finding))
    }
}

/// A change to a stream: `removed` bytes at a place are replaced by `inserted`.
struct StreamEdit {
    at: u64,
    removed: u64,
    inserted: Vec<u8>,
}

/// What is known beside the log and the findings.
pub(crate) struct Truth {
    stream: Stream,
    /// The client's connection at each local address, for connections with a finding.
    conns: HashMap<SocketAddr, ConnId>,
    /// Both sides number the connections alike, because none was reopened.
    pub(crate) same_numbers: bool,
}

impl Truth {
    /// For a run with this seed and these findings.
    pub(crate) fn new(seed: u64, findings: &[Finding], same_numbers: bool) -> Truth {
        let conns = findings.iter().filter_map(|finding| Some((local(finding)?, finding.divergence.conn))).collect();
        Truth { stream: Stream::new(seed), conns, same_numbers }
    }

    fn bytes(&self, conn: ConnId, from: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.stream.fill(conn, from, &mut bytes);
        bytes
    }

    /// The client's connection behind a log entry.
    fn conn(&self, number: u64, peer: SocketAddr) -> Option<ConnId> {
        if self.same_numbers { ConnId::new(number as u32) } else { self.conns.get(&peer).copied() }
    }

    /// What the server did to the bytes, if that can be computed.
    fn edit_of_fault(&self, record: &FaultRecord, conn: ConnId) -> Option<StreamEdit> {
        let FaultRecord { offset, extent, .. } = *record;
        let removed = record.replaced.unwrap_or(0);
        Some(match record.kind {
            FaultKind::Zero => StreamEdit { at: offset, removed: extent, inserted: vec![0; extent as usize] },
            FaultKind::Drop => StreamEdit { at: offset, removed: extent, inserted: Vec::new() },
            FaultKind::Duplicate => {
                StreamEdit { at: offset + extent, removed: 0, inserted: self.bytes(conn, offset, extent) }
            }
            FaultKind::Reorder => self.swap(conn, offset, extent, record.over?),
            FaultKind::Crosstalk | FaultKind::Stale => {
                let source = record.source.as_ref()?;
                let from = self.conn(source.conn, source.peer)?;
                StreamEdit { at: offset, removed, inserted: self.bytes(from, source.offset, extent) }
            }
            _ => return None,
        })
    }

    /// What happened to the bytes according to the client, if that can be computed.
    fn edit_of_finding(&self, found: &Divergence) -> Option<StreamEdit> {
        let Divergence { offset, extent, replaced, .. } = *found;
        Some(match found.kind {
            FindingKind::Lost | FindingKind::Truncated => {
                StreamEdit { at: offset, removed: extent, inserted: Vec::new() }
            }
            FindingKind::Stalled if ended_at_the_probe(found) => {
                StreamEdit { at: offset, removed: extent, inserted: Vec::new() }
            }
            FindingKind::Reordered => self.swap(found.conn, offset, extent, found.overtaken_by),
            FindingKind::Duplicated | FindingKind::Crosstalk | FindingKind::Stale => {
                let source = found.source?;
                StreamEdit { at: offset, removed: replaced, inserted: self.bytes(source.conn, source.offset, extent) }
            }
            FindingKind::Corrupt if found.detail.and_then(|detail| detail.looks_like) == Some(Change::ZeroFilled) => {
                StreamEdit { at: offset, removed: extent, inserted: vec![0; extent as usize] }
            }
            _ => return None,
        })
    }

    fn swap(&self, conn: ConnId, at: u64, late: u64, over: u64) -> StreamEdit {
        let inserted = [self.bytes(conn, at + late, over), self.bytes(conn, at, late)].concat();
        StreamEdit { at, removed: late + over, inserted }
    }

    /// Whether both edits turn the connection's stream into the same bytes.
    fn same(&self, conn: ConnId, one: &StreamEdit, other: &StreamEdit) -> bool {
        let net = |edit: &StreamEdit| edit.inserted.len() as i64 - edit.removed as i64;
        let from = one.at.min(other.at);
        let to = (one.at + one.removed).max(other.at + other.removed);
        let made = |edit: &StreamEdit| {
            let end = edit.at + edit.removed;
            [self.bytes(conn, from, edit.at - from), edit.inserted.clone(), self.bytes(conn, end, to - end)].concat()
        };
        // A window that ends with the later edit is wide enough: behind it both streams continue alike.
        net(one) == net(other) && to - from < 1 << 20 && made(one) == made(other)
    }

    /// How well a finding matches a fault.
    fn judge(&self, record: &FaultRecord, finding: &Finding) -> Verdict {
        let found = &finding.divergence;
        let sent = sent(finding);
        if !names(record, found, sent) {
            return Verdict::Misnamed;
        }
        let to_the_end = |extent| sent.is_none_or(|sent| sent == record.offset + extent);
        if self.same_numbers && u64::from(found.conn.get()) != record.conn {
            return Verdict::Misplaced;
        }
        let exact = match record.kind {
            FaultKind::Flip => {
                (found.offset, found.extent) == (record.offset, 1)
                    && found.detail.is_some_and(|detail| (detail.bytes, Some(detail.bits)) == (1, record.bits))
            }
            FaultKind::Surplus => (found.offset, found.extent, found.replaced) == (record.offset, record.extent, 0),
            FaultKind::Duplicate => {
                let source = found.source.map(|source| (source.conn, source.offset));
                (found.offset, found.extent) == (record.offset + record.extent, record.extent)
                    && source == Some((found.conn, record.offset))
            }
            FaultKind::Crosstalk | FaultKind::Stale => {
                let source = record.source.as_ref().zip(found.source);
                (found.offset, found.extent) == (record.offset, record.extent)
                    && found.replaced == record.replaced.unwrap_or(0)
                    && source.is_some_and(|(was, is)| {
                        was.offset == is.offset && self.conn(was.conn, was.peer).is_none_or(|conn| conn == is.conn)
                    })
            }
            FaultKind::Reorder => {
                (found.offset, found.extent, Some(found.overtaken_by)) == (record.offset, record.extent, record.over)
            }
            FaultKind::Drop
            | FaultKind::Zero
            | FaultKind::FinWithoutDrain
            | FaultKind::CloseTimer
            | FaultKind::EarlyFin => (found.offset, found.extent) == (record.offset, record.extent),
            FaultKind::Reset | FaultKind::ResetAtEnd | FaultKind::SessionReset | FaultKind::Rdhup => {
                found.offset <= record.offset
            }
            FaultKind::NoFin => (found.offset, found.extent) == (record.offset, 0) && to_the_end(0),
            _ => found.offset == record.offset && to_the_end(found.extent),
        };
        if exact {
            return Verdict::Exact;
        }
        let slid = |most| record.offset.abs_diff(found.offset) <= most;
        let equal = match record.kind {
            // The first random byte may equal the byte that was due, and the last one the byte before.
            FaultKind::Surplus => slid(2) && found.extent == record.extent,
            FaultKind::Flip => false,
            FaultKind::Crosstalk | FaultKind::Stale if found.source.is_none() => {
                slid(2) && found.offset + found.extent == record.offset + record.extent
            }
            _ => {
                let edits = self.edit_of_fault(record, found.conn).zip(self.edit_of_finding(found));
                edits.is_some_and(|(fault, finding)| self.same(found.conn, &fault, &finding))
            }
        };
        if equal { Verdict::Equal } else { Verdict::Misplaced }
    }
}

/// Matches every fault with a finding, the best matches first.
pub(crate) fn reconcile(truth: &Truth, log: &[FaultRecord], findings: &[Finding]) -> Reconciled {
    let mut open: Vec<Option<&Finding>> = findings.iter().map(Some).collect();
    let mut verdicts: Vec<Option<(Verdict, usize)>> = vec![None; log.len()];
    for worst in [Verdict::Exact, Verdict::Equal, Verdict::Together, Verdict::Misplaced, Verdict::Misnamed] {
        if worst == Verdict::Together {
            judge_together(log, findings, &mut open, &mut verdicts);
            continue;
        }
        for (record, verdict) in log.iter().zip(&mut verdicts).filter(|(_, verdict)| verdict.is_none()) {
            let candidates = open.iter().enumerate().filter_map(|(n, finding)| Some((n, (*finding)?)));
            let mine = candidates.filter(|(_, finding)| local(finding) == Some(record.peer));
            let near = mine.map(|(n, finding)| (n, finding, finding.divergence.offset.abs_diff(record.offset)));
            let best = near.filter(|(_, finding, _)| truth.judge(record, finding) <= worst).min_by_key(|near| near.2);
            if let Some((n, ..)) = best {
                *verdict = Some((worst, n));
                open[n] = None;
            }
        }
    }
    let fault = |(record, verdict): (&FaultRecord, &Option<(Verdict, usize)>)| match verdict {
        Some((verdict, n)) => (record.clone(), *verdict, Some(findings[*n].clone())),
        None => (record.clone(), Verdict::Missed, None),
    };
    Reconciled {
        faults: log.iter().zip(&verdicts).map(fault).collect(),
        unexplained: open.into_iter().flatten().cloned().collect(),
    }
}

/// Judges faults that are too near to each other to be judged alone.
fn judge_together(
    log: &[FaultRecord],
    findings: &[Finding],
    open: &mut [Option<&Finding>],
    verdicts: &mut [Option<(Verdict, usize)>],
) {
    for cluster in clusters(log) {
        if cluster.iter().all(|n| verdicts[*n].is_some()) {
            continue;
        }
        let (first, last) = (&log[cluster[0]], &log[cluster[cluster.len() - 1]]);
        let within = first.offset..=end(last) + NEAR_BYTES;
        let is_here =
            |finding: &&Finding| local(finding) == Some(first.peer) && within.contains(&finding.divergence.offset);
        let begins = findings.iter().filter(is_here).map(|finding| finding.divergence.offset).min();
        let named = findings
            .iter()
            .filter(is_here)
            .position(|finding| cluster.iter().any(|n| names(&log[*n], &finding.divergence, None)));
        if let Some(named) = named
            && begins.is_some_and(|begins| begins <= end(first) + 2)
        {
            cluster.iter().for_each(|n| verdicts[*n] = verdicts[*n].or(Some((Verdict::Together, named))));
            open.iter_mut().filter(|open| open.as_ref().is_some_and(is_here)).for_each(|open| *open = None);
        }
    }
}

/// Faults less than this many bytes apart are near.
const NEAR_BYTES: u64 = 64;

/// Groups of two or more faults of one connection, each near the next, in their order.
fn clusters(log: &[FaultRecord]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..log.len()).collect();
    order.sort_by_key(|n| (log[*n].peer, log[*n].offset));
    let is_near = |a: &usize, b: &usize| log[*a].peer == log[*b].peer && log[*b].offset < end(&log[*a]) + NEAR_BYTES;
    order.chunk_by(is_near).filter(|near| near.len() > 1).map(<[usize]>::to_vec).collect()
}

/// Where a fault ends in its connection's stream.
fn end(record: &FaultRecord) -> u64 {
    let own = match record.kind {
        FaultKind::Crosstalk | FaultKind::Stale => record.replaced.unwrap_or(0),
        FaultKind::Surplus => 0,
        _ => record.extent + record.over.unwrap_or(0),
    };
    record.offset + own
}

/// Fewer bytes than this may hold no aligned word.
const MIN_NAMEABLE_BYTES: u64 = 15;

/// Whether this is the right name for the fault.
fn names(record: &FaultRecord, found: &Divergence, sent: Option<u64>) -> bool {
    let to_the_end = sent == Some(record.offset + record.extent);
    let foreign = matches!(record.kind, FaultKind::Crosstalk | FaultKind::Stale);
    if foreign && record.extent < MIN_NAMEABLE_BYTES {
        let nameless = if record.replaced.is_some() { FindingKind::Corrupt } else { FindingKind::Surplus };
        return matches!(found.kind, FindingKind::Crosstalk | FindingKind::Stale) || found.kind == nameless;
    }
    match record.kind {
        FaultKind::Flip | FaultKind::Zero => found.kind == FindingKind::Corrupt,
        // Unless the run has shown that half-closed connections stay open, the FIN that answers the probe does not
        // prove that the last bytes were lost.
        FaultKind::Drop if to_the_end => {
            matches!(found.kind, FindingKind::Lost | FindingKind::Truncated) || ended_at_the_probe(found)
        }
        // How much was sent is known only if one of the last operations was a write; a slow reader has read since.
        FaultKind::Drop if record.fault.kind == FaultKind::ShortSend => {
            matches!(found.kind, FindingKind::Lost | FindingKind::Truncated)
        }
        FaultKind::Drop => found.kind == FindingKind::Lost,
        FaultKind::Duplicate => found.kind == FindingKind::Duplicated,
        FaultKind::Reorder => found.kind == FindingKind::Reordered,
        FaultKind::Crosstalk => {
            let closed = found.source.is_some_and(|source| !source.open && source.conn != found.conn);
            found.kind == FindingKind::Crosstalk || (closed && found.kind == FindingKind::Stale)
        }
        FaultKind::Stale => found.kind == FindingKind::Stale,
        FaultKind::Truncate | FaultKind::FinWithoutDrain | FaultKind::CloseTimer | FaultKind::EarlyFin => {
            found.kind == FindingKind::Truncated
        }
        FaultKind::Surplus => {
            found.kind == FindingKind::Surplus || (record.extent == 1 && found.kind == FindingKind::Duplicated)
        }
        FaultKind::Reset | FaultKind::ResetAtEnd | FaultKind::SessionReset | FaultKind::Rdhup => {
            found.kind == FindingKind::Reset
        }
        FaultKind::NoFin => found.kind == FindingKind::NoFin,
        _ => found.kind == FindingKind::Stalled,
    }
}

/// Whether bytes were missing when the server's FIN answered the probe of a stall.
fn ended_at_the_probe(found: &Divergence) -> bool {
    let probed = found.ending.as_ref().is_some_and(|ending| ending.probed && ending.by == EndedBy::Fin);
    found.kind == FindingKind::Stalled && probed
}

/// How much the connection had sent, if one of its last operations before the finding was a write.
fn sent(finding: &Finding) -> Option<u64> {
    let writes = finding.recent.iter().filter(|op| op.kind == OpKind::Write);
    writes.map(|op| op.offset + op.len).max()
}

fn local(finding: &Finding) -> Option<SocketAddr> {
    finding.local.as_ref()?.parse().ok()
}
