//! `serve`: runs one bundled echo server until it is told to stop, and says what it did.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::config::{Serve, ServeArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::{print, say};
use crate::output::files;
use crate::report::terminal;
use crate::server::fault::{FaultLog, FaultyServer};
use crate::server::{CountersSnapshot, Server, Stopped, Waited};
use crate::sys;
use crate::units::Bytes;

/// The flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeCommand {
    #[command(flatten)]
    server: ServeArgs,

    /// Print JSON, one object a line: one when it listens, one when it has stopped
    #[arg(long, env = "ECHO_TESTER_SERVE_JSON", hide_env = true)]
    json: bool,

    /// Print nothing but errors and warnings
    #[arg(short, long, env = "ECHO_TESTER_SERVE_QUIET", hide_env = true)]
    quiet: bool,

    /// Stop when standard input ends: a process that starts this one and dies leaves no server behind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// What `--json` prints, one object a line.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'s> {
    Listening {
        address: SocketAddr,
        model: &'s str,
        workers: Option<usize>,
        pid: u32,
    },
    Stopped {
        counters: &'s CountersSnapshot,
        aborted: u64,
        hung: bool,
        error: Option<&'s str>,
        cpu_seconds: Option<f64>,
    },
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// The flags make no sense, the address can't be had, or the model can't run here.
pub fn run(command: &ServeCommand) -> anyhow::Result<Exit> {
    let cores = sys::available_cores().unwrap_or(1);
    let memory = sys::usable_memory();
    let serve = command.server.resolve(cores, memory).map_err(|e| e.in_flags())?;
    warn(command, &serve, memory);
    sys::raise_descriptor_limit();
    let drain = serve.drain_timeout;
    // Before it serves: who connects first may also be who stops it.
    let stop = Stop::on_signals()?;
    let server = start(command, &serve)?;
    stop.is_for(&server);
    if command.until_stdin_closes {
        stop.when_stdin_closes()?;
    }
    announce(command, &serve, &server)?;

    let (stopped, how) = match server.wait(None) {
        Waited::Ended(result) => (server.finish(result), How::ByItself),
        _ => end(command, server, drain),
    };
    report(command, &stopped)?;
    Ok(verdict(&stopped, how, serve.faults.is_some()))
}

/// How it came to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Before anybody asked for it: the listener is broken, or a wait.
    ByItself,
    /// As it was told.
    Asked,
    /// By a second interruption.
    Forced,
}

fn start(command: &ServeCommand, serve: &Serve) -> anyhow::Result<Server> {
    let options = serve.options.clone();
    let server = match &serve.faults {
        None => Server::start(serve.model, serve.bind, options),
        Some(faults) => {
            let log = fault_log(faults.log.as_deref(), command.quiet)?;
            let faulty = FaultyServer { faults: faults.faults.clone(), seed: faults.seed, log };
            Server::start_with(|listener, context| faulty.run(listener, context), FAULTY, serve.bind, options)
        }
    };
    server.map_err(|e| Failure::could_not_run(why_it_did_not_start(serve.bind, &e)))
}

fn fault_log(file: Option<&Path>, quiet: bool) -> anyhow::Result<FaultLog> {
    match file {
        Some(file) => {
            files::check("fault-log", file)?;
            let log = File::create(file).map_err(|e| Failure::usage(format!("--fault-log {}: {e}", file.display())))?;
            Ok(FaultLog::lines(log))
        }
        None if quiet => Ok(FaultLog::lines(io::sink())),
        None => Ok(FaultLog::lines(io::stderr())),
    }
}

fn warn(command: &ServeCommand, serve: &Serve, memory: Option<u64>) {
    let held = || {
        let (conns, buffer) = (serve.options.max_conns, Bytes(serve.options.buffer as u64));
        format!("{conns} connections (--max-conns) with {buffer} each (--buffer) hold {}", in_mib(serve.most_held()))
    };
    if !serve.bind.ip().is_loopback() {
        say(&format!(
            "warning: {} can be reached from other machines, and an echo server sends back to anybody as much as it is \
             sent: for use on a network of your own; {} at most",
            serve.bind,
            held()
        ));
    }
    if let Some(memory) = memory.filter(|memory| serve.most_held() > *memory) {
        say(&format!("warning: {}, and here are {}: give less of either", held(), in_mib(memory)));
    }
    if command.server.workers.is_some() && !has_workers(serve) {
        say(&format!("note: the model {} has no use for --workers", name(serve)));
    }
}

