//! A bundled server as a process of its own: `blast --serve`, `compare`, `check`, scenarios.
//!
//! A separate process has its own descriptor limit and its own CPU time. It runs this program again, as `serve --json`
//! on a free port, and lives as long as the pipe to its standard input. When the pipe closes, on purpose or because
//! this process died, the server drains and ends. So no server is left behind. It stands in a process group of its own:
//! a Ctrl-C at the terminal ends the run, and the run ends the server.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::captured_output::CapturedOutput;
use super::lifecycle::StoppedServer;
use super::listening;
use super::patience::Patience;
use super::serve_event::ServeEvent;
use super::server_log::{OutputSink, ServerLog};
use super::started_process::StartedProcess;
use crate::config::ServerConditions;
use crate::failure::Failure;
use crate::interrupt;
use crate::report::run::ServerReport;
use anyhow::Context as _;

/// How long the server may take to listen. Under Wine a process starts slowly.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server may take to end, which includes its own drain time.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take to end after it failed to start.
const FAILED_START_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the wait for the first line looks for an interrupt.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The environment variables that stand for flags begin with this.
const VARIABLE_PREFIX: &str = "ECHO_TESTER_";

/// A running bundled server.
pub struct BundledServer {
    process: StartedProcess,
    stdin: Option<ChildStdin>,
    /// The lines of its standard output.
    events: Receiver<String>,
    /// The lines of its standard error.
    output: CapturedOutput,
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The name of its model, `auto` resolved.
    pub model: String,
}

impl BundledServer {
    /// Starts `serve --model MODEL` with further flags under these conditions, and waits until it listens. A faulty
    /// server takes no model. The file gets all that it prints.
    ///
    /// # Errors
    /// The process cannot be started, ends early or does not report in time; the error quotes its output. Or the user
    /// interrupted.
    pub fn start(
        model: Option<&str>,
        flags: &[String],
        conditions: &ServerConditions,
        log: Option<OutputSink>,
    ) -> anyhow::Result<BundledServer> {
        let program = std::env::current_exe().context("finding this program, to start it as a server")?;
        let mut command = Command::new(program);
        let bind = SocketAddr::new(listening::ip(conditions.family), 0).to_string();
        command.args(["serve", "--json", "--bind", &bind, "--until-stdin-closes"]);
        command.args(model.iter().flat_map(|model| ["--model", model])).args(flags);
        // The flags above describe this server. Variables that a user set for another server do not apply to it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_uppercase().starts_with(VARIABLE_PREFIX) {
                command.env_remove(name);
            }
        }
        BundledServer::wait_for(command, model, conditions.descriptors, log.map(ServerLog::new))
    }

    /// Starts the command, and waits until it reports that it listens.
    fn wait_for(
        mut command: Command,
        model: Option<&str>,
        descriptors: Option<u64>,
        log: Option<ServerLog>,
    ) -> anyhow::Result<BundledServer> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = StartedProcess::start(&mut command, descriptors).context("starting the bundled server")?;
        let events = lines_of(process.child().stdout.take(), log.clone());
        let stdin = process.child().stdin.take();
        let output = CapturedOutput::of(process.child(), None, log);
        let model = model.unwrap_or("faulty");
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = BundledServer { process, stdin, events, output, address: unknown, model: model.to_owned() };
        match server.first_line().as_deref().and_then(listening_at) {
            Some((address, model)) => {
                server.address = address;
                server.model = model;
                Ok(server)
            }
            _ if interrupt::is_requested() => {
                Err(Failure::interrupted(format!("interrupted before the bundled server (--serve={model}) was up")))
            }
            _ => Err(server.why_it_did_not_start(model)),
        }
    }

    /// The first line of its standard output. `None`: it ended, it took too long, or the user interrupted.
    fn first_line(&self) -> Option<String> {
        let until = Instant::now() + START_TIMEOUT;
        while !interrupt::is_requested() && Instant::now() < until {
            match self.events.recv_timeout(LOOK_INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {}
                line => return line.ok(),
            }
        }
        None
    }

    fn why_it_did_not_start(mut self, model: &str) -> anyhow::Error {
        let status = self.end(Patience::new(FAILED_START_TIMEOUT));
        let said = self.output.lines().join("\n").trim_start_matches("error: ").to_owned();
        let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
        let message = format!("the bundled server (--serve={model}) did not start: {said}");
        // The server has refused its flags: so the flags of this command were wrong.
        if status.and_then(|status| status.code()) == Some(2) {
            Failure::usage(message)
        } else {
            Failure::could_not_run(message)
        }
    }

    /// The id of its process, of which all others descend.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, if the process has ended before it was told to.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Asks the server to drain and end, from another thread.
    pub fn stopper(&self) -> impl FnOnce() + Send + 'static {
        self.process.stopper()
    }

    /// Lets the server drain and end, and collects its counters. A server that does not report them, or does not exit
    /// with success, is broken. After an interrupt it is killed soon, which does not make it broken.
    pub fn stop(mut self) -> StoppedServer {
        self.stdin.take();
        let mut patience = Patience::new(STOP_TIMEOUT);
        let mut report = ServerReport { model: self.model.clone(), counters: None, cpu_s: None };
        while let Some(line) = patience.receive(&self.events) {
            if let Ok(ServeEvent::Stopped { counters, cpu_seconds, .. }) = serde_json::from_str(&line) {
                report.counters = Some(counters);
                report.cpu_s = cpu_seconds;
            }
        }
        let broke = match self.end(patience) {
            Some(status) if report.counters.is_none() => Some(format!("ended without its counters ({status})")),
            Some(status) if !status.success() => Some(format!("ended with an error ({status})")),
            Some(_) => None,
            None if interrupt::is_requested() => None,
            None => Some(format!(
                "did not end within {} when told to, and was killed",
                humantime::format_duration(STOP_TIMEOUT)
            )),
        };
        StoppedServer { broke, report: Some(report), output: self.output.lines() }
    }

    /// Waits for the process to end. When the time is over, which includes its drain and its abort, it hangs: then it
    /// is killed, and there is no status.
    fn end(&mut self, patience: Patience) -> Option<ExitStatus> {
        self.stdin.take();
        self.process.end_within(patience)
    }
}

