//! What earlier cases of a suite have found out about the servers of later ones: a target that is not there, a command
//! that does not start. It is told once, and the cases that need it are not run.

use std::sync::{Mutex, MutexGuard};

use crate::config::ServerSpec;
use crate::sync::lock;

/// What is known of the servers of a suite so far.
#[derive(Debug, Default)]
pub(super) struct KnownServers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    target_is_gone: bool,
    started: Vec<ServerSpec>,
    never_started: Vec<ServerSpec>,
}

impl KnownServers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }

    /// The target takes no connection any more.
    pub(super) fn target_is_gone(&self) {
        self.lock().target_is_gone = true;
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
}
