//! A server that a command line starts, for one case: `command` in a scenario.
//!
//! It gets a free port of 127.0.0.1, is ready when it takes a connection, and is stopped with all that it started: on
//! Unix SIGTERM to its process group, then SIGKILL; on Windows its job object is ended. Nobody can keep a port free
//! until the server binds it: where it says that its port is in use, it is started again on another.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::captured_output::Output;
use super::test_server::{NotStarted, Stopped};
use crate::config::CommandServer;
use crate::interrupt;
use crate::sys::{self, ProcessGroup};
use crate::target::liveness;

/// How often it is started when its port was taken meanwhile.
const TRIES: usize = 3;
/// Lines that are shown where it did not start.
const SHOWN_LINES: usize = 5;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(1);

/// The groups that run, for an end without time: by the id of the process that leads each.
static RUNNING: Mutex<BTreeMap<u32, Arc<ProcessGroup>>> = Mutex::new(BTreeMap::new());

/// Kills every server that still runs, with what it started. For an end without time.
pub fn kill_all() {
    for group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).values() {
        group.kill();
    }
}

/// A running server.
#[derive(Debug)]
pub struct Commanded {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    group: Arc<ProcessGroup>,
    /// Its end, once that was seen.
    status: Option<ExitStatus>,
    output: Output,
    stop_timeout: Duration,
}

/// Why it takes no connections.
enum NotReady {
    Ended(ExitStatus),
    Refused(io::Error),
    Interrupted,
}

impl Commanded {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// It can't be started, ends at once, or takes no connection until its time is over; with what it said.
    pub fn start(server: &CommandServer) -> Result<Commanded, NotStarted> {
        let mut tries = 1;
        loop {
            let failed = |reason: String| NotStarted { reason, output: Vec::new() };
            let address =
                free_address().map_err(|error| failed(format!("finding a free port of 127.0.0.1: {error}")))?;
            let mut started = Commanded::spawn(server, address).map_err(failed)?;
            let Err(why) = started.wait_until_ready(server.ready_timeout) else { return Ok(started) };
            let output = started.stop().output;
            if matches!(why, NotReady::Ended(_)) && tries < TRIES && says_port_is_taken(&output) {
                tries += 1;
                continue;
            }
            return Err(NotStarted { reason: reason(server, address, &why, &output, tries), output });
        }
    }

    fn spawn(server: &CommandServer, address: SocketAddr) -> Result<Commanded, String> {
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
        let output = Output::of(&mut child);
        let group = ProcessGroup::of(&child).inspect_err(|_| drop(child.kill())).map_err(wrong)?;
        let group = Arc::new(group);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), Arc::clone(&group));
        Ok(Commanded { address, child, group, status: None, output, stop_timeout: server.stop_timeout })
    }

    fn wait_until_ready(&mut self, patience: Duration) -> Result<(), NotReady> {
        let until = Instant::now() + patience;
        loop {
            let refused = liveness::connect(self.address, None, CONNECT.min(patience).max(LOOK)).err();
            // Asked last: if somebody else answers on its port, it has ended, or is about to.
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
            std::thread::sleep(LOOK);
        }
    }

    /// How it has ended, if it has. What it started ends with it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && sys::has_ended(&mut self.child) {
            self.reap();
        }
        self.status
    }

    /// Stops it with all that it started. One that has to be killed is remarked on, and not broken.
    pub fn stop(mut self) -> Stopped {
        let remark = self.end(self.stop_timeout);
        let crashed = self.status.filter(|status| remark.is_none() && sys::is_crash(*status));
        let broke = crashed.map(|status| format!("ended by itself when it was told to end ({status})"));
        let mut output = self.output.lines();
        output.extend(remark);
        Stopped { broke, report: None, output }
    }

    /// Gives a remark if it had to be killed.
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
            std::thread::sleep(LOOK.min(patience));
        }
        self.reap();
        let patience = humantime::format_duration(patience);
        Some(format!("(echo-tester: it did not end within {patience} when told to, and was killed)"))
    }

    /// Kills what is left of the group and waits for the process, in this order: until it is waited for, its id and
    /// thereby the group's is nobody else's.
    fn reap(&mut self) {
        self.group.kill();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
        self.status = self.child.wait().ok().or(self.status);
    }
}

impl Drop for Commanded {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.reap();
        }
    }
}

/// Why it did not start, as a sentence, and the last that it said.
fn reason(server: &CommandServer, address: SocketAddr, why: &NotReady, output: &[String], tries: usize) -> String {
    let program = server.program();
    let why = match why {
        NotReady::Ended(status) if tries > 1 => {
            format!("'{program}' ended before it took connections ({status}), {tries} times, each on another free port")
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

/// As libraries and the systems say it: EADDRINUSE, WSAEADDRINUSE.
fn says_port_is_taken(output: &[String]) -> bool {
    let is_it = |line: &String| {
        let line = line.to_lowercase();
        ["in use", "eaddrinuse", "10048", "only one usage of each socket"].iter().any(|words| line.contains(words))
    };
    output.iter().any(is_it)
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
