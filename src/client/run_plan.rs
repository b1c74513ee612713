//! The resolved plan of a run: which connections it opens, from where to where, and what they do.

use std::sync::Arc;

use super::clock::nanos;
use super::intake::Intake;
use super::target::{self, SourceChoice};
use crate::plan::{Profile, Shard, Slot, Slots};
use crate::stream::ConnId;
use crate::stream::earlier::EarlierRun;
use crate::transport::Destination;

/// Everything that a run needs to know, resolved.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// The source of all randomness.
    pub seed: u64,
    /// The seed that `--seed` takes to run this again. A case of a suite derives `seed` from it.
    pub typed_seed: u64,
    /// Where to connect. The connections take these in turn.
    pub targets: Vec<Destination>,
    /// Where to connect from.
    pub sources: SourceChoice,
    /// The load groups, which run at the same time.
    pub groups: Vec<Arc<Profile>>,
    /// The slots of all groups.
    pub slots: Slots,
    /// The share of the slots that this process opens.
    pub shard: Shard,
    /// If not empty, only these connections are opened.
    pub only: Vec<ConnId>,
    /// Number of worker threads.
    pub workers: usize,
    /// How many findings a group keeps in full. All are counted.
    pub findings: usize,
    /// The command that runs a connection again, once `--only-conn N` is added to it.
    pub replay: Option<String>,
    /// Earlier runs against the same server, which may still hold their bytes.
    pub earlier: Vec<EarlierRun>,
    /// Where connections come in at the backend, if both ends are ours. Then every group has a flow of two sides.
    pub backend: Option<Arc<Intake>>,
}

impl RunPlan {
    /// The target of this connection.
    pub(super) fn target(&self, conn: ConnId) -> &Destination {
        &self.targets[target::of_connection(conn, self.targets.len())]
    }

    /// The slots that this process opens: those of the connections in `only`, or else those of its shard. One slot
    /// stands for each connection that is open at a time.
    pub fn own_slots(&self) -> impl Iterator<Item = Slot> {
        let alone = self.only.iter().filter_map(|conn| self.slots.of(*conn).ok()).map(|(slot, _)| slot);
        let share = self.only.is_empty().then(|| self.slots.of_shard(self.shard));
        alone.chain(share.into_iter().flatten())
    }
}

/// When the time of a group is up, in nanoseconds since the start of the run; `u64::MAX` if it has no such time.
pub(super) fn deadline(profile: &Profile) -> u64 {
    profile.duration.map_or(u64::MAX, nanos)
}
