//! All processes of a case: those of `[[process]]`, one after another, and the server, which the client connects to.
//!
//! Each starts when the one before it is ready, and they stop in the reverse order. With an interrupt all stop at the
//! same time, because nobody waits for one after another. Each line of output stands under the name of its process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use super::command_server::Surroundings;
use super::escaped;
use super::lifecycle::{Reach, StartFailure, StoppedServer};
use super::listening;
use super::liveness::Probed;
use super::private_folder::{self, PrivateFolder};
use super::server_log::OutputSink;
use super::started_process;
use super::test_server::{TestServer, last_words};
use crate::config::{ProcessSpec, ServerConditions, ServerSpec, ViaProcess};
use crate::interrupt;
use crate::report::text::both_ends;
use crate::transport::{Destination, ProxyUrl};

/// The name of the server in the output.
const SERVER: &str = "server";
/// What placeholders call this program itself, where it is the backend.
const BACKEND: &str = "backend";
/// Lines of each process in the message about one that did not start: the first ones and the last ones.
const SHOWN_LINES: (usize, usize) = (3, 5);

/// The processes of a case while it runs.
pub struct TestBed {
    processes: Vec<NamedProcess>,
    server: TestServer,
    /// Removed when all have ended.
    _folder: Option<PrivateFolder>,
}

/// A process beside the server.
struct NamedProcess {
    name: String,
    process: TestServer,
    /// It has ended with success before the next one started.
    only_prepared: bool,
    /// What it speaks, if connections to the server go through it.
    via: Option<ViaProcess>,
}

/// A process whose descriptors and threads are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedProcess {
    /// Its name.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

/// What a case starts.
#[derive(Clone, Copy, Debug)]
pub struct WantedProcesses<'w> {
    /// The server.
    pub server: &'w ServerSpec,
    /// The processes before it.
    pub processes: &'w [ProcessSpec],
    /// The conditions of the server.
    pub conditions: &'w ServerConditions,
    /// Where this program listens as the backend, if both ends are ours.
    pub backend: Option<SocketAddr>,
}

/// Kills every process that still runs, and removes the folders of cases. For an exit that cannot wait.
pub fn kill_all() {
    started_process::kill_all();
    escaped::kill_all();
    private_folder::remove_all();
}

impl TestBed {
    /// Starts all processes and waits until the last one is ready; `reach` is the way to the server. `log` makes the
    /// file for the output of a process.
    ///
    /// # Errors
    /// One of them cannot be started, ends at once, or does not get ready. Those that run are stopped again.
    pub fn start(
        wanted: WantedProcesses<'_>,
        reach: Reach<'_>,
        log: impl Fn(Option<&str>) -> anyhow::Result<Option<OutputSink>>,
    ) -> Result<TestBed, StartFailure> {
        let log = |name: Option<&str>| log(name).map_err(|error| failure(format!("{error:#}")));
        let folder = needs_folder(wanted).then(PrivateFolder::new).transpose().map_err(failure)?;
        let path = folder.as_ref().map(|folder| folder.path().to_owned());
        let directly = |at| Ok(Destination::from(at));
        let mut processes: Vec<NamedProcess> = Vec::new();
        for process in wanted.processes {
            let surroundings = surroundings((wanted.backend, &processes), path.clone(), process.address);
            let started = log(Some(&process.name)).and_then(|log| {
                TestServer::start_among(&process.server, &ServerConditions::default(), (&surroundings, &directly), log)
            });
            match started {
                Ok(started) => processes.push(NamedProcess::new(process, started)),
                Err(failure) => return Err(not_started(&process.name, failure, processes)),
            }
        }
        let surroundings = surroundings((wanted.backend, &processes), path, None);
        let started = log(None)
            .and_then(|log| TestServer::start_among(wanted.server, wanted.conditions, (&surroundings, reach), log));
        match started {
            Ok(server) => Ok(TestBed { processes, server, _folder: folder }),
            Err(failure) if processes.is_empty() => Err(failure),
            Err(failure) => Err(not_started(SERVER, failure, processes)),
        }
    }

    /// The addresses at which the server can be reached.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }

    /// The processes that connections to the server go through, as hops.
    ///
    /// # Errors
    /// The address of one is no hop.
    pub fn via(&self) -> anyhow::Result<Vec<ProxyUrl>> {
        let hop = |process: &NamedProcess| process.via.map(|via| Ok(via.at(process.process.addresses()[0])?));
        self.processes.iter().filter_map(hop).collect()
    }

