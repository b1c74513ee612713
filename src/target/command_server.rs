//! A server that a command line starts for one case: `command` in a scenario.
//!
//! The server gets a free port of 127.0.0.1. It is ready when it echoes a byte, because a proxy accepts connections
//! long before its backend is up; with `ready = "connect"`, when it accepts a connection. It is stopped together with
//! all processes that it started: on Unix by SIGTERM to its process group, then SIGKILL; on Windows by CTRL_BREAK to
//! its group, then by ending its job object. On Linux, processes that have left the group are ended with it
//! ([`escaped`](super::escaped)). A port cannot be reserved until the server binds it. If the server reports
//! that its port is in use, it is started again on another one. A process beside the server may have other signs that
//! it is ready: a line of its output, or that it has ended with success.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::captured_output::CapturedOutput;
use super::echo_probe::{self, NoEcho};
use super::escaped::DescentMark;
use super::lifecycle::{Reach, StartFailure, StoppedServer};
use super::listening;
use super::patience::{AFTER_INTERRUPT, Patience};
use super::program_path;
use super::server_log::{OutputSink, ServerLog};
use super::started_process::StartedProcess;
use crate::config::{CommandSpec, Places, Readiness, ServerConditions};
use crate::interrupt;
use crate::report::text::both_ends;
use crate::sys;
use crate::transport::Destination;

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
    /// Of the process and all that it starts. It comes after the process, so that it is dropped after it.
    mark: DescentMark,
    output: CapturedOutput,
    stop_timeout: Duration,
}

/// What a command finds where it starts, besides the conditions of its case.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// The processes that it may name, and where they listen.
    pub(super) others: Vec<(String, SocketAddr)>,
    /// The folder of the case, if it has one.
    pub(super) folder: Option<PathBuf>,
    /// Where it shall listen, if that was said; port 0 is any free one.
    pub(super) address: Option<SocketAddr>,
}

/// Why a server is not ready.
enum NotReady {
    ProcessEnded(ExitStatus),
    NoEcho(NoEcho),
    /// It did not print the line.
    NotSaid(String),
    /// It has not ended.
    Runs,
    Interrupted,
}

