//! The program as a process: what tests of its command line share.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a busy machine; a test that hits it has found a hang.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What the person who runs the tests has set must not change what they see.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ECHO_TESTER_")) {
        command.env_remove(name);
    }
    command
}

/// Runs to the end, but never for ever.
fn run(args: &[&str]) -> Output {
    finish(program(args).spawn().expect("the program starts"), args)
}

pub(crate) fn finish(mut child: Child, args: &[&str]) -> Output {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("waiting for a child works") {
            break status;
        }
        if Instant::now() > until {
            child.kill().expect("it runs");
            panic!("{args:?} did not end");
        }
        std::thread::yield_now();
    };
    let join = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().expect("the reader does not panic");
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("piped");
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, stdout, stderr.
pub(crate) fn said(args: &[&str]) -> (i32, String, String) {
    let output = run(args);
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A `serve` that runs until it is told to stop.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(args: &[&str]) -> Serving {
        let all = [&["serve", "--json", "--bind", "127.0.0.1:0", "--until-stdin-closes"], args].concat();
        let mut child = program(&all).stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a line when it listens").expect("text");
        let first: Value = serde_json::from_str(&first).expect("JSON");
        let address = first["address"].as_str().expect("an address").to_owned();
        Serving { child, lines, address }
    }

    /// Its last line, after its standard input was closed.
    pub(crate) fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        let last = self.lines.by_ref().map_while(Result::ok).last().expect("a line when it stops");
        assert!(self.child.wait().expect("it ends").success());
        serde_json::from_str(&last).expect("JSON")
    }
}
