//! Known failures: which of them a run may have, and which entries of the list are out of date. Pure; the list is read
//! and written by `runner::known_failures`.
//!
//! A case is known to fail in the ways that its entry names. Whatever it does beyond them is a failure. An entry whose
//! case passes is stale, and fails the run too: a list that nobody shortens hides the next defect. An entry whose case
//! was not judged here (filtered, skipped, inconclusive) says nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::CheckReport;
use super::outcome::CaseOutcome;
use crate::measure::Counters;
use crate::stream::FindingKind;

/// The version of the form of the list.
pub const VERSION: u32 = 1;

/// Kinds that one fault of the bytes may have. A byte that is dropped is *lost* here and *corrupt* there: that depends
/// on the bytes around it, and they differ with the seed. Bytes of another connection are another fault.
const INEXACT: &[FindingKind] =
    &[FindingKind::Corrupt, FindingKind::Lost, FindingKind::Duplicated, FindingKind::Reordered, FindingKind::Surplus];
/// What follows when bytes are missing: the rest never comes, or the end comes without it.
const IN_THE_WAKE: &[FindingKind] = &[FindingKind::Stalled, FindingKind::Truncated];

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of its form.
    pub version: u32,
    /// The cases that fail, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownFailure>,
}

/// A case that is known to fail, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// Its id; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it ends.
    pub outcome: CaseOutcome,
    /// The kinds of its findings.
    #[serde(default)]
    pub findings: Vec<FindingKind>,
    /// The checks that it does not meet, besides those that follow from its findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

/// What the list makes of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The outcome that counts.
    pub outcome: CaseOutcome,
    /// Why, in a sentence.
    pub reason: String,
}

impl KnownFailure {
    /// How a case went. `total`: its counters, if it ran.
    pub fn of(id: &str, name: &str, outcome: CaseOutcome, total: Option<&Counters>, checks: &[CheckReport]) -> Self {
        let kinds: BTreeSet<FindingKind> = total.iter().flat_map(|total| total.findings.keys().copied()).collect();
        // What a case misses in its wake varies from run to run. The server is another matter than the bytes.
        let is_a_way_of_its_own = |check: &&CheckReport| match kinds.is_empty() {
            true => check.load().is_none(),
            false => check.is_of_server(),
        };
        let unmet = checks.iter().filter(|check| !check.outcome.is_good()).filter(is_a_way_of_its_own);
        let mut checks: Vec<String> = unmet.map(|check| check.name.clone()).collect();
        checks.sort();
        KnownFailure {
            id: id.to_owned(),
            name: name.to_owned(),
            outcome,
            findings: kinds.into_iter().collect(),
            checks,
        }
    }

    /// Its id and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }

    /// Whether a list can hold it.
    fn is_failure(&self) -> bool {
        matches!(self.outcome, CaseOutcome::Fail | CaseOutcome::ThresholdMissed)
    }

    fn is_of_same_case(&self, other: &KnownFailure) -> bool {
        self.id == other.id && self.name == other.name
    }

    /// The ways in which a case failed that this entry does not name.
    fn new_ways(&self, seen: &KnownFailure) -> Vec<String> {
        let is_known = |kind: &FindingKind| {
            self.findings.contains(kind)
                || (INEXACT.contains(kind) || IN_THE_WAKE.contains(kind))
                    && self.findings.iter().any(|known| INEXACT.contains(known))
        };
        let kinds = seen.findings.iter().filter(|kind| !is_known(kind));
        let checks = seen.checks.iter().filter(|check| !self.checks.contains(check));
        kinds.map(|kind| kind.name().to_owned()).chain(checks.cloned()).collect()
    }
}

impl Baseline {
    /// The list of these cases, sorted; those that did not fail are left out. Entries of `earlier`, an older list, stay
    /// if their case was not judged.
    pub fn of(seen: &[KnownFailure], earlier: Option<&Baseline>) -> Baseline {
        let is_judged = |entry: &&KnownFailure| {
            let is_result = |case: &KnownFailure| case.is_failure() || case.outcome == CaseOutcome::Pass;
            seen.iter().any(|case| case.is_of_same_case(entry) && is_result(case))
        };
        let kept = earlier.iter().flat_map(|earlier| &earlier.known).filter(|entry| !is_judged(entry));
        let mut known: Vec<KnownFailure> = seen.iter().filter(|case| case.is_failure()).chain(kept).cloned().collect();
        known.sort_by_cached_key(|entry| (natural(&entry.id), entry.name.clone()));
        Baseline { version: VERSION, known }
    }

