//! What earlier cases of a suite have found out about the servers of later ones: a target that is not there, a command
//! that does not start. It is told once, and the cases that need it are not run. The target may also still hold bytes
//! that earlier cases had sent, and the number of connections that it had taken may be why it serves no more.

use std::sync::{Mutex, MutexGuard};

use crate::client::RunOutcome;
use crate::config::ServerSpec;
use crate::stream::earlier::{EarlierRun, MAX_EARLIER_RUNS};
use crate::sync::lock;
use crate::target::liveness::{self, Probed};
use crate::units::counted;

/// What is known of the servers of a suite so far.
#[derive(Debug, Default)]
pub(super) struct KnownServers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    target_is_gone: bool,
    /// It takes connections, but echoes nothing, or something else.
    target_is_no_echo_server: bool,
    /// How many connections it has taken.
    taken: u64,
    /// The cases in a row, up to now, after which it served nobody.
    unserved: u32,
    started: Vec<ServerSpec>,
    never_started: Vec<ServerSpec>,
    runs: Vec<EarlierRun>,
}

impl KnownServers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }

    /// The target takes no connection any more. Why, with the number of those that it has taken.
    pub(super) fn target_is_gone(&self, why: String) -> String {
        let mut known = self.lock();
        known.target_is_gone = true;
        if known.taken == 0 { why } else { format!("{why}; {}", taken_in_words(known.taken)) }
    }

    /// The result of the probe after a case. What is wrong with the target stands there with the number of connections
    /// that it has taken: a server that fails by their number, because it leaks slots or descriptors, shows itself so.
    pub(super) fn probed_after<P>(&self, outcome: Option<&(RunOutcome, P)>, probed: Probed) -> Probed {
        let counters = || outcome.into_iter().flat_map(|(outcome, _)| &outcome.groups).map(|group| &group.counters);
        let opened = counters().map(|counters| counters.opened).sum();
        self.has_taken(opened, counters().map(|counters| counters.bytes_verified).sum(), probed)
    }

    fn has_taken(&self, opened: u64, verified: u64, probed: Probed) -> Probed {
        let mut known = self.lock();
        // The probe that succeeds is a connection too.
        known.taken += opened + u64::from(probed == Some(Ok(())));
        known.unserved = match probed {
            Some(Err(_)) => known.unserved + 1,
            _ => 0,
        };
        // Once, it may still recover. It did not for a whole case. Of bytes that a server changes, some stay right.
        let is_wrong = matches!(&probed, Some(Err(why)) if liveness::is_wrong_echo(why));
        if known.unserved > 1 && (verified == 0 || is_wrong) {
            (known.target_is_gone, known.target_is_no_echo_server) = (true, true);
        }
        let taken = known.taken;
        drop(known);
        probed.map(|result| result.map_err(|why| format!("{why}; {}", taken_in_words(taken))))
    }

    /// A case has run against the target.
    pub(super) fn has_run(&self, run: EarlierRun) {
        let runs = &mut self.lock().runs;
        if runs.len() >= MAX_EARLIER_RUNS {
            runs.remove(0);
        }
        runs.push(run);
    }

    /// The cases that have run against the target, the latest last.
    pub(super) fn runs(&self) -> Vec<EarlierRun> {
        self.lock().runs.clone()
    }

    /// This server has started.
    pub(super) fn has_started(&self, server: &ServerSpec) {
        let mut known = self.lock();
        if !known.started.contains(server) {
            known.started.push(server.clone());
        }
    }

    /// This server did not start. If it did so for an earlier case, the reason is a passing one.
    pub(super) fn did_not_start(&self, server: &ServerSpec) {
        let mut known = self.lock();
        if !known.started.contains(server) {
            known.never_started.push(server.clone());
        }
    }

    /// Whether it is known that no case can run any more, because the target is not there.
    pub(super) fn is_target_gone(&self) -> bool {
        self.lock().target_is_gone
    }

    /// Whether that is because it does not echo, although it may take connections.
    pub(super) fn is_no_echo_server(&self) -> bool {
        self.lock().target_is_no_echo_server
    }

    /// Whether a case of this server would only repeat what is known.
    pub(super) fn is_missing(&self, server: Option<&ServerSpec>) -> bool {
        server.is_some_and(|server| self.lock().never_started.contains(server))
    }
}

fn taken_in_words(connections: u64) -> String {
    format!("the target has taken {} since the start", counted(connections, "connection"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerTable;
    use crate::stream::Stream;

    fn server(toml: &str) -> ServerSpec {
        let table: ServerTable = toml::from_str(toml).expect("the table is well-formed");
        table.resolve().expect("the table is valid").remove(0).server
    }

    #[test]
    fn a_server_that_never_started_is_missing_and_one_that_once_did_is_not() {
        let known = KnownServers::default();
        let (a, b) = (server("command = ['./a', '{addr}']"), server("command = ['./b', '{addr}']"));
        known.has_started(&a);
        known.did_not_start(&a);
        known.did_not_start(&b);
        assert!(!known.is_missing(Some(&a)) && known.is_missing(Some(&b)) && !known.is_missing(None));
        assert!(!known.is_target_gone());
        assert_eq!(known.target_is_gone("refused".to_owned()), "refused");
        assert!(known.is_target_gone());
    }

    #[test]
    fn a_target_that_serves_nobody_after_two_cases_is_gone_and_its_connections_are_told() {
        let known = KnownServers::default();
        let silent = || Some(Err("echoing no byte".to_owned()));
        assert_eq!(known.has_taken(1, 10, Some(Ok(()))), Some(Ok(())));
        let why = known.has_taken(1255, 10, silent()).and_then(Result::err).expect("it serves nobody");
        assert_eq!(why, "echoing no byte; the target has taken 1,257 connections since the start");
        assert!(!known.is_target_gone(), "it may recover");
        known.has_taken(4, 10, silent());
        assert!(!known.is_target_gone(), "it served some in this case");
        known.has_taken(0, 0, None);
        known.has_taken(1, 0, silent());
        assert!(!known.is_target_gone(), "only in a row");
        known.has_taken(1, 0, silent());
        assert!(known.is_target_gone() && known.is_no_echo_server());
    }

    #[test]
    fn a_target_that_changes_bytes_is_given_up_although_some_are_right() {
        let known = KnownServers::default();
        let wrong = || Some(Err("echoing a wrong byte (it sent 0x45 for 0x65), for 5s".to_owned()));
        known.has_taken(1, 10, wrong());
        assert!(!known.is_target_gone(), "it may recover");
        known.has_taken(1, 10, wrong());
        assert!(known.is_target_gone() && known.is_no_echo_server());
    }

    #[test]
    fn the_latest_cases_against_the_target_are_known() {
        let known = KnownServers::default();
        let run = |n: usize| EarlierRun { name: n.to_string(), stream: Stream::new(1), conns: 1, bytes: 1 };
        (0..MAX_EARLIER_RUNS + 5).for_each(|n| known.has_run(run(n)));
        let names: Vec<String> = known.runs().into_iter().map(|run| run.name).collect();
        assert_eq!((names.len(), names[0].as_str()), (MAX_EARLIER_RUNS, "5"));
    }
}
