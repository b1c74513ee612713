//! A server that a command line starts for one case: `command` in a scenario.
//!
//! The server gets a free port of 127.0.0.1. It is ready when it echoes a byte, because a proxy accepts connections
//! long before its backend is up; with `ready = "connect"`, when it accepts a connection. It is stopped together with
//! all processes that it started: on Unix by SIGTERM to its process group, then SIGKILL; on Windows by ending its job
//! object. A port cannot be reserved until the server binds it. If the server reports that its port is in use, it is
//! started again on another one.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::captured_output::CapturedOutput;
use super::echo_probe::{self, NoEcho};
use super::lifecycle::{StartFailure, StoppedServer};
use super::listening;
use super::patience::{AFTER_INTERRUPT, Patience};
use super::server_log::ServerLog;
use super::started_process::StartedProcess;
use crate::config::{CommandSpec, Readiness, ServerConditions};
use crate::interrupt;
use crate::report::text::both_ends;
use crate::sys;

/// Starts of a server whose port was taken in the meantime.
const MAX_STARTS: usize = 3;
/// Lines of output in the message about a server that did not start: the first ones and the last ones.
const SHOWN_LINES: (usize, usize) = (3, 5);
/// Pause between two attempts to connect.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// A running server.
#[derive(Debug)]
pub struct CommandServer {
    /// The address that it listens on.
    pub address: SocketAddr,
    process: StartedProcess,
    output: CapturedOutput,
    stop_timeout: Duration,
}

/// Why a server is not ready.
enum NotReady {
    ProcessEnded(ExitStatus),
    NoEcho(NoEcho),
}

impl CommandServer {
    /// Starts the server and waits until it is ready. The file gets all that it prints.
    ///
    /// # Errors
    /// The command cannot be started, ends at once, or is not ready before its time is over; the error quotes its
    /// output.
    pub fn start(
        server: &CommandSpec,
        conditions: &ServerConditions,
        log: Option<File>,
    ) -> Result<CommandServer, StartFailure> {
        let log = log.map(ServerLog::new);
        let mut starts = 1;
        loop {
            let failed = |reason: String| StartFailure { reason, output: Vec::new() };
            let address = free_address(conditions).map_err(|error| failed(format!("finding a free port: {error}")))?;
            let mut started = CommandServer::spawn(server, address, conditions, log.clone()).map_err(failed)?;
            let Err(why) = started.wait_until_ready(server) else { return Ok(started) };
            let output = started.stop().output;
            if matches!(why, NotReady::ProcessEnded(_)) && starts < MAX_STARTS && says_port_is_taken(&output) {
                starts += 1;
                continue;
            }
            return Err(StartFailure { reason: reason(server, address, &why, &output, starts), output });
        }
    }

    fn spawn(
        server: &CommandSpec,
        address: SocketAddr,
        conditions: &ServerConditions,
        log: Option<ServerLog>,
    ) -> Result<CommandServer, String> {
        let words = server.command_at(address);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(server.env_at(address)).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &server.cwd {
            command.current_dir(folder);
        }
        let mut process = StartedProcess::start(&mut command, conditions.descriptors).map_err(|error| {
            let folder = server.cwd.as_ref().map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            format!("starting '{}'{folder}: {error}: check the program of `command`", server.program())
        })?;
        let output = CapturedOutput::of(process.child(), log);
        Ok(CommandServer { address, process, output, stop_timeout: server.stop_timeout })
    }