/// In whole MiB, at least one.
fn in_mib(bytes: u64) -> String {
    format!("{} MiB", (bytes >> 20).max(1))
}

/// What stands in for the model's name when there are faults.
const FAULTY: &str = "faulty";

fn name(serve: &Serve) -> &'static str {
    if serve.faults.is_some() { FAULTY } else { serve.model.name }
}

fn has_workers(serve: &Serve) -> bool {
    serve.faults.is_none() && serve.model.workers
}

fn why_it_did_not_start(bind: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{bind} is in use: choose another --bind; port 0 takes any free one")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{bind} is no address of this machine: choose another --bind, such as 127.0.0.1:{}", bind.port())
        }
        io::ErrorKind::PermissionDenied if bind.port() != 0 => {
            format!("{error}: choose another --bind; ports below 1024 need more rights")
        }
        _ => error.to_string(),
    }
}

/// The first Ctrl-C, SIGTERM or end of standard input interrupts the wait, and so does a second signal. The end of
/// standard input after a signal does not: a terminal sends Ctrl-C to the parent too, which then ends in its own time.
/// What asks the server to stop: a signal, or the end of standard input. Asked before there is a server, it asks that
/// one as soon as there is.
#[derive(Clone, Default)]
struct Stop(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    times: u32,
    interrupt: Option<Box<dyn Fn() + Send>>,
}

