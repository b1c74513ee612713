//! Whether this machine and this target have what a case can't be judged without.

use std::net::{Ipv6Addr, TcpListener};

use crate::scenario::Scenario;
use crate::scenario::need::Need;
use crate::sys;
use crate::target::program_path;

/// The server of a case, as far as needs depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeededServer {
    /// Somebody else started it.
    pub(super) is_target: bool,
    /// `--pid` names its process.
    pub(super) has_pid: bool,
}

/// Why the case can't be judged here; `None`: it can.
pub(super) fn why_unsupported(scenario: &Scenario, server: NeededServer) -> Option<String> {
    let unmet = scenario.needs.iter().find(|need| !is_met(**need, server));
    unmet.map(|need| need.unmet().to_owned())
}

/// The first program of the case that this machine lacks, and how to install it. With a target nothing is started.
pub(super) fn missing_program(scenario: &Scenario, has_target: bool) -> Option<(&str, &str)> {
    let mut programs = scenario.programs.iter().filter(|_| !has_target);
    let missing = programs.find(|(program, _)| program_path::find(program).is_none());
    missing.map(|(program, remedy)| (program.as_str(), remedy.as_str()))
}

fn is_met(need: Need, server: NeededServer) -> bool {
    match need {
        Need::StartedServer => !server.is_target,
        Need::WatchedServer => {
            let tells = || sys::usage_of_tree(std::process::id()).is_some_and(|usage| usage.fds.is_some());
            (!server.is_target || server.has_pid) && tells()
        }
        Need::Ipv6 => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
        Need::Linux => cfg!(target_os = "linux"),
        Need::Unix => cfg!(unix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: NeededServer = NeededServer { is_target: false, has_pid: false };
    const TARGET: NeededServer = NeededServer { is_target: true, has_pid: false };

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    fn the_processes_of_a_target_can_be_watched_if_its_own_is_named() {
        assert!(is_met(Need::WatchedServer, STARTED) && !is_met(Need::WatchedServer, TARGET));
        assert!(is_met(Need::WatchedServer, NeededServer { has_pid: true, ..TARGET }));
    }

    #[test]
    fn a_case_that_needs_a_server_of_its_own_is_unsupported_against_a_target() {
        let text = "name = 'n'\nneeds = ['started-server']\n[[load]]\n";
        let scenario = Scenario::parse("a.toml", text).expect("the scenario is valid");
        assert_eq!(why_unsupported(&scenario, STARTED), None);
        let why = why_unsupported(&scenario, TARGET).expect("there is a target");
        assert!(why.contains("leave out the target"), "{why}");
    }

    #[test]
    fn a_system_is_met_where_the_program_was_built_for_it() {
        assert_eq!(is_met(Need::Unix, TARGET), std::path::MAIN_SEPARATOR == '/');
        assert!(is_met(Need::Unix, TARGET) || !is_met(Need::Linux, TARGET));
    }
}
