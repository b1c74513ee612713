//! A bundled server as a process of its own: `blast --serve`, `compare`, `check`, scenarios.
//!
//! A process of its own has its own descriptor limit and its own CPU time. It is this program again, `serve --json` on
//! a free port, and lives as long as the pipe to its standard input: when that closes, on purpose or because this
//! process died, it drains and ends. So no server is left behind.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::captured_output::Output;
use super::test_server::Stopped;
use crate::failure::Failure;
use crate::report::run::ServerReport;
use crate::server::CountersSnapshot;

/// How long it may take until it listens. Under Wine a process starts slowly.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end, beyond its own drain time.
const STOP: Duration = Duration::from_secs(30);

/// What the names of the variables that stand for flags begin with.
const VARIABLES: &str = "ECHO_TESTER_";

/// What `serve --json` prints, a line each.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Listening {
        address: SocketAddr,
        model: String,
    },
    Stopped {
        counters: CountersSnapshot,
        cpu_seconds: Option<f64>,
    },
    #[serde(other)]
    Other,
}

/// A running bundled server.
pub struct Bundled {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it says on stderr.
    output: Output,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its model, `auto` resolved.
    pub model: String,
}

impl Bundled {
    /// Starts `serve --model MODEL` with further flags, and waits until it listens. A faulty server has no model.
    ///
    /// # Errors
    /// It can't be started, or it ends or stays silent; with what it said.
    pub fn start(model: Option<&str>, flags: &[String]) -> anyhow::Result<Bundled> {
        let program = std::env::current_exe().context("finding this program, to start it as a server")?;
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--bind", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(model.iter().flat_map(|model| ["--model", model])).args(flags);
        // It does what these flags say, and not what somebody has set for a server of his own.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_uppercase().starts_with(VARIABLES) {
                command.env_remove(name);
            }
        }
        Bundled::wait_for(command, model)
    }

    /// Starts the program, and waits until it says that it listens.
    fn wait_for(mut command: Command, model: Option<&str>) -> anyhow::Result<Bundled> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the bundled server")?;
        let lines = lines_of(child.stdout.take());
        let output = Output::of(&mut child);
        let stdin = child.stdin.take();
        let model = model.unwrap_or("faulty");
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Bundled { child, stdin, lines, output, address: unknown, model: model.to_owned() };
        let first = server.lines.recv_timeout(START);
        match first.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(Event::Listening { address, model }) => {
                server.address = address;
                server.model = model;
                Ok(server)
            }
            _ => Err(server.why_it_did_not_start(model)),
        }
    }

    fn why_it_did_not_start(mut self, model: &str) -> anyhow::Error {
        let status = self.end(Duration::from_secs(1));
        let said = self.output.lines().join("\n").trim_start_matches("error: ").to_owned();
        let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
        let message = format!("the bundled server (--serve={model}) did not start: {said}");
        // It has an exit code of its own for 'this makes no sense'.
        if status.and_then(|status| status.code()) == Some(2) {
            Failure::usage(message)
        } else {
            Failure::could_not_run(message)
        }
    }

    /// How it has ended, which it should not by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Lets it drain and end, and collects what it says of itself. One that does not say its last line, or does not end
    /// well, is broken.
    pub fn stop(mut self) -> Stopped {
        self.stdin.take();
        let until = Instant::now() + STOP;
        let mut report = ServerReport { model: self.model.clone(), counters: None, cpu_s: None };
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Ok(Event::Stopped { counters, cpu_seconds }) = serde_json::from_str(&line) {
                report.counters = Some(counters);
                report.cpu_s = cpu_seconds;
            }
        }
        let broke = match self.end(until.saturating_duration_since(Instant::now())) {
            Some(status) if report.counters.is_none() => Some(format!("ended without its counters ({status})")),
            Some(status) if !status.success() => Some(format!("ended with an error ({status})")),
            Some(_) => None,
            None => {
                Some(format!("did not end within {} when told to, and was killed", humantime::format_duration(STOP)))
            }
        };
        Stopped { broke, report: Some(report), output: self.output.lines() }
    }

    /// Waits for its end for so long; then it is killed, and there is no status.
    fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.stdin.take();
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                _ => break,
            }
        }
        // Its own drain and abort had their time: it hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Bundled {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end(Duration::ZERO);
        }
    }
}

/// Reads a pipe line by line on a thread, so that waiting for a line can have an end. The thread ends with the pipe.
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

/// Shells that say what a server says and then break.
#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn left_of(text: &str) -> Stopped {
        let listening = r#"{"event":"listening","address":"127.0.0.1:1","model":"sh"}"#;
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo '{listening}'; read nothing; {text}")]);
        Bundled::wait_for(command, Some("sh")).expect("it says that it listens").stop()
    }

    #[test]
    fn one_that_does_not_end_well_when_it_is_told_to_is_broken() {
        let counters = serde_json::to_string(&CountersSnapshot::default()).expect("they are plain");
        let stopped = format!("echo '{{\"event\":\"stopped\",\"counters\":{counters},\"cpu_seconds\":null}}'");
        assert_eq!(left_of(&stopped).broke, None);
        for (text, how) in [
            ("kill -SEGV $$".to_owned(), "ended without its counters (signal: 11 (SIGSEGV)"),
            ("exit 0".to_owned(), "ended without its counters (exit status: 0)"),
            (format!("{stopped}; exit 1"), "ended with an error (exit status: 1)"),
        ] {
            let broke = left_of(&text).broke;
            assert!(broke.as_ref().is_some_and(|broke| broke.starts_with(how)), "{text}: {broke:?}");
        }
    }

    #[test]
    fn its_last_words_are_waited_for_and_what_it_says_without_end_is_not_kept_whole() {
        // What it leaves behind still holds the pipe.
        assert_eq!(left_of("(sleep 0.2; echo late >&2) & exit 1").output, ["late"]);
        let lines = left_of("i=0; while [ $i -lt 1000 ]; do echo $i >&2; i=$((i+1)); done; exit 1").output;
        assert_eq!((lines.len(), lines[0].as_str()), (201, "(800 earlier lines are left out)"));
        assert_eq!(lines[200], "999");
    }
}