    fn wait_until_ready(&mut self, server: &CommandSpec) -> Result<(), NotReady> {
        let until = Instant::now() + server.ready_timeout;
        let address = listening::reached_at(self.address)[0];
        loop {
            let timeout = ATTEMPT_TIMEOUT.min(server.ready_timeout).max(POLL_INTERVAL);
            let answer = match server.ready {
                Readiness::Echo => echo_probe::echoes(address, None, timeout),
                Readiness::Connect => echo_probe::connects(address, None, timeout),
            };
            // Checked after the attempt: another process may answer on this port, and then the server has ended.
            if let Some(status) = self.ended() {
                return Err(NotReady::ProcessEnded(status));
            }
            let is_over = Instant::now() >= until;
            match answer {
                // A server that answers wrongly is up. What is wrong with it, the run will show.
                Ok(()) | Err(NoEcho::Wrong(_)) => return Ok(()),
                // So is one that keeps its connections and says nothing, unless it is only slow to start.
                Err(NoEcho::Silent(_)) if is_over => return Ok(()),
                Err(why) if is_over || matches!(why, NoEcho::Interrupted) => return Err(NotReady::NoEcho(why)),
                Err(_) => interrupt::pause(POLL_INTERVAL),
            }
        }
    }

    /// The id of its process, of which all others descend.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, if the process has ended. All processes that it started end with it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Asks the server to end, from another thread.
    pub fn stopper(&self) -> impl FnOnce() + Send + 'static {
        self.process.stopper()
    }

    /// Stops the server and all processes that it started. If it must be killed, its output says so; that does not make
    /// it broken.
    pub fn stop(mut self) -> StoppedServer {
        if self.ended().is_none() {
            self.process.ask_to_end();
        }
        let status = self.process.end_within(Patience::new(self.stop_timeout));
        let crashed = status.filter(|status| sys::is_crash(*status));
        let broke = crashed.map(|status| format!("crashed while stopping ({status})"));
        let mut output = self.output.lines();
        if status.is_none() {
            let is_cut_short = interrupt::is_requested() && AFTER_INTERRUPT < self.stop_timeout;
            let patience = if is_cut_short { AFTER_INTERRUPT } else { self.stop_timeout };
            let patience = humantime::format_duration(patience);
            output.push(format!("(echo-tester: it did not end within {patience} when told to, and was killed)"));
        }
        StoppedServer { broke, report: None, output }
    }
}

/// Why the server did not start, as a sentence, and its first and last output.
fn reason(server: &CommandSpec, address: SocketAddr, why: &NotReady, output: &[String], starts: usize) -> String {
    let program = server.program();
    let patience = humantime::format_duration(server.ready_timeout);
    let why = match why {
        NotReady::ProcessEnded(status) if starts > 1 => {
            format!(
                "'{program}' ended before it took connections ({status}), {starts} times, each on another free port"
            )
        }
        NotReady::ProcessEnded(status) => {
            format!("'{program}' ended before it took connections on {address} ({status})")
        }
        NotReady::NoEcho(NoEcho::Interrupted) => format!("interrupted before '{program}' was ready"),
        NotReady::NoEcho(NoEcho::Ended(error)) => format!(
            "'{program}' took connections on {address}, and ended each without an echo, for {patience} (until then: \
             {error}): see whether the server behind it is up, or give it a longer ready_timeout; ready = \"connect\" \
             waits for no echo"
        ),
        NotReady::NoEcho(why) => format!(
            "'{program}' took no connection on {address} within {patience} (until then: {}): check its arguments, or \
             give it a longer ready_timeout",
            match why {
                NoEcho::NoConnection(error) => error.to_string(),
                why => why.to_string(),
            }
        ),
    };
    match both_ends(output, SHOWN_LINES) {
        said if said.is_empty() => format!("{why}; it said nothing"),
        said => format!("{why}; it said:\n      {}", said.join("\n      ")),
    }
}

/// Whether the output says that the address is in use, in the words of the systems and of common libraries.
fn says_port_is_taken(output: &[String]) -> bool {
    let is_it = |line: &String| {
        let line = line.to_lowercase();
        ["in use", "eaddrinuse", "10048", "only one usage of each socket"].iter().any(|words| line.contains(words))
    };
    output.iter().any(is_it)
}

/// An address whose port was free a moment ago.
fn free_address(conditions: &ServerConditions) -> io::Result<SocketAddr> {
    TcpListener::bind((listening::ip(conditions.family), 0))?.local_addr()
}
