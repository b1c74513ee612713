//! `serve`: runs one bundled echo server until it is told to stop, and reports what it did.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::config::{CertificateSource, ServeArgs, ServeSettings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::{print, say, stdout_style};
use crate::output::files;
use crate::report::table::Table;
use crate::runner::tls_server;
use crate::server::fault::{FaultLog, FaultyServer};
use crate::server::{Server, Stopped, Waited};
use crate::sync::lock;
use crate::sys::{self, advice};
use crate::target::serve_event::ServeEvent;
use crate::transport::Endpoint;
use crate::units::{Bytes, Count, counted, grouped};

/// The flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeCommand {
    #[command(flatten)]
    server: ServeArgs,

    /// Print JSON, one object per line: one when the server listens, one when it has stopped
    #[arg(long, env = "ECHO_TESTER_SERVE_JSON", hide_env = true)]
    json: bool,

    /// Print only errors and warnings
    #[arg(short, long, env = "ECHO_TESTER_SERVE_QUIET", hide_env = true)]
    quiet: bool,

    /// Stop when standard input ends: a process that starts this one and dies leaves no server behind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// A flag is wrong, the address cannot be bound, or the model does not run here.
pub fn run(command: &ServeCommand) -> anyhow::Result<Exit> {
    let cores = sys::available_cores().unwrap_or(1);
    let memory = sys::usable_memory();
    let serve = command.server.resolve(cores, memory).map_err(|e| e.in_flags())?;
    sys::raise_descriptor_limit();
    // Before it serves: the first client may also be the one that stops it.
    let stop = StopRequests::on_signals();
    let server = start(command, &serve)?;
    // Not of an address that turned out to be none of ours.
    warn(command, &serve, memory);
    stop.apply_to(&server);
    server.on_shortage(|error| {
        say(&format!("warning: a connection could not be served at once ({error}): {}", advice::unserved(error)));
    });
    if command.until_stdin_closes {
        stop.when_stdin_closes()?;
    }
    announce(command, &serve, &server)?;

    let (stopped, cause) = match server.wait(None) {
        Waited::Ended(result) => (server.finish(result), Cause::Failed),
        _ => drain(command, server, serve.drain_timeout),
    };
    report(command, &stopped)?;
    Ok(exit(&stopped, cause, serve.faults.is_some()))
}

/// Why the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The model returned before it was asked to: its listener or its wait failed.
    Failed,
    /// It was asked to stop.
    Asked,
    /// A second request cut the drain short.
    Forced,
}

fn start(command: &ServeCommand, serve: &ServeSettings) -> anyhow::Result<Server> {
    let options = serve.options.clone();
    let tls = serve.tls.as_ref().map(|source| tls_server::of(source, ip_of(&serve.bind))).transpose()?;
    let server = match (&serve.faults, tls) {
        (None, tls) => Server::start_at(serve.model, tls, serve.bind.clone(), options),
        (Some(faults), _) => {
            let log = fault_log(faults.log.as_deref(), command.quiet)?;
            let faulty = FaultyServer { faults: faults.faults.clone(), seed: faults.seed, log };
            Server::start_with(|listener, context| faulty.run(listener, context), FAULTY, serve.bind.clone(), options)
        }
    };
    server.map_err(|e| Failure::could_not_run(why_it_did_not_start(&serve.bind, &e)))
}

fn ip_of(place: &Endpoint) -> Option<IpAddr> {
    match place {
        Endpoint::Tcp(address) => Some(address.ip()),
        Endpoint::Unix(_) | Endpoint::Vsock { .. } => None,
    }
}

fn fault_log(file: Option<&Path>, quiet: bool) -> anyhow::Result<FaultLog> {
    match file {
        Some(file) => Ok(FaultLog::lines(files::create("fault-log", file)?)),
        None if quiet => Ok(FaultLog::lines(io::sink())),
        None => Ok(FaultLog::lines(io::stderr())),
    }
}

fn warn(command: &ServeCommand, serve: &ServeSettings, memory: Option<u64>) {
    let memory_use = || {
        let (conns, buffer) = (serve.options.max_conns, Bytes(serve.options.buffer as u64));
        format!(
            "{} connections (--max-conns) with {buffer} each (--buffer) can use {}",
            grouped(conns as u64),
            in_mib(serve.max_buffered_bytes())
        )
    };
    if ip_of(&serve.bind).is_some_and(|ip| !ip.is_loopback()) {
        say(&format!(
            "warning: other machines can reach {}, and an echo server returns whatever anybody sends: use it on a private \
             network only",
            serve.bind
        ));
        say(&format!("warning: {}", memory_use()));
    }
    if let Some(memory) = memory.filter(|memory| serve.max_buffered_bytes() > *memory) {
        say(&format!("warning: {}, but this machine has {}: lower either value", memory_use(), in_mib(memory)));
    }
    let backlog = command.server.backlog.map(|Count(backlog)| backlog);
    if let (Some(wanted), Some(most)) = (backlog, sys::longest_backlog()) {
        let (shown, limit) = (grouped(wanted), grouped(most));
        if wanted > most {
            say(&format!("note: --backlog {shown}: this system cuts it to {limit} (net.core.somaxconn)"));
        }
    }
    if command.server.workers.is_some() && !has_workers(serve) {
        say(&format!("note: the model {} does not use --workers", name(serve)));
    }
}

