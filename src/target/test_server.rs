//! The server of a case while it runs, whatever it is: one of the program's own, or one that a command line started.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::bundled::Bundled;
use super::command_server::Commanded;
use super::liveness::Looked;
use crate::config::{ServeArgs, Server};
use crate::report::run::ServerReport;

/// How long a process that has broken its connections may take until it is seen to have ended: its sockets are closed
/// first.
const CRASH: Duration = Duration::from_millis(500);

/// How long one that a command line started, and that has broken nothing, may take to fall over the last close: what is
/// told to end would die of that first. A bundled server handles its last closes before it ends.
const LAST_CLOSE: Duration = Duration::from_millis(50);
/// Lines that are shown of a server that broke.
const SHOWN_LINES: usize = 5;
/// Characters that are shown of each.
const SHOWN_COLUMNS: usize = 200;

/// A server that was started for a case.
pub enum Running {
    /// One of the program's own.
    Bundled(Box<Bundled>),
    /// Any other.
    Command(Box<Commanded>),
}

/// Why a case has no server.
#[derive(Debug)]
pub struct NotStarted {
    /// A sentence.
    pub reason: String,
    /// What it said.
    pub output: Vec<String>,
}

/// What is left of a server.
#[derive(Debug, Default)]
pub struct Stopped {
    /// How it ended, if not as it was told to.
    pub broke: Option<String>,
    /// What a bundled server tells of itself.
    pub report: Option<ServerReport>,
    /// What it said: its last lines.
    pub output: Vec<String>,
}

impl Running {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// It can't be started, ends at once, or takes no connection.
    pub fn start(server: &Server) -> Result<Running, NotStarted> {
        match server {
            Server::Bundled(args) => {
                let flags = ServeArgs { model: None, ..(**args).clone() }.to_flags();
                let started = Bundled::start(args.model.as_deref(), &flags);
                started
                    .map(|server| Running::Bundled(Box::new(server)))
                    .map_err(|error| NotStarted { reason: format!("{error:#}"), output: Vec::new() })
            }
            Server::Command(command) => Commanded::start(command).map(|server| Running::Command(Box::new(server))),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Running::Bundled(server) => server.address,
            Running::Command(server) => server.address,
        }
    }

    /// Stops it, once it had the time to fall over what was done to it. `is_broken`: connections broke, so that it may
    /// be about to end. `look` looks whether it still serves; a bundled server is only asked for its counters, in which
    /// everybody is counted who connects.
    pub fn stop(mut self, is_broken: bool, look: impl FnOnce() -> Looked) -> Stopped {
        let mut ended = self.ended(is_broken);
        if ended.is_none()
            && let Running::Command(_) = self
            && let Some(Err(what)) = look()
        {
            ended = self.ended(true).or(Some(what));
        }
        let stopped = match self {
            Running::Bundled(server) => server.stop(),
            Running::Command(server) => server.stop(),
        };
        let broke = ended.or(stopped.broke).map(|how| format!("{how}{}", last_words(&stopped.output)));
        Stopped { broke, ..stopped }
    }

    /// How it has ended by itself, if it has.
    fn ended(&mut self, is_broken: bool) -> Option<String> {
        let patience = match self {
            _ if is_broken => CRASH,
            Running::Bundled(_) => Duration::ZERO,
            Running::Command(_) => LAST_CLOSE,
        };
        let until = Instant::now() + patience;
        loop {
            let status = match self {
                Running::Bundled(server) => server.ended(),
                Running::Command(server) => server.ended(),
            };
            if let Some(status) = status {
                return Some(format!("ended by itself during the run ({status})"));
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The end of what a server said, in one line: it stands in tables too.
fn last_words(output: &[String]) -> String {
    let shown = output.iter().skip(output.len().saturating_sub(SHOWN_LINES));
    let shown: Vec<String> = shown.map(|line| line.chars().take(SHOWN_COLUMNS).collect()).collect();
    if shown.is_empty() { "; it said nothing".to_owned() } else { format!("; it said: {}", shown.join(" / ")) }
}