    /// Asks the server to end while its loads run, from another thread.
    pub fn stopper(&self) -> Box<dyn FnOnce() + Send + 'static> {
        self.server.stopper()
    }

    /// The id of the server's process, of which all others of it descend.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Whether the server comes with this program.
    pub fn is_bundled(&self) -> bool {
        self.server.is_bundled()
    }

    /// The other processes that may leave something behind.
    pub fn watched(&self) -> Vec<WatchedProcess> {
        let watched = self.processes.iter().filter(|process| !process.only_prepared && !process.process.is_bundled());
        watched.map(|process| WatchedProcess { name: process.name.clone(), pid: process.process.pid() }).collect()
    }

    /// Stops all processes, the server first. The parameters are those of [`TestServer::stop`].
    pub fn stop(self, is_broken: bool, was_asked: bool, probe: impl FnOnce() -> Probed) -> StoppedServer {
        if self.processes.is_empty() {
            return self.server.stop(is_broken, was_asked, probe);
        }
        let TestBed { mut processes, server, _folder } = self;
        let mut ended: Vec<Option<String>> = processes.iter_mut().map(|process| process.ended(is_broken)).collect();
        let (stopped, rest) = match interrupt::is_requested() {
            true => thread::scope(|scope| {
                let stopping: Vec<_> = processes.into_iter().map(|process| scope.spawn(|| process.stop())).collect();
                let server = server.stop(is_broken, was_asked, probe);
                let joined = |thread: thread::ScopedJoinHandle<'_, (String, StoppedServer)>| thread.join().ok();
                (server, stopping.into_iter().map(joined).collect::<Vec<_>>())
            }),
            false => {
                let server = server.stop(is_broken, was_asked, probe);
                let mut rest: Vec<_> = processes.into_iter().rev().map(|process| Some(process.stop())).collect();
                rest.reverse();
                (server, rest)
            }
        };
        let mut broke: Vec<String> = Vec::new();
        let mut output = Vec::new();
        for (ended, stopped) in ended.iter_mut().zip(rest) {
            let Some((name, stopped)) = stopped else { continue };
            let ended = ended.take().map(|how| format!("{how}{}", last_words(&stopped.output)));
            broke.extend(ended.or(stopped.broke).map(|how| format!("the process '{name}' {how}")));
            output.extend(labelled(&name, &stopped.output));
        }
        output.extend(labelled(SERVER, &stopped.output));
        broke.extend(stopped.broke.map(|how| if broke.is_empty() { how } else { format!("the server {how}") }));
        StoppedServer { broke: (!broke.is_empty()).then(|| broke.join("; ")), report: stopped.report, output }
    }
}

impl NamedProcess {
    fn new(spec: &ProcessSpec, process: TestServer) -> NamedProcess {
        NamedProcess { name: spec.name.clone(), process, only_prepared: spec.only_prepares(), via: spec.via }
    }

    /// How it has ended on its own, if it has and should not have.
    fn ended(&mut self, is_broken: bool) -> Option<String> {
        if self.only_prepared { None } else { self.process.ended(is_broken) }
    }

    /// Stops it. It was asked already whether it has ended on its own.
    fn stop(self) -> (String, StoppedServer) {
        (self.name, self.process.stop(false, true, || None))
    }
}

fn failure(reason: String) -> StartFailure {
    StartFailure { reason, output: Vec::new() }
}

/// Whether a process has files, or names the folder of the case.
fn needs_folder(wanted: WantedProcesses<'_>) -> bool {
    let servers = wanted.processes.iter().map(|process| &process.server).chain([wanted.server]);
    let needs = |server: &ServerSpec| matches!(server, ServerSpec::Command(command) if command.needs_folder());
    servers.into_iter().any(needs)
}

fn surroundings(
    (backend, earlier): (Option<SocketAddr>, &[NamedProcess]),
    folder: Option<PathBuf>,
    address: Option<SocketAddr>,
) -> Surroundings {
    let backend = backend.map(|address| (BACKEND.to_owned(), listening::reached_at(address)[0]));
    let earlier = earlier.iter().filter(|process| !process.only_prepared);
    let earlier = earlier.map(|process| (process.name.clone(), process.process.address()));
    Surroundings { others: backend.into_iter().chain(earlier).collect(), folder, address }
}

/// Stops the processes that run already. One of them may have ended, which is why this one did not get ready.
fn not_started(name: &str, failure: StartFailure, mut earlier: Vec<NamedProcess>) -> StartFailure {
    let mut reason = format!("{name}: {}", failure.reason);
    let mut output = labelled(name, &failure.output);
    while let Some(mut process) = earlier.pop() {
        let ended = process.ended(false);
        let (name, stopped) = process.stop();
        if let Some(how) = ended {
            let said = both_ends(&stopped.output, SHOWN_LINES).join("\n      ");
            let said = if said.is_empty() { "it said nothing".to_owned() } else { format!("it said:\n      {said}") };
            reason = format!("{reason}\n    {name}: it {how}; {said}");
        }
        output.splice(0..0, labelled(&name, &stopped.output));
    }
    StartFailure { reason, output }
}

fn labelled(name: &str, output: &[String]) -> Vec<String> {
    output.iter().map(|line| format!("{name}: {line}")).collect()
}
