//! Where the server under test runs: in this process, or in a process of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use echo_tester::server::models::Model;
use echo_tester::server::{CountersSnapshot, Options, Server};
use echo_tester::sys::{ProcessUsage, usage_of_tree};
use serde::Deserialize;

use super::client::PATIENCE;
use crate::waits::waits_of;

/// The server that a case needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) buffer: usize,
    pub(crate) max_conns: usize,
    pub(crate) idle_timeout: Option<Duration>,
    /// How long connections may take to end when the server stops.
    pub(crate) drain: Duration,
    /// The server needs a process of its own, such as for more connections than one process may hold both ends of.
    pub(crate) own_process: bool,
    /// The most descriptors that the server may have (Unix, in a process of its own).
    pub(crate) descriptors: Option<u32>,
}

impl Setup {
    pub(crate) const DEFAULT: Setup = Setup {
        workers: 1,
        buffer: 64 * 1024,
        max_conns: 10_000,
        idle_timeout: None,
        drain: PATIENCE,
        own_process: false,
        descriptors: None,
    };
}

/// What a server leaves behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) counters: CountersSnapshot,
    pub(crate) aborted: u64,
    pub(crate) hung: bool,
    /// Its error or panic, if it ended with one.
    pub(crate) error: Option<String>,
    /// CPU time of its process, if it had its own.
    pub(crate) cpu_seconds: Option<f64>,
}

/// A running server.
pub(crate) trait Host {
    fn address(&self) -> SocketAddr;
    /// Bytes of resident memory of its process, if it has its own and the system reports them.
    fn resident_memory(&self) -> Option<u64>;
    /// CPU time that its process has used, if it has its own and the system reports it while it runs.
    fn cpu_time(&self) -> Option<Duration> {
        None
    }
    /// How often its threads have waited, if it has its own process and the system reports that while it runs.
    fn waits(&self) -> Option<u64> {
        None
    }
    /// Its counters now, if it can be asked while it runs.
    fn counters(&self) -> Option<CountersSnapshot> {
        None
    }
    /// Begins a graceful stop. Returns at once.
    fn begin_stop(&mut self);
    /// Stops its process, if it has its own and the system can: it does nothing more until [`thaw`](Self::thaw).
    fn freeze(&self) {}
    /// Lets its process go on.
    fn thaw(&self) {}
    /// Stops it and waits for its end.
    fn end(self: Box<Self>) -> Ended;
}

/// A server in this process.
pub(crate) struct InProcess {
    server: Server,
    drain: Duration,
}

impl InProcess {
    pub(crate) fn start(model: &Model, setup: &Setup) -> InProcess {
        let options = Options {
            workers: setup.workers,
            buffer: setup.buffer,
            max_conns: setup.max_conns,
            idle_timeout: setup.idle_timeout,
            ..Options::default()
        };
        let server = Server::start(model, ([127, 0, 0, 1], 0).into(), options).expect("the server starts");
        InProcess { server, drain: setup.drain }
    }
}

impl Host for InProcess {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn resident_memory(&self) -> Option<u64> {
        None
    }

    fn counters(&self) -> Option<CountersSnapshot> {
        Some(self.server.counters())
    }

    fn begin_stop(&mut self) {
        self.server.drain();
    }

    fn end(self: Box<Self>) -> Ended {
        let stopped = self.server.stop(self.drain);
        let (aborted, hung) = (stopped.aborted, stopped.hung);
        Ended { counters: stopped.counters, aborted, hung, error: stopped.error, cpu_seconds: None }
    }
}

/// A server in a process of its own: `echo-tester serve --json`.
pub(crate) struct OwnProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    address: SocketAddr,
    is_under_wine: bool,
}

/// A line that it prints.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Listening { address: SocketAddr },
    Stopped { counters: CountersSnapshot, aborted: u64, hung: bool, error: Option<String>, cpu_seconds: Option<f64> },
}

impl OwnProcess {
    /// `program` is `echo-tester`, or Wine with it; the arguments are added here.
    pub(crate) fn start(mut program: Command, model: &str, setup: &Setup) -> OwnProcess {
        program
            .args(["serve", "--json", "--quiet", "--until-stdin-closes", "--bind", "127.0.0.1:0", "--model", model])
            .args(["--workers", &setup.workers.to_string(), "--buffer", &setup.buffer.to_string()])
            .args(["--max-conns", &setup.max_conns.to_string()])
            .args(["--drain-timeout", &format!("{}ms", setup.drain.as_millis())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(time) = setup.idle_timeout {
            program.args(["--idle-timeout", &format!("{}ms", time.as_millis())]);
        }
        let mut child = program.spawn().expect("the program starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // After a failed test, nobody receives it.
                let _ = sender.send(line);
            }
        });
        let unknown = SocketAddr::from(([0; 4], 0));
        let is_under_wine = program.get_program() == "wine";
        let mut process = OwnProcess { child, stdin, lines, address: unknown, is_under_wine };
        match process.event() {
            Event::Listening { address } => process.address = address,
            Event::Stopped { .. } => panic!("the server stopped before it listened"),
        }
        process
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "the server printed that it has stopped, but its process did not end");
            // sleep: until the next look, since a wait for a process has no time-out
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What its process uses. Under Wine too, where the child is the Windows program itself.
    pub(crate) fn usage(&self) -> Option<ProcessUsage> {
        usage_of_tree(self.child.id())
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).expect("the process is our child");
    }

    fn event(&self) -> Event {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("the server prints a line: {error}; its processes: {:?}", usage_of_tree(self.child.id()))
        });
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }
}

impl Host for OwnProcess {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn resident_memory(&self) -> Option<u64> {
        self.usage()?.memory
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.usage()?.cpu
    }

    fn waits(&self) -> Option<u64> {
        waits_of(self.child.id())
    }

    fn begin_stop(&mut self) {
        self.stdin.take();
    }

    #[cfg(unix)]
    fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    #[cfg(unix)]
    fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn end(mut self: Box<Self>) -> Ended {
        self.begin_stop();
        let Event::Stopped { counters, aborted, hung, error, cpu_seconds } = self.event() else {
            panic!("the server printed twice that it listens");
        };
        let ended = Ended { counters, aborted, hung, error, cpu_seconds };
        let status = self.wait();
        if self.is_under_wine && is_fault_of_wine(status) {
            let line = format!("\nknown: the server had ended, and then Wine ended with {status}\n");
            io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
        } else {
            assert!(status.success(), "the server's {status}: {ended:?}");
        }
        ended
    }
}

/// Whether Wine itself crashed. A Windows program that crashes ends with an exit code, whatever it did, as the test 'a
/// crash is an exit code' shows; a signal comes from Wine's own code for Unix. Wine 10 ends the threads that are left
/// at the end of a process by `pthread_exit`, which may run cleanup handlers of stack frames that are gone:
/// <https://bugs.winehq.org/show_bug.cgi?id=52213>.
#[cfg(unix)]
fn is_fault_of_wine(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(rustix::process::Signal::SEGV.as_raw())
}

/// Windows has no Wine.
#[cfg(not(unix))]
fn is_fault_of_wine(_: ExitStatus) -> bool {
    false
}

impl Drop for OwnProcess {
    /// No server is left behind, even by a failed test.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
