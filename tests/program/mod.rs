//! The program as a process: helpers for tests of its command line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any run of a test takes on a busy machine. A run that exceeds it hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(120);
/// The time between two looks at a program whose pipes are open.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The program with these arguments, its output piped.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Variables of the person who runs the tests must not change the results.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ECHO_TESTER_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    finish(program(args).spawn().expect("the program starts"), args)
}

/// Waits for the end of the program; panics if it hangs, and tells what it was doing.
pub(crate) fn finish(mut child: Child, args: &[&str]) -> Output {
    let (ended, drained) = channel();
    let stdout = drain(child.stdout.take(), ended.clone());
    let stderr = drain(child.stderr.take(), ended);
    let until = Instant::now() + HANG_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            break status;
        }
        if Instant::now() > until {
            let doing = threads_of(child.id());
            child.kill().expect("the program runs");
            panic!("{args:?} did not end. Its threads, and what they wait for:\n{doing}");
        }
        // Its pipes close when it ends, unless a process of its own still holds them. A test that looked all the time
        // would take the processor from what it waits for.
        if drained.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            std::thread::yield_now();
        }
    };
    let join = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().expect("the reader does not panic");
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

/// Reads a pipe to its end, and tells of the end.
fn drain(pipe: Option<impl Read + Send + 'static>, ended: Sender<()>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the pipe is open");
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("the pipe is readable");
        // The test may have given up.
        let _ = ended.send(());
        all
    })
}

/// The threads of a process, as Linux tells them: name, state, and the function of the kernel that each waits in.
fn threads_of(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().map_while(Result::ok);
    let read = |task: &std::fs::DirEntry, file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
    let threads = tasks.map(|task| {
        let status = read(&task, "status");
        let state = status.lines().find(|line| line.starts_with("State")).unwrap_or_default();
        format!("  {} {state} {}\n", read(&task, "comm").trim(), read(&task, "wchan"))
    });
    threads.collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program and returns its exit code, stdout and stderr.
pub(crate) fn said(args: &[&str]) -> (i32, String, String) {
    let output = run(args);
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A `serve` process that runs until it is stopped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(args: &[&str]) -> Serving {
        Serving::start_with(args, Stdio::inherit())
    }

    /// Starts it with another standard error.
    pub(crate) fn start_with(args: &[&str], stderr: Stdio) -> Serving {
        let bind: &[&str] = if args.contains(&"--bind") { &[] } else { &["--bind", "127.0.0.1:0"] };
        let all = [&["serve", "--json", "--until-stdin-closes"], bind, args].concat();
        let mut child = program(&all).stdin(Stdio::piped()).stderr(stderr).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("the pipe is open")).lines();
        let first = lines.next().expect("the server prints a line when it listens").expect("the output is UTF-8");
        let first: Value = serde_json::from_str(&first).expect("the text is JSON");
        let address = first["address"].as_str().expect("the address is a string").to_owned();
        Serving { child, lines, address }
    }

    /// Closes its standard input, which stops it, and returns its last line.
    pub(crate) fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        let last = self.lines.by_ref().map_while(Result::ok).last().expect("the server prints a line when it stops");
        assert!(self.child.wait().expect("the process can be waited for").success());
        serde_json::from_str(&last).expect("the text is JSON")
    }
}
