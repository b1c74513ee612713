//! The server of a case while it runs, whatever it is: one of the program's own, or one that a command line started.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::bundled::Bundled;
use super::command::Commanded;
use crate::config::{ServeArgs, Server};
use crate::report::run::ServerReport;

/// How long a process that has broken its connections may take until it is seen to have ended: its sockets are closed
/// first.
const CRASH: Duration = Duration::from_millis(500);

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

    /// How it has ended by itself, if it has. `is_broken`: connections broke, so that it may be about to.
    pub fn ended(&mut self, is_broken: bool) -> Option<String> {
        let until = Instant::now() + if is_broken { CRASH } else { Duration::ZERO };
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

    /// Stops it. What it tells of itself, and what it said.
    pub fn stop(self) -> (Option<ServerReport>, Vec<String>) {
        match self {
            Running::Bundled(server) => {
                let (report, output) = server.stop_with_output();
                (Some(report), output)
            }
            Running::Command(server) => (None, server.stop()),
        }
    }
}
