//! Whether this machine and this target have what a case can't be judged without.

use std::net::{Ipv6Addr, TcpListener};

use crate::scenario::Scenario;
use crate::scenario::need::Need;

/// Why the case can't be judged here; `None`: it can. `has_target`: it runs against a server that somebody else
/// started.
pub(super) fn why_unsupported(scenario: &Scenario, has_target: bool) -> Option<String> {
    let unmet = scenario.needs.iter().find(|need| !is_met(**need, has_target));
    unmet.map(|need| need.unmet().to_owned())
}

fn is_met(need: Need, has_target: bool) -> bool {
    match need {
        Need::StartedServer => !has_target,
        Need::Ipv6 => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
        Need::Linux => cfg!(target_os = "linux"),
        Need::Unix => cfg!(unix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_needs_a_server_of_its_own_is_unsupported_against_a_target() {
        let text = "name = 'n'\nneeds = ['started-server']\n[[load]]\n";
        let scenario = Scenario::parse("a.toml", text).expect("the scenario is valid");
        assert_eq!(why_unsupported(&scenario, false), None);
        let why = why_unsupported(&scenario, true).expect("there is a target");
        assert!(why.contains("leave out the target"), "{why}");
    }

    #[test]
    fn a_system_is_met_where_the_program_was_built_for_it() {
        assert_eq!(is_met(Need::Unix, true), std::path::MAIN_SEPARATOR == '/');
        assert!(is_met(Need::Unix, true) || !is_met(Need::Linux, true));
    }
}