impl Stop {
    fn on_signals() -> anyhow::Result<Stop> {
        let stop = Stop::default();
        let of_signals = stop.clone();
        ctrlc::set_handler(move || of_signals.lock().ask()).context("listening for Ctrl-C")?;
        Ok(stop)
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_for(&self, server: &Server) {
        let interrupt = server.interrupter();
        let mut asked = self.lock();
        (0..asked.times).for_each(|_| interrupt());
        asked.interrupt = Some(Box::new(interrupt));
    }

    /// The end of standard input does not count as a second time, which would abort.
    fn when_stdin_closes(&self) -> anyhow::Result<()> {
        let stop = self.clone();
        let wait_for_end = move || {
            let mut stdin = io::stdin().lock();
            while matches!(stdin.read(&mut [0; 256]), Ok(1..)) {}
            let mut asked = stop.lock();
            if asked.times == 0 {
                asked.ask();
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(wait_for_end).context("watching standard input")?;
        Ok(())
    }
}

impl Asked {
    fn ask(&mut self) {
        self.times += 1;
        if let Some(interrupt) = &self.interrupt {
            interrupt();
        }
    }
}

fn announce(command: &ServeCommand, serve: &Serve, server: &Server) -> anyhow::Result<()> {
    let address = server.address();
    let model = name(serve);
    let workers = has_workers(serve).then_some(serve.options.workers);
    if command.json {
        return print_event(&Event::Listening { address, model, workers, pid: std::process::id() });
    }
    if command.quiet {
        return Ok(());
    }
    let workers = match workers {
        None => String::new(),
        Some(1) => ", 1 worker".to_owned(),
        Some(workers) => format!(", {workers} workers"),
    };
    print(&format!("listening on {address} with {model}{workers}; Ctrl-C stops it"))
}

/// Drains; a second interruption, or the drain time, aborts.
fn end(command: &ServeCommand, server: Server, drain: Duration) -> (Stopped, How) {
    server.drain();
    let active = server.counters().active();
    if !command.quiet && active > 0 {
        let connections = if active == 1 { "1 connection".to_owned() } else { format!("{active} connections") };
        say(&format!("draining {connections} for up to {}; Ctrl-C again to abort", humantime::format_duration(drain)));
    }
    match server.wait(Some(drain)) {
        Waited::Ended(result) => (server.finish(result), How::Asked),
        Waited::Interrupted => (server.stop(Duration::ZERO), How::Forced),
        Waited::TimedOut => (server.stop(Duration::ZERO), How::Asked),
    }
}

fn report(command: &ServeCommand, stopped: &Stopped) -> anyhow::Result<()> {
    let counters = &stopped.counters;
    let cpu_seconds = sys::process_cpu_time().map(|time| time.as_secs_f64());
    let Stopped { aborted, hung, .. } = *stopped;
    let error = stopped.error.as_deref();
    if command.json {
        return print_event(&Event::Stopped { counters, aborted, hung, error, cpu_seconds });
    }
    if command.quiet {
        return Ok(());
    }
    let always = [
        ("accepted", counters.accepted),
        ("closed", counters.closed),
        ("bytes in", counters.bytes_in),
        ("bytes out", counters.bytes_out),
    ];
    let if_any = [
        ("bytes discarded", counters.bytes_discarded),
        ("connections reset by --drain-timeout or Ctrl-C", aborted),
        ("connections refused", counters.refused),
        ("connections closed by --idle-timeout", counters.idle_closed),
        ("connections that broke", counters.connection_errors),
        ("failed accepts", counters.accept_errors),
    ];
    let shown = always.into_iter().chain(if_any.into_iter().filter(|(_, count)| *count > 0));
    let mut rows: Vec<Vec<String>> = shown.map(|(name, count)| vec![name.to_owned(), count.to_string()]).collect();
    if let Some(seconds) = cpu_seconds {
        rows.push(vec!["CPU time".to_owned(), format!("{seconds:.2} s")]);
    }
    print(&terminal::table(&["stopped", ""], rows).trim_fmt())
}

fn verdict(stopped: &Stopped, how: How, is_faulty: bool) -> Exit {
    if how == How::ByItself {
        say(&format!(
            "error: the server ended by itself: {}",
            stopped.error.as_deref().unwrap_or("it does not say why")
        ));
        return Exit::Inconclusive;
    }
    if let Some(error) = &stopped.error {
        say(&format!("error: the server did not end well: {error}"));
        return Exit::VerificationFailed;
    }
    if stopped.hung {
        say("error: the server did not end, even when told to abort; this is a bug of the model");
        return Exit::VerificationFailed;
    }
    // What faults put in was sent and never received.
    if !is_faulty && !stopped.counters.add_up() {
        say(&format!("error: the counters do not add up, which is a bug of the model: {:?}", stopped.counters));
        return Exit::VerificationFailed;
    }
    if how == How::Forced { Exit::Interrupted } else { Exit::Pass }
}

fn print_event(event: &Event<'_>) -> anyhow::Result<()> {
    print(&serde_json::to_string(event)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;
    use crate::server::models::{AUTO, find};

    #[test]
    fn who_asks_before_there_is_a_server_has_asked_that_one() {
        let stop = Stop::default();
        stop.lock().ask();
        let model = find(AUTO).expect("there is always one");
        let server = Server::start(model, ([127, 0, 0, 1], 0).into(), Options::default()).expect("it starts");
        stop.is_for(&server);
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::Interrupted));
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::TimedOut), "it was asked once");
        stop.lock().ask();
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::Interrupted));
        assert!(!server.stop(Duration::ZERO).hung);
    }

    #[test]
    fn a_server_that_did_not_end_well_is_no_success() {
        let well = Stopped { counters: CountersSnapshot::default(), aborted: 0, hung: false, error: None };
        let broken = Stopped { error: Some("a worker panicked".to_owned()), ..well.clone() };
        let lossy = Stopped { counters: CountersSnapshot { accepted: 1, ..well.counters.clone() }, ..well.clone() };
        let hung = Stopped { hung: true, ..well.clone() };
        for (stopped, how, is_faulty, exit) in [
            (&well, How::Asked, false, Exit::Pass),
            (&well, How::Forced, false, Exit::Interrupted),
            (&well, How::ByItself, false, Exit::Inconclusive),
            (&broken, How::Asked, false, Exit::VerificationFailed),
            (&broken, How::Forced, false, Exit::VerificationFailed),
            (&broken, How::Asked, true, Exit::VerificationFailed),
            (&broken, How::ByItself, false, Exit::Inconclusive),
            (&hung, How::Asked, false, Exit::VerificationFailed),
            (&lossy, How::Asked, false, Exit::VerificationFailed),
            (&lossy, How::Asked, true, Exit::Pass),
        ] {
            assert_eq!(verdict(stopped, how, is_faulty), exit, "{stopped:?} {how:?}");
        }
    }
}
