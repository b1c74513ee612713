//! The processes of a comparison: started on their core, ended in order, and what they said of themselves.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use echo_tester::report::run::RunReport;
use echo_tester::server::models;
use rustix::process::{Pid, Signal, kill_process};

use super::machine::Cores;
use super::workload::{Client, Server, Share, Workload};
use super::{BARE_CLIENT, BARE_PUMP, bare};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");
/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);

/// A process, killed and waited for when it is forgotten.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    fn start(command: &mut Command) -> io::Result<Process> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        Ok(Process { child, stdin })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends its standard input, takes what it still says, and waits for it.
    fn end(mut self) -> io::Result<(String, ExitStatus)> {
        drop(self.stdin.take());
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let until = Instant::now() + END;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((said, status));
            }
            if Instant::now() > until {
                return Err(io::Error::other("a process does not end"));
            }
            // sleep: a process that ends tells nobody but who asks.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn own(role: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role);
    Ok(command)
}

/// A server that listens, and where.
pub(crate) fn serve(server: Server, share: Share, cores: &Cores) -> io::Result<(Process, SocketAddr)> {
    let mut command = match server {
        Server::Pump => own(BARE_PUMP)?,
        Server::Model(model) => {
            let mut command = Command::new(PROGRAM);
            let flags = ["--bind", "127.0.0.1:0", "--json", "--quiet", "--until-stdin-closes"];
            command.args(["serve", "--model", model, "--drain-timeout", "1s"]).args(flags);
            if models::find(model).is_ok_and(|row| row.workers) {
                command.args(["--workers", &share.workers().to_string()]);
            }
            command
        }
    };
    let mut process = cores.on(&cores.of_server(share), || Process::start(&mut command))?;
    let mut line = String::new();
    // One byte at a time costs nothing here, and takes no more than the line: the rest is for the end.
    let stdout = process.child.stdout.as_mut().ok_or_else(|| io::Error::other("no pipe"))?;
    BufReader::with_capacity(1, stdout).read_line(&mut line)?;
    let address = match server {
        Server::Pump => line.trim().parse().ok(),
        Server::Model(_) => serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|event| event["address"].as_str().and_then(|address| address.parse().ok())),
    };
    let address = address.ok_or_else(|| io::Error::other(format!("{} did not start: {line}", server.name())))?;
    Ok((process, address))
}

/// Ends a server. An end that is not a success is an error: its echo may not have been one either.
pub(crate) fn stop(server: Process) -> io::Result<()> {
    match server.end()? {
        (_, status) if status.success() => Ok(()),
        (said, status) => Err(io::Error::other(format!("the server ended with {status}: {said}"))),
    }
}

/// A client that loads `target` until it is told to end.
pub(crate) fn load(
    client: Client,
    workload: &Workload,
    target: SocketAddr,
    share: Share,
    cores: &Cores,
) -> io::Result<Process> {
    let mut command = match client {
        Client::Bare => {
            let mut command = own(BARE_CLIENT)?;
            command.arg(target.to_string()).arg(serde_json::to_string(workload)?);
            command
        }
        Client::Blast { verify } => {
            let mut command = Command::new(PROGRAM);
            command.args(["blast", &target.to_string(), "--seed", "1", "--duration", "1h", "--json", "--quiet"]);
            command.args(["--workers", &share.workers().to_string()]);
            command.args(["--verify", if verify { "full" } else { "off" }]).args(workload.flags());
            command
        }
    };
    cores.on(&cores.of_client(share), || Process::start(&mut command))
}

/// What a client says it did.
pub(crate) struct Said {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// The report of `blast`.
    pub(crate) report: Option<RunReport>,
}

/// Ends a client. Under `--verify full` a byte that was wrong, or none that was right, is an error.
pub(crate) fn stop_client(client: Client, process: Process) -> io::Result<Said> {
    match client {
        Client::Bare => {
            let (said, _) = process.end()?;
            let bare::Report { bytes_sent, bytes_received } = serde_json::from_str(&said)?;
            Ok(Said { bytes_sent, bytes_received, report: None })
        }
        Client::Blast { verify } => {
            let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.ok_or_else(|| io::Error::other("no such process"))?, Signal::INT)?;
            let (said, _) = process.end()?;
            let report: RunReport = serde_json::from_str(&said)?;
            let total = &report.total;
            if total.findings_total() > 0 || total.failed > 0 || (verify && total.bytes_verified == 0) {
                return Err(io::Error::other(format!("blast found something wrong: {:?}", report.verdict)));
            }
            Ok(Said { bytes_sent: total.bytes_sent, bytes_received: total.bytes_received, report: Some(report) })
        }
    }
}