/// The address and the model in the line with which a server says that it listens.
fn listening_at(line: &str) -> Option<(SocketAddr, String)> {
    match serde_json::from_str(line) {
        Ok(ServeEvent::Listening { address, model, .. }) => Some((address.parse().ok()?, model)),
        _ => None,
    }
}

/// Reads a pipe line by line on a thread, so that a wait for a line can time out. The thread ends with the pipe.
fn lines_of(pipe: Option<impl Read + Send + 'static>, log: Option<ServerLog>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if let Some(log) = &log {
                    log.write(format!("{line}\n").as_bytes());
                }
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

/// Shell scripts stand in for servers: they print what a server prints, and then break.
#[cfg(all(test, unix))]
mod tests {
    use super::*;

    use crate::server::CountersSnapshot;

    fn stopped_after(script: &str) -> StoppedServer {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let listening = ServeEvent::Listening {
            address: address.to_string(),
            model: "sh".to_owned(),
            workers: None,
            pid: 1,
            tls: false,
        };
        let listening = serde_json::to_string(&listening).expect("an event is valid JSON");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo '{listening}'; read nothing; {script}")]);
        BundledServer::wait_for(command, Some("sh"), None, None).expect("the script reports that it listens").stop()
    }

    #[test]
    fn a_server_that_does_not_exit_with_success_is_broken() {
        let counters = CountersSnapshot::default();
        let event = ServeEvent::Stopped { counters, aborted: 0, hung: false, error: None, cpu_seconds: None };
        let stopped = format!("echo '{}'", serde_json::to_string(&event).expect("an event is valid JSON"));
        assert_eq!(stopped_after(&stopped).broke, None);
        for (text, how) in [
            ("kill -SEGV $$".to_owned(), "ended without its counters (signal: 11 (SIGSEGV)"),
            ("exit 0".to_owned(), "ended without its counters (exit status: 0)"),
            (format!("{stopped}; exit 1"), "ended with an error (exit status: 1)"),
        ] {
            let broke = stopped_after(&text).broke;
            assert!(broke.as_ref().is_some_and(|broke| broke.starts_with(how)), "{text}: {broke:?}");
        }
    }

    #[test]
    fn late_output_is_waited_for_and_long_output_is_cut() {
        // The process that is left behind still holds the pipe.
        assert_eq!(stopped_after("(sleep 0.2; echo late >&2) & exit 1").output, ["late"]);
        let lines = stopped_after("i=0; while [ $i -lt 1000 ]; do echo $i >&2; i=$((i+1)); done; exit 1").output;
        assert_eq!((lines.len(), lines[0].as_str(), lines[200].as_str()), (201, "0", "999"));
        assert_eq!(lines[100], "(echo-tester: 800 lines are left out here; --server-log keeps them)");
    }
}
