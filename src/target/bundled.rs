//! A bundled server as a process of its own: `blast --serve`, `compare`, `check`, scenarios.
//!
//! A separate process has its own descriptor limit and its own CPU time. It runs this program again, as `serve --json`
//! on a free port, and lives as long as the pipe to its standard input. When the pipe closes, on purpose or because
//! this process died, the server drains and ends. So no server is left behind.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::captured_output::CapturedOutput;
use super::lifecycle::StoppedServer;
use super::serve_event::ServeEvent;
use crate::failure::Failure;
use crate::report::run::ServerReport;
use anyhow::Context as _;

/// How long the server may take to listen. Under Wine a process starts slowly.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server may take to end, which includes its own drain time.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take to end after it failed to start.
const FAILED_START_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two looks at the process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The environment variables that stand for flags begin with this.
const VARIABLE_PREFIX: &str = "ECHO_TESTER_";

/// A running bundled server.
pub struct BundledServer {
    child: Child,
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
    /// Starts `serve --model MODEL` with further flags, and waits until it listens. A faulty server takes no model.
    ///
    /// # Errors
    /// The process cannot be started, ends early or does not report in time; the error quotes its output.
    pub fn start(model: Option<&str>, flags: &[String]) -> anyhow::Result<BundledServer> {
        let program = std::env::current_exe().context("finding this program, to start it as a server")?;
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--bind", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(model.iter().flat_map(|model| ["--model", model])).args(flags);
        // The flags above describe this server. Variables that a user set for another server do not apply to it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_uppercase().starts_with(VARIABLE_PREFIX) {
                command.env_remove(name);
            }
        }
        BundledServer::wait_for(command, model)
    }

    /// Starts the command, and waits until it reports that it listens.
    fn wait_for(mut command: Command, model: Option<&str>) -> anyhow::Result<BundledServer> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the bundled server")?;
        let events = lines_of(child.stdout.take());
        let output = CapturedOutput::of(&mut child);
        let stdin = child.stdin.take();
        let model = model.unwrap_or("faulty");
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = BundledServer { child, stdin, events, output, address: unknown, model: model.to_owned() };
        let first = server.events.recv_timeout(START_TIMEOUT);
        match first.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(ServeEvent::Listening { address, model, .. }) => {
                server.address = address;
                server.model = model;
                Ok(server)
            }
            _ => Err(server.why_it_did_not_start(model)),
        }
    }

    fn why_it_did_not_start(mut self, model: &str) -> anyhow::Error {
        let status = self.end(FAILED_START_TIMEOUT);
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

    /// The exit status, if the process has ended before it was told to.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Lets the server drain and end, and collects its counters. A server that does not report them, or does not exit
    /// with success, is broken.
    pub fn stop(mut self) -> StoppedServer {
        self.stdin.take();
        let until = Instant::now() + STOP_TIMEOUT;
        let mut report = ServerReport { model: self.model.clone(), counters: None, cpu_s: None };
        while let Ok(line) = self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Ok(ServeEvent::Stopped { counters, cpu_seconds, .. }) = serde_json::from_str(&line) {
                report.counters = Some(counters);
                report.cpu_s = cpu_seconds;
            }
        }
        let broke = match self.end(until.saturating_duration_since(Instant::now())) {
            Some(status) if report.counters.is_none() => Some(format!("ended without its counters ({status})")),
            Some(status) if !status.success() => Some(format!("ended with an error ({status})")),
            Some(_) => None,
            None => Some(format!(
                "did not end within {} when told to, and was killed",
                humantime::format_duration(STOP_TIMEOUT)
            )),
        };
        StoppedServer { broke, report: Some(report), output: self.output.lines() }
    }

    /// Waits for the process to end. When the time limit has passed, kills it and returns no status.
    fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.stdin.take();
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(POLL_INTERVAL),
                _ => break,
            }
        }
        // The time includes its drain and its abort, so the process hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for BundledServer {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end(Duration::ZERO);
        }
    }
}

/// Reads a pipe line by line on a thread, so that a wait for a line can time out. The thread ends with the pipe.
fn lines_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
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
        let listening = ServeEvent::Listening { address, model: "sh".to_owned(), workers: None, pid: 1 };
        let listening = serde_json::to_string(&listening).expect("an event is valid JSON");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo '{listening}'; read nothing; {script}")]);
        BundledServer::wait_for(command, Some("sh")).expect("the script reports that it listens").stop()
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
        assert_eq!((lines.len(), lines[0].as_str()), (201, "(800 earlier lines are left out)"));
        assert_eq!(lines[200], "999");
    }
}
