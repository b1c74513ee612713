//! What earlier cases of a suite have found out about the servers of later ones: a target that is not there, a command
//! that does not start. It is told once, and the cases that need it are not run. The target may also still hold bytes
//! that earlier cases had sent.

use std::sync::{Mutex, MutexGuard};

use crate::config::ServerSpec;
use crate::stream::earlier::{EarlierRun, MAX_EARLIER_RUNS};
use crate::sync::lock;

/// What is known of the servers of a suite so far.
#[derive(Debug, Default)]
pub(super) struct KnownServers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    target_is_gone: bool,
    started: Vec<ServerSpec>,
    never_started: Vec<ServerSpec>,
    runs: Vec<EarlierRun>,
}

impl KnownServers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }

    /// The target takes no connection any more.
    pub(super) fn target_is_gone(&self) {
        self.lock().target_is_gone = true;
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

    /// Whether a case of this server would only repeat what is known.
    pub(super) fn is_missing(&self, server: Option<&ServerSpec>) -> bool {
        server.is_some_and(|server| self.lock().never_started.contains(server))
    }
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
        known.target_is_gone();
        assert!(known.is_target_gone());
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