/// In whole MiB, at least one.
fn in_mib(bytes: u64) -> String {
    format!("{} MiB", grouped((bytes >> 20).max(1)))
}

/// Stands for the model's name when there are faults.
const FAULTY: &str = "faulty";

fn name(serve: &ServeSettings) -> &'static str {
    if serve.faults.is_some() { FAULTY } else { serve.model.name }
}

fn has_workers(serve: &ServeSettings) -> bool {
    serve.faults.is_none() && serve.model.workers
}

fn why_it_did_not_start(place: &Endpoint, error: &io::Error) -> String {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, AlreadyExists, NotFound, PermissionDenied};
    match (place, error.kind()) {
        (Endpoint::Tcp(bind), AddrInUse) => {
            format!("{bind} is in use: choose another --bind; port 0 takes any free one")
        }
        (Endpoint::Unix(_), AddrInUse) => {
            format!("{place} is in use: another server listens there: stop it, or choose another --bind")
        }
        (Endpoint::Tcp(bind), AddrNotAvailable) => {
            let port = bind.port();
            format!("{bind} is not an address of this machine: choose another --bind, such as 127.0.0.1:{port}")
        }
        (Endpoint::Tcp(bind), PermissionDenied) if bind.port() != 0 => {
            format!("{error}: choose another --bind; {}", advice::HERE.bind_denied)
        }
        (Endpoint::Vsock { .. }, AddrInUse) => {
            format!("{place} is in use: choose another --bind; port 0 takes any free one")
        }
        (Endpoint::Vsock { .. }, PermissionDenied) => {
            format!("{error}: ports up to 1023 are for root: choose another --bind")
        }
        (Endpoint::Unix(_), PermissionDenied) => format!("{error}: choose another --bind, in a folder of yours"),
        (Endpoint::Unix(_), NotFound) => format!("{error}: make the folder, or choose another --bind"),
        (Endpoint::Unix(_), AlreadyExists) => format!("{error}: remove it, or choose another --bind"),
        _ => error.to_string(),
    }
}

/// Requests to stop the server: Ctrl-C, SIGTERM, or the end of standard input. A request that comes before the server
/// has started reaches it as soon as it has.
///
/// A second signal cuts the drain short. The end of standard input after a signal does not: a terminal sends Ctrl-C to
/// the parent process too, and the parent then closes the pipe in its own time.
#[derive(Clone, Default)]
struct StopRequests(Arc<Mutex<Requests>>);

#[derive(Default)]
struct Requests {
    count: u32,
    interrupt: Option<Box<dyn Fn() + Send>>,
}

impl StopRequests {
    fn on_signals() -> StopRequests {
        let stop = StopRequests::default();
        let for_handler = stop.clone();
        interrupt::on_signal(move |_| for_handler.lock().add());
        stop
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        lock(&self.0)
    }

    /// From now on requests go to this server, earlier ones included.
    fn apply_to(&self, server: &Server) {
        let interrupt = server.interrupter();
        let mut requests = self.lock();
        (0..requests.count).for_each(|_| interrupt());
        requests.interrupt = Some(Box::new(interrupt));
    }