impl CommandServer {
    /// Starts the server and waits until it is ready; `reach` is the way to it. The file gets all that it prints.
    ///
    /// # Errors
    /// The command cannot be started, ends at once, or is not ready before its time is over; the error quotes its
    /// output.
    pub(super) fn start(
        server: &CommandSpec,
        conditions: &ServerConditions,
        (surroundings, reach): (&Surroundings, Reach<'_>),
        log: Option<OutputSink>,
    ) -> Result<CommandServer, StartFailure> {
        let log = log.map(ServerLog::new);
        let mut starts = 1;
        loop {
            let failed = |reason: String| StartFailure { reason, output: Vec::new() };
            let address = address(conditions, surroundings).map_err(failed)?;
            let places = Places::at(address).among(surroundings.others.clone(), surroundings.folder.as_deref());
            let reached = reach(listening::reached_at(address)[0]).map_err(|error| failed(format!("{error:#}")))?;
            let mut started = CommandServer::spawn(server, &places, conditions, log.clone()).map_err(failed)?;
            let Err(why) = started.wait_until_ready(server, &reached) else { return Ok(started) };
            let output = started.stop().output;
            let has_choice = surroundings.address.is_none_or(|address| address.port() == 0);
            if has_choice
                && matches!(why, NotReady::ProcessEnded(_))
                && starts < MAX_STARTS
                && says_port_is_taken(&output)
            {
                starts += 1;
                continue;
            }
            return Err(StartFailure { reason: reason(server, address, &why, &output, starts), output });
        }
    }

    fn spawn(
        server: &CommandSpec,
        places: &Places,
        conditions: &ServerConditions,
        log: Option<ServerLog>,
    ) -> Result<CommandServer, String> {
        write_files(server, places)?;
        let words = server.command_at(places);
        let mut command = Command::new(program_path::of_command(&words[0]));
        command.args(&words[1..]).envs(server.env_at(places)).stdin(Stdio::null());
        let mark = DescentMark::new();
        command.envs([mark.variable()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &server.cwd {
            command.current_dir(folder);
        }
        let mut process = StartedProcess::start(&mut command, conditions.descriptors).map_err(|error| {
            let folder = server.cwd.as_ref().map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            format!("starting '{}'{folder}: {error}: check the program of `command`", server.program())
        })?;
        let sign = if let Readiness::Output(text) = &server.ready { Some(text.clone()) } else { None };
        let output = CapturedOutput::of(process.child(), sign, log);
        Ok(CommandServer { address: places.own(), process, mark, output, stop_timeout: server.stop_timeout })
    }

    fn wait_until_ready(&mut self, server: &CommandSpec, target: &Destination) -> Result<(), NotReady> {
        let until = Instant::now() + server.ready_timeout;
        match &server.ready {
            Readiness::Echo | Readiness::Connect => self.wait_for_answer(server, target, until),
            Readiness::Output(text) => self.wait_for_line(text, until),
            Readiness::Exit => self.wait_for_success(until),
        }
    }

    fn wait_for_answer(&mut self, server: &CommandSpec, target: &Destination, until: Instant) -> Result<(), NotReady> {
        loop {
            let timeout = ATTEMPT_TIMEOUT.min(server.ready_timeout).max(POLL_INTERVAL);
            let answer = match server.ready {
                Readiness::Connect => echo_probe::connects(target, None, timeout),
                _ => echo_probe::echoes(target, None, timeout),
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

    fn wait_for_line(&mut self, text: &str, until: Instant) -> Result<(), NotReady> {
        loop {
            // Looked at first: what a process printed before it ended may still be on its way.
            let ended = self.ended();
            match ended {
                _ if self.output.has_said() => {
                    return ended.map_or(Ok(()), |status| Err(NotReady::ProcessEnded(status)));
                }
                Some(status) => return Err(NotReady::ProcessEnded(status)),
                None if interrupt::is_requested() => return Err(NotReady::Interrupted),
                None if Instant::now() >= until => return Err(NotReady::NotSaid(text.to_owned())),
                None => interrupt::pause(POLL_INTERVAL),
            }
        }
    }

    fn wait_for_success(&mut self, until: Instant) -> Result<(), NotReady> {
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(NotReady::ProcessEnded(status)),
                None if interrupt::is_requested() => return Err(NotReady::Interrupted),
                None if Instant::now() >= until => return Err(NotReady::Runs),
                None => interrupt::pause(POLL_INTERVAL),
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
        let asked = Instant::now();
        self.mark.ask_to_end(self.process.id());
        let status = self.process.end_within(Patience::new(self.stop_timeout));
        self.mark.end_within(Patience::new(self.stop_timeout.saturating_sub(asked.elapsed())));
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
    let why = why_not_ready(server, address, why, starts);
    match both_ends(output, SHOWN_LINES) {
        said if said.is_empty() => format!("{why}; it said nothing"),
        said => format!("{why}; it said:\n      {}", said.join("\n      ")),
    }
}

fn why_not_ready(server: &CommandSpec, address: SocketAddr, why: &NotReady, starts: usize) -> String {
    let program = server.program();
    let patience = humantime::format_duration(server.ready_timeout);
    match why {
        NotReady::ProcessEnded(status) if server.ready == Readiness::Exit => {
            format!("'{program}' failed ({status})")
        }
        NotReady::ProcessEnded(status) if starts > 1 => {
            format!(
                "'{program}' ended before it took connections ({status}), {starts} times, each on another free port"
            )
        }
        NotReady::ProcessEnded(status) if matches!(server.ready, Readiness::Output(_)) => {
            format!("'{program}' ended before it was ready ({status})")
        }
        NotReady::ProcessEnded(status) => {
            format!("'{program}' ended before it took connections on {address} ({status})")
        }
        NotReady::NoEcho(NoEcho::Interrupted) | NotReady::Interrupted => {
            format!("interrupted before '{program}' was ready")
        }
        NotReady::NotSaid(text) => format!(
            "'{program}' printed no line with '{text}' within {patience}: check the text of `ready`, or give it a \
             longer ready_timeout"
        ),
        NotReady::Runs => format!(
            "'{program}' did not end within {patience}, and ready = \"exit\" waits for that: give it a longer \
             ready_timeout, or another `ready` if it is to run on"
        ),
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
    }
}

/// Whether the output says that the address is in use, in the words of the systems and of common libraries. Windows
/// says of an address that another program owns alone that access is forbidden (WSAEACCES).
fn says_port_is_taken(output: &[String]) -> bool {
    let is_it = |line: &String| {
        let line = line.to_lowercase();
        let words = ["in use", "eaddrinuse", "10048", "only one usage of each socket", "10013", "access permissions"];
        words.iter().any(|words| line.contains(words))
    };
    output.iter().any(is_it)
}

/// Where the server shall listen: where it was said, else on a port of this machine that was free a moment ago.
fn address(conditions: &ServerConditions, surroundings: &Surroundings) -> Result<SocketAddr, String> {
    let wanted = surroundings.address.unwrap_or_else(|| SocketAddr::new(listening::ip(conditions.family), 0));
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    let free = TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
    free.map_err(|error| format!("finding a free port of {}: {error}", wanted.ip()))
}

/// Writes the files of the server into the folder of the case.
fn write_files(server: &CommandSpec, places: &Places) -> Result<(), String> {
    let Some(folder) = places.folder() else { return Ok(()) };
    for (name, text) in server.files_at(places) {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("writing {}: {error}", path.display()))?;
    }
    Ok(())
}
