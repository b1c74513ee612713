//! Where to look when a case did not pass. That is what the case says about itself, unless something else was wrong
//! than what it is about.

use super::suite::CaseReport;
use crate::judge::check::CheckReport;
use crate::judge::leftovers;

/// For a server that keeps what it opens for a connection, whatever the case is that has shown it.
const LEAK: &str = "Look at: what the server opens for a connection besides its socket (pipes, timers, files, its own \
                    connections), and what it does not close or join on one of the ways in which a connection ends. \
                    Case 10.3 is about this.";

/// The advice for a case that did not pass; empty if there is none.
pub(super) fn of(case: &CaseReport) -> &str {
    let has_findings = case.run.as_ref().is_some_and(|run| !run.total.findings.is_empty());
    if has_findings {
        return &case.about;
    }
    // The server was not slow, as far as is known: the time was short.
    if case.checks.iter().any(CheckReport::is_of_own_limit) {
        return "";
    }
    let is_else_well = case.checks.iter().all(|check| check.outcome.is_good() || check.is_of_server());
    if is_else_well && !left_behind(case).is_empty() { LEAK } else { &case.about }
}

/// What the server of a case kept of connections that had closed: `descriptors left open`.
pub(super) fn left_behind(case: &CaseReport) -> Vec<&'static str> {
    let told = case.checks.iter().filter(|check| check.is_of_server()).filter_map(|check| check.actual.as_deref());
    told.flat_map(leftovers::named_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::outcome::CaseOutcome;
    use crate::report::sample;

    /// A case that failed with these checks, each a name and what came of it, and nothing found.
    fn failed(checks: &[(&str, &str)]) -> CaseReport {
        let mut case = sample::fail();
        case.run.as_mut().expect("it has run").total.findings.clear();
        let check = |(name, actual): &(&str, &str)| CheckReport {
            name: (*name).to_owned(),
            actual: Some((*actual).to_owned()),
            outcome: CaseOutcome::Fail,
            ..case.checks[0].clone()
        };
        case.checks = checks.iter().map(check).collect();
        case
    }

    #[test]
    fn a_leak_alone_has_its_own_advice() {
        let leak = ("server", "10 descriptors left open: 9 before the first connection, 19 when all 10 had closed");
        assert_eq!(of(&failed(&[leak])), LEAK);
        assert_eq!(left_behind(&failed(&[leak])), ["descriptors left open"]);
        let other = failed(&[leak, ("verdict", "fail")]);
        assert_eq!(of(&other), other.about);
        let died = failed(&[("server", "it died")]);
        assert_eq!((of(&died), left_behind(&died).len()), (died.about.as_str(), 0));
    }

    #[test]
    fn a_time_limit_accuses_nobody_unless_something_was_found() {
        let ended = [("verdict", "not done within 1ms")];
        assert_eq!(of(&failed(&ended)), "");
        let found = CaseReport { run: sample::fail().run, ..failed(&ended) };
        assert_eq!(of(&found), found.about);
    }
}
