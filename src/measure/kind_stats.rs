//! The findings of one kind, in sum: how many, on how many connections, of how many bytes, since when, and which bytes
//! they have in common.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stream::{Divergence, FindingKind};

/// Byte values that are listed. If there are more, they explain nothing.
const MAX_VALUES: usize = 4;

/// The findings of each kind, in sum.
pub type KindStatsMap = BTreeMap<FindingKind, KindStats>;

/// The findings of one kind, in sum, including those beyond the number that is kept in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KindStats {
    /// Findings.
    pub count: u64,
    /// Connections that have such findings.
    pub connections: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// The bytes of the smallest.
    pub least_bytes: u64,
    /// The bytes of the largest.
    pub most_bytes: u64,
    /// When the first bytes of the first came, in milliseconds since the start of the run.
    pub first_ms: f64,
    /// Lost or doubled pieces of a single byte.
    #[serde(default)]
    pub single: u64,
    /// The values of these single bytes; null if they are more than four.
    #[serde(default)]
    pub values: Option<Vec<u8>>,
    /// The values that each lost or doubled piece contains; null if not all pieces are short.
    #[serde(default)]
    pub in_each: Option<Vec<u8>>,
}

impl KindStats {
    /// One finding.
    fn of(divergence: &Divergence, at_ms: f64, is_first_of_connection: bool) -> KindStats {
        let mut values = divergence.short.clone().filter(|bytes| !bytes.is_empty());
        if let Some(values) = &mut values {
            values.sort_unstable();
            values.dedup();
        }
        let single = divergence.short.clone().filter(|bytes| bytes.len() == 1);
        KindStats {
            count: 1,
            connections: u64::from(is_first_of_connection),
            bytes: divergence.extent,
            least_bytes: divergence.extent,
            most_bytes: divergence.extent,
            first_ms: at_ms,
            single: u64::from(single.is_some()),
            values: Some(single.unwrap_or_default()),
            in_each: values,
        }
    }

    /// Adds other findings of the kind.
    pub fn add(&mut self, other: &KindStats) {
        self.count = self.count.saturating_add(other.count);
        self.connections = self.connections.saturating_add(other.connections);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.least_bytes = self.least_bytes.min(other.least_bytes);
        self.most_bytes = self.most_bytes.max(other.most_bytes);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.single = self.single.saturating_add(other.single);
        self.values = self.values.take().zip(other.values.as_ref()).and_then(|(mut all, others)| {
            all.extend(others);
            all.sort_unstable();
            all.dedup();
            (all.len() <= MAX_VALUES).then_some(all)
        });
        self.in_each = self.in_each.take().zip(other.in_each.as_ref()).map(|(mut common, others)| {
            common.retain(|value| others.contains(value));
            common
        });
    }

    /// The same, if the run had started `by_ms` milliseconds earlier.
    pub fn later(&self, by_ms: f64) -> KindStats {
        KindStats { first_ms: self.first_ms + by_ms, ..self.clone() }
    }
}

/// Adds a finding to those of its kind.
pub fn count(kinds: &mut KindStatsMap, divergence: &Divergence, at_ms: f64, is_first_of_connection: bool) {
    add(kinds, divergence.kind, &KindStats::of(divergence, at_ms, is_first_of_connection));
}

/// Adds findings of a kind.
pub fn add(kinds: &mut KindStatsMap, kind: FindingKind, other: &KindStats) {
    match kinds.get_mut(&kind) {
        Some(stats) => stats.add(other),
        None => {
            kinds.insert(kind, other.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::ConnId;

    /// The sum of lost pieces of these bytes.
    fn lost(pieces: &[&[u8]]) -> KindStats {
        let mut kinds = KindStatsMap::new();
        for (n, piece) in pieces.iter().enumerate() {
            let conn = ConnId::new(1).expect("small");
            let mut divergence = Divergence::of_connection(FindingKind::Lost, conn, 0, piece.len() as u64);
            divergence.short = Some(piece.to_vec());
            count(&mut kinds, &divergence, 5.0 + n as f64, n == 0);
        }
        kinds.remove(&FindingKind::Lost).expect("there are some")
    }

    #[test]
    fn findings_of_a_kind_are_added_up() {
        let sum = lost(&[&[0], &[0, 0, 0], &[0]]);
        assert_eq!((sum.count, sum.connections, sum.bytes, sum.least_bytes, sum.most_bytes), (3, 1, 5, 1, 3));
        assert_eq!((sum.first_ms, sum.later(10.0).first_ms), (5.0, 15.0));
        let mut twice = sum.clone();
        twice.add(&sum.later(-1.0));
        assert_eq!((twice.count, twice.connections, twice.first_ms), (6, 2, 4.0));
    }

    #[test]
    fn values_that_all_bytes_or_all_pieces_share_are_known() {
        let nul = lost(&[&[0], &[0, 7, 0], &[0]]);
        assert_eq!((nul.single, nul.values, nul.in_each), (2, Some(vec![0]), Some(vec![0])));
        assert_eq!(lost(&[&[1], &[2], &[3], &[4], &[5]]).values, None);
        assert_eq!(lost(&[&[0x13], &[0x11], &[0x13]]).values, Some(vec![0x11, 0x13]));
        let escaped = lost(&[&[0xff, 3], &[7, 0xff], &[0xff, 9, 3], &[0xff, 1, 2]]);
        assert_eq!((escaped.single, escaped.in_each), (0, Some(vec![0xff])));
        let none = lost(&[&[1, 2], &[3, 4]]);
        assert_eq!(none.in_each, Some(vec![]));
    }
}