    /// The end of standard input is a request only if it is the first: a second one would abort.
    fn when_stdin_closes(&self) -> anyhow::Result<()> {
        let stop = self.clone();
        let wait_for_end = move || {
            let mut stdin = io::stdin().lock();
            while matches!(stdin.read(&mut [0; 256]), Ok(1..)) {}
            let mut requests = stop.lock();
            if requests.count == 0 {
                requests.add();
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(wait_for_end).context("watching standard input")?;
        Ok(())
    }
}

impl Requests {
    fn add(&mut self) {
        self.count += 1;
        if let Some(interrupt) = &self.interrupt {
            interrupt();
        }
    }
}

fn announce(command: &ServeCommand, serve: &ServeSettings, server: &Server) -> anyhow::Result<()> {
    let address = server.endpoint();
    let model = name(serve);
    let workers = has_workers(serve).then_some(serve.options.workers);
    if command.json {
        return print_event(&ServeEvent::Listening {
            address: address.to_string(),
            model: model.to_owned(),
            workers,
            pid: std::process::id(),
            tls: serve.tls.is_some(),
        });
    }
    if command.quiet {
        return Ok(());
    }
    let workers = match workers {
        None => String::new(),
        Some(1) => ", 1 worker".to_owned(),
        Some(workers) => format!(", {workers} workers"),
    };
    let tls = if serve.tls.is_some() { " over TLS" } else { "" };
    let with = if serve.faults.is_some() { "faults" } else { model };
    print(&format!("listening on {address}{tls} with {with}{workers}; Ctrl-C stops it"))?;
    match &serve.tls {
        Some(CertificateSource::SelfMade) => {
            print(&format!("its certificate is its own: echo-tester blast {address} --tls --insecure"))
        }
        _ => Ok(()),
    }
}

/// Drains the server. A second request to stop, or the end of the drain time, aborts it.
fn drain(command: &ServeCommand, server: Server, timeout: Duration) -> (Stopped, Cause) {
    server.drain();
    let active = server.counters().active();
    if !command.quiet && active > 0 {
        let connections = counted(active, "connection");
        say(&format!(
            "draining {connections} for up to {}; Ctrl-C again to abort",
            humantime::format_duration(timeout)
        ));
    }
    match server.wait(Some(timeout)) {
        Waited::Ended(result) => (server.finish(result), Cause::Asked),
        Waited::Interrupted => (server.stop(Duration::ZERO), Cause::Forced),
        Waited::TimedOut => (server.stop(Duration::ZERO), Cause::Asked),
    }
}

fn report(command: &ServeCommand, stopped: &Stopped) -> anyhow::Result<()> {
    let counters = stopped.counters.clone();
    let cpu_seconds = sys::cpu_time_with_children().map(|time| time.as_secs_f64());
    let Stopped { aborted, hung, .. } = *stopped;
    let error = stopped.error.clone();
    if command.json {
        return print_event(&ServeEvent::Stopped { counters, aborted, hung, error, cpu_seconds });
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
    let mut rows: Vec<Vec<String>> = shown.map(|(name, count)| vec![name.to_owned(), grouped(count)]).collect();
    if let Some(seconds) = cpu_seconds {
        rows.push(vec!["CPU time".to_owned(), format!("{seconds:.2} s")]);
    }
    print(&Table::new(&["stopped", ""], rows).render(stdout_style()))
}

fn exit(stopped: &Stopped, cause: Cause, is_faulty: bool) -> Exit {
    if cause == Cause::Failed {
        say(&format!(
            "error: the server ended before it was asked to: {}",
            stopped.error.as_deref().unwrap_or("it gave no reason")
        ));
        return Exit::Inconclusive;
    }
    if let Some(error) = &stopped.error {
        say(&format!("error: the server did not end cleanly: {error}"));
        return Exit::VerificationFailed;
    }
    if stopped.hung {
        say("error: the server did not end, even when it was told to abort: this is a bug in the model");
        return Exit::VerificationFailed;
    }
    // The counters of a faulty server need not add up: faults can send bytes that were never received.
    if !is_faulty && !stopped.counters.add_up() {
        say(&format!("error: the counters do not add up; this is a bug in the model: {:?}", stopped.counters));
        return Exit::VerificationFailed;
    }
    if cause == Cause::Forced { Exit::Interrupted } else { Exit::Pass }
}

fn print_event(event: &ServeEvent) -> anyhow::Result<()> {
    print(&serde_json::to_string(event)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::models::{AUTO, find};
    use crate::server::{CountersSnapshot, Options};

    #[test]
    fn a_request_before_the_server_starts_reaches_it() {
        let stop = StopRequests::default();
        stop.lock().add();
        let model = find(AUTO).expect("every system has a default model");
        let server = Server::start(model, ([127, 0, 0, 1], 0).into(), Options::default()).expect("the server starts");
        stop.apply_to(&server);
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::Interrupted));
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::TimedOut), "the early request counts once");
        stop.lock().add();
        assert!(matches!(server.wait(Some(Duration::ZERO)), Waited::Interrupted));
        assert!(!server.stop(Duration::ZERO).hung);
    }

    #[test]
    fn only_a_clean_end_is_a_success() {
        let clean = Stopped { counters: CountersSnapshot::default(), aborted: 0, hung: false, error: None };
        let broken = Stopped { error: Some("a worker panicked".to_owned()), ..clean.clone() };
        let lossy = Stopped { counters: CountersSnapshot { accepted: 1, ..clean.counters.clone() }, ..clean.clone() };
        let hung = Stopped { hung: true, ..clean.clone() };
        for (stopped, cause, is_faulty, expected) in [
            (&clean, Cause::Asked, false, Exit::Pass),
            (&clean, Cause::Forced, false, Exit::Interrupted),
            (&clean, Cause::Failed, false, Exit::Inconclusive),
            (&broken, Cause::Asked, false, Exit::VerificationFailed),
            (&broken, Cause::Forced, false, Exit::VerificationFailed),
            (&broken, Cause::Asked, true, Exit::VerificationFailed),
            (&broken, Cause::Failed, false, Exit::Inconclusive),
            (&hung, Cause::Asked, false, Exit::VerificationFailed),
            (&lossy, Cause::Asked, false, Exit::VerificationFailed),
            (&lossy, Cause::Asked, true, Exit::Pass),
        ] {
            assert_eq!(exit(stopped, cause, is_faulty), expected, "{stopped:?} {cause:?}");
        }
    }
}
