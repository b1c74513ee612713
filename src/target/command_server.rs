//! A server that a command line starts for one case: `command` in a scenario.
//!
//! The server gets a free port of 127.0.0.1. It is ready when it accepts a connection. It is stopped together with all
//! processes that it started: on Unix by SIGTERM to its process group, then SIGKILL; on Windows by ending its job
//! object. A port cannot be reserved until the server binds it. If the server reports that its port is in use, it is
//! started again on another one.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::captured_output::CapturedOutput;
use super::lifecycle::{StartFailure, StoppedServer};
use crate::config::CommandSpec;
use crate::interrupt;
use crate::sys::{self, ProcessGroup};
use crate::target::liveness;

/// Starts of a server whose port was taken in the meantime.
const MAX_STARTS: usize = 3;
/// Lines of output in the message about a server that did not start.
const SHOWN_LINES: usize = 5;
/// Pause between two attempts to connect, or between two looks at the process.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The process groups that run, by the id of the leading process: they are killed when this process must end at once.
static RUNNING: Mutex<BTreeMap<u32, Arc<ProcessGroup>>> = Mutex::new(BTreeMap::new());

/// Kills every server that still runs, and all processes that it started. For an exit that cannot wait.
pub fn kill_all() {
    for group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).values() {
        group.kill();
    }
}

/// A running server.
#[derive(Debug)]
pub struct CommandServer {
    /// The address that it listens on.
    pub address: SocketAddr,
    child: Child,
    group: Arc<ProcessGroup>,
    /// The exit status, once the process has ended.
    status: Option<ExitStatus>,
    output: CapturedOutput,
    stop_timeout: Duration,
}

/// Why a server accepts no connection.
enum NotReady {
    Ended(ExitStatus),
    Refused(io::Error),
    Interrupted,
}

impl CommandServer {
    /// Starts the server and waits until it accepts a connection.
    ///
    /// # Errors
    /// The command cannot be started, ends at once, or accepts no connection before its time is over; the error quotes
    /// its output.
    pub fn start(server: &CommandSpec) -> Result<CommandServer, StartFailure> {
        let mut starts = 1;
        loop {
            let failed = |reason: String| StartFailure { reason, output: Vec::new() };
            let address =
                free_address().map_err(|error| failed(format!("finding a free port of 127.0.0.1: {error}")))?;
            let mut started = CommandServer::spawn(server, address).map_err(failed)?;
            let Err(why) = started.wait_until_ready(server.ready_timeout) else { return Ok(started) };
            let output = started.stop().output;
            if matches!(why, NotReady::Ended(_)) && starts < MAX_STARTS && says_port_is_taken(&output) {
                starts += 1;
                continue;
            }
            return Err(StartFailure { reason: reason(server, address, &why, &output, starts), output });
        }
    }

    fn spawn(server: &CommandSpec, address: SocketAddr) -> Result<CommandServer, String> {
        let words = server.command_at(address);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(server.env_at(address)).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &server.cwd {
            command.current_dir(folder);
        }
        ProcessGroup::prepare(&mut command);
        let wrong = |error: io::Error| {
            let folder = server.cwd.as_ref().map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            format!("starting '{}'{folder}: {error}: check the program of `command`", server.program())
        };
        let mut child = command.spawn().map_err(wrong)?;
        let output = CapturedOutput::of(&mut child);
        let group = ProcessGroup::of(&child).inspect_err(|_| drop(child.kill())).map_err(wrong)?;
        let group = Arc::new(group);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), Arc::clone(&group));
        Ok(CommandServer { address, child, group, status: None, output, stop_timeout: server.stop_timeout })
    }

    fn wait_until_ready(&mut self, patience: Duration) -> Result<(), NotReady> {
        let until = Instant::now() + patience;
        loop {
            let refused = liveness::connect(self.address, None, CONNECT_TIMEOUT.min(patience).max(POLL_INTERVAL)).err();
            // Checked after the connect: another process may answer on this port, and then the server has ended.
            if let Some(status) = self.ended() {
                return Err(NotReady::Ended(status));
            }
            let Some(error) = refused else { return Ok(()) };
            if interrupt::is_requested() {
                return Err(NotReady::Interrupted);
            }
            if Instant::now() >= until {
                return Err(NotReady::Refused(error));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The exit status, if the process has ended. All processes that it started end with it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && sys::has_ended(&mut self.child) {
            self.reap();
        }
        self.status
    }

    /// Stops the server and all processes that it started. If it must be killed, its output says so; that does not make
    /// it broken.
    pub fn stop(mut self) -> StoppedServer {
        let remark = self.end(self.stop_timeout);
        let crashed = self.status.filter(|status| remark.is_none() && sys::is_crash(*status));
        let broke = crashed.map(|status| format!("crashed while stopping ({status})"));
        let mut output = self.output.lines();
        output.extend(remark);
        StoppedServer { broke, report: None, output }
    }

    /// Asks the server to end, and kills it when its time is over. Returns a remark if it was killed.
    fn end(&mut self, patience: Duration) -> Option<String> {
        if self.ended().is_some() {
            return None;
        }
        self.group.ask_to_end();
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.ended().is_some() {
                return None;
            }
            std::thread::sleep(POLL_INTERVAL.min(patience));
        }
        self.reap();
        let patience = humantime::format_duration(patience);
        Some(format!("(echo-tester: it did not end within {patience} when told to, and was killed)"))
    }

    /// Kills the rest of the group, then waits for the process. The order matters: as long as the process is not waited
    /// for, the system cannot give its id, which is the group's id, to another process.
    fn reap(&mut self) {
        self.group.kill();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
        self.status = self.child.wait().ok().or(self.status);
    }
}

impl Drop for CommandServer {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.reap();
        }
    }
}

/// Why the server did not start, as a sentence, and its last output.
fn reason(server: &CommandSpec, address: SocketAddr, why: &NotReady, output: &[String], starts: usize) -> String {
    let program = server.program();
    let why = match why {
        NotReady::Ended(status) if starts > 1 => {
            format!(
                "'{program}' ended before it took connections ({status}), {starts} times, each on another free port"
            )
        }
        NotReady::Ended(status) => format!("'{program}' ended before it took connections on {address} ({status})"),
        NotReady::Refused(error) => {
            let patience = humantime::format_duration(server.ready_timeout);
            format!(
                "'{program}' took no connection on {address} within {patience} (until then: {error}): check its \
                     arguments, or give it a longer ready_timeout"
            )
        }
        NotReady::Interrupted => format!("interrupted before '{program}' took connections"),
    };
    let said: Vec<&str> = output.iter().rev().take(SHOWN_LINES).rev().map(String::as_str).collect();
    match said.is_empty() {
        true => format!("{why}; it said nothing"),
        false => format!("{why}; it said:\n      {}", said.join("\n      ")),
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
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