    /// What the list makes of a case; `None`: nothing.
    pub fn rule(&self, seen: &KnownFailure) -> Option<Ruling> {
        let entry = self.known.iter().find(|entry| entry.is_of_same_case(seen))?;
        let ruling = |outcome, reason: String| Some(Ruling { outcome, reason });
        match seen.outcome {
            CaseOutcome::Pass => {
                let was = entry.outcome.name().to_lowercase();
                let remedy = "take its entry out of the baseline, so that its next failure is not overlooked";
                ruling(CaseOutcome::Stale, format!("it passes, and the baseline says '{was}': {remedy}"))
            }
            CaseOutcome::Fail | CaseOutcome::ThresholdMissed => match entry.new_ways(seen) {
                new if new.is_empty() => ruling(CaseOutcome::Known, "this failure is in the baseline".to_owned()),
                new => {
                    let new = new.join(", ");
                    ruling(seen.outcome, format!("it is known to fail, but not in this way: {new}"))
                }
            },
            _ => None,
        }
    }

    /// Entries of no case among these titles: of a case that was renamed, or never was.
    pub fn unknown<'b>(&'b self, titles: &'b [String]) -> impl Iterator<Item = &'b KnownFailure> {
        self.known.iter().filter(|entry| !titles.contains(&entry.title()))
    }
}

/// Ids in the order in which people count: 5.6 < 5.6L < 10.1.
fn natural(id: &str) -> Vec<(u64, String)> {
    let part = |part: &str| {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        (part[..end].parse().unwrap_or(u64::MAX), part[end..].to_owned())
    };
    id.split('.').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use CaseOutcome::{Fail, Inconclusive, Known, Pass, Skipped, Stale, ThresholdMissed};
    use FindingKind::{Corrupt, Crosstalk, Lost, Reset, Stale as OldBytes, Stalled, Truncated};

    fn case(id: &str, outcome: CaseOutcome, findings: &[FindingKind], checks: &[&str]) -> KnownFailure {
        let checks = checks.iter().map(|check| (*check).to_owned()).collect();
        KnownFailure { id: id.to_owned(), name: "n".to_owned(), outcome, findings: findings.to_vec(), checks }
    }

    #[test]
    fn a_case_may_fail_in_the_ways_that_its_entry_names_and_in_no_other() {
        let known = [
            case("1", Fail, &[Truncated, Reset], &["server"]),
            case("2", ThresholdMissed, &[], &["a < 1"]),
            case("4", Fail, &[Lost], &[]),
        ];
        let list = Baseline::of(&known, None);
        for (seen, outcome, words) in [
            (case("1", Fail, &[Truncated, Reset], &["server"]), Some(Known), "in the baseline"),
            (case("1", Fail, &[Reset], &[]), Some(Known), "in the baseline"),
            (case("1", Fail, &[Reset, Crosstalk], &[]), Some(Fail), "not in this way: crosstalk"),
            (case("1", ThresholdMissed, &[], &["b == 2"]), Some(ThresholdMissed), "not in this way: b == 2"),
            (case("2", ThresholdMissed, &[], &["a < 1"]), Some(Known), "in the baseline"),
            (case("2", Fail, &[Reset], &[]), Some(Fail), "not in this way: reset"),
            (case("1", Pass, &[], &[]), Some(Stale), "take its entry out"),
            (case("1", Inconclusive, &[], &[]), None, ""),
            (case("1", Skipped, &[], &[]), None, ""),
            (case("3", Fail, &[Reset], &[]), None, ""),
            (case("4", Fail, &[Corrupt, Stalled, Truncated], &[]), Some(Known), "in the baseline"),
            (case("4", Fail, &[Lost, Crosstalk], &[]), Some(Fail), "not in this way: crosstalk"),
            (case("4", Fail, &[Lost, OldBytes], &[]), Some(Fail), "not in this way: stale"),
            (case("4", Fail, &[Reset], &[]), Some(Fail), "not in this way: reset"),
            (case("1", Fail, &[Truncated, Lost], &[]), Some(Fail), "not in this way: lost"),
        ] {
            let ruling = list.rule(&seen);
            assert_eq!(ruling.as_ref().map(|ruling| ruling.outcome), outcome, "{seen:?}");
            assert!(ruling.is_none_or(|ruling| ruling.reason.contains(words)), "{seen:?}");
        }
    }

    #[test]
    fn a_list_is_sorted_as_people_count_and_holds_failures_alone() {
        let seen = ["10.1", "5.6L", "5.6", "", "2.1"].map(|id| case(id, Fail, &[Reset], &[]));
        let list = Baseline::of(&[&seen[..], &[case("1.1", Pass, &[], &[])]].concat(), None);
        let ids: Vec<&str> = list.known.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["2.1", "5.6", "5.6L", "10.1", ""]);
    }

    #[test]
    fn an_entry_stays_until_its_case_is_judged() {
        let earlier = Baseline::of(&["1", "2", "3", "4"].map(|id| case(id, Fail, &[Reset], &[])), None);
        let seen = [case("1", Pass, &[], &[]), case("2", Fail, &[Truncated], &[]), case("3", Inconclusive, &[], &[])];
        let list = Baseline::of(&seen, Some(&earlier));
        let kinds: Vec<(&str, FindingKind)> =
            list.known.iter().map(|entry| (entry.id.as_str(), entry.findings[0])).collect();
        assert_eq!(kinds, [("2", Truncated), ("3", Reset), ("4", Reset)]);
    }
}
