//! The server of a case while it runs: a bundled one, or one that a command line started.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::bundled::BundledServer;
use super::command_server::{CommandServer, Surroundings};
use super::lifecycle::{Reach, StartFailure, StoppedServer};
use super::listening;
use super::liveness::Probed;
use super::server_log::OutputSink;
use crate::config::{ServeArgs, ServerConditions, ServerSpec};
use crate::interrupt;
use crate::report::text::both_ends;
use crate::sys;

/// How long a process that has broken its connections may take to end. The system closes the sockets of a crashed
/// process first, so its connections break before its end can be seen.
const CRASH_GRACE: Duration = Duration::from_millis(500);

/// Grace for a user's server to crash on the last close before it is told to stop, so the two are not confused. A
/// bundled server handles its last closes before it ends.
const LAST_CLOSE_GRACE: Duration = Duration::from_millis(50);
/// Pause between two looks at the process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of output in the message about a server that broke: the first ones and the last ones.
const SHOWN_LINES: (usize, usize) = (3, 5);
/// Characters of each such line.
const SHOWN_COLUMNS: usize = 200;

/// A server that was started for a case.
pub enum TestServer {
    /// A bundled server.
    Bundled(Box<BundledServer>),
    /// A server of the user's own.
    Command(Box<CommandServer>),
}

impl TestServer {
    /// Starts the server under these conditions and waits until it is ready; `reach` is the way to it. The file gets
    /// all that it prints.
    ///
    /// # Errors
    /// The server cannot be started, ends at once, or does not get ready.
    pub fn start(
        server: &ServerSpec,
        conditions: &ServerConditions,
        reach: Reach<'_>,
        log: Option<OutputSink>,
    ) -> Result<TestServer, StartFailure> {
        TestServer::start_among(server, conditions, (&Surroundings::default(), reach), log)
    }

    /// The same for one of several processes.
    pub(super) fn start_among(
        server: &ServerSpec,
        conditions: &ServerConditions,
        (surroundings, reach): (&Surroundings, Reach<'_>),
        log: Option<OutputSink>,
    ) -> Result<TestServer, StartFailure> {
        match server {
            ServerSpec::Bundled(args) => {
                let flags = ServeArgs { model: None, ..(**args).clone() }.to_flags();
                let started = BundledServer::start(args.model.as_deref(), &flags, conditions, log);
                started
                    .map(|server| TestServer::Bundled(Box::new(server)))
                    .map_err(|error| StartFailure { reason: format!("{error:#}"), output: Vec::new() })
            }
            ServerSpec::Command(command) => CommandServer::start(command, conditions, (surroundings, reach), log)
                .map(|server| TestServer::Command(Box::new(server))),
        }
    }

    /// The address that it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            TestServer::Bundled(server) => server.address,
            TestServer::Command(server) => server.address,
        }
    }

    /// The addresses at which it can be reached.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        listening::reached_at(self.address())
    }

    /// Asks the server to end while its loads run, from another thread.
    pub fn stopper(&self) -> Box<dyn FnOnce() + Send + 'static> {
        match self {
            TestServer::Bundled(server) => Box::new(server.stopper()),
            TestServer::Command(server) => Box::new(server.stopper()),
        }
    }

    /// The id of its process, of which all others descend.
    pub fn pid(&self) -> u32 {
        match self {
            TestServer::Bundled(server) => server.pid(),
            TestServer::Command(server) => server.pid(),
        }
    }

    /// Whether it comes with this program.
    pub fn is_bundled(&self) -> bool {
        matches!(self, TestServer::Bundled(_))
    }

    /// Stops the server after a grace in which a crash can show. `is_broken` says that connections broke, so the server
    /// may be about to end. `probe` asks whether it still serves. A bundled server is not probed, because a probe is a
    /// connection and would count in its counters. A server that `was_asked` to end may have done so.
    pub fn stop(mut self, is_broken: bool, was_asked: bool, probe: impl FnOnce() -> Probed) -> StoppedServer {
        let mut ended = self.ended(is_broken && !was_asked).filter(|_| !was_asked);
        if ended.is_none()
            && !was_asked
            && let TestServer::Command(_) = self
            && let Some(Err(what)) = probe()
        {
            ended = self.ended(true).or(Some(what));
        }
        let stopped = match self {
            TestServer::Bundled(server) => server.stop(),
            TestServer::Command(server) => server.stop(),
        };
        let broke = ended.or(stopped.broke).map(|how| format!("{how}{}", last_words(&stopped.output)));
        StoppedServer { broke, ..stopped }
    }

    /// How the server has ended without being told to, if it has. `is_broken`: its end may take a moment to be seen.
    pub(super) fn ended(&mut self, is_broken: bool) -> Option<String> {
        let patience = match self {
            _ if is_broken => CRASH_GRACE,
            TestServer::Bundled(_) => Duration::ZERO,
            TestServer::Command(_) => LAST_CLOSE_GRACE,
        };
        let until = Instant::now() + patience;
        loop {
            let status = match self {
                TestServer::Bundled(server) => server.ended(),
                TestServer::Command(server) => server.ended(),
            };
            if let Some(status) = status {
                return Some(format!("exited during the run ({status}{})", sys::hint_at_end(status)));
            }
            if Instant::now() >= until || interrupt::is_requested() {
                return None;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// The beginning and the end of the output in one line, because it also stands in tables.
pub(super) fn last_words(output: &[String]) -> String {
    let shown: Vec<String> =
        both_ends(output, SHOWN_LINES).iter().map(|line| line.chars().take(SHOWN_COLUMNS).collect()).collect();
    if shown.is_empty() { "; it said nothing".to_owned() } else { format!("; it said: {}", shown.join(" / ")) }
}
