//! The command line, the parts, and what is printed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser;

use super::machine::{self, Cores};
use super::measure::{Memory, backlog, memory, rounds, run};
use super::report::{self, REFERENCE, Report, Row};
use super::workload::{self, Client, Contestant, Entry, PEERS, Server, Share, Workload};

/// Connections for which the memory of the client is counted: both ends of them fit the common descriptor limit.
const CLIENT_MEMORY: usize = 19_000;
/// Connections for which the memory of each server is counted.
const SERVER_MEMORY: usize = 5_000;
/// Connections for which it is counted while none of their clients reads.
const BACKLOG_MEMORY: usize = 200;

/// Compares engine and servers with bare ones over the loopback.
#[derive(Parser, Debug)]
struct Options {
    /// Fewer rounds, shorter ones, and not every load: under a minute
    #[arg(long)]
    quick: bool,
    /// Rounds in which each contestant runs once [default: 5, or 2 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are counted of each run [default: 1, or 0.5 with --quick]
    #[arg(long)]
    window: Option<f64>,
    /// Only the parts and loads whose 'part: load' holds one of these texts: 'engine', 'servers: 64 B', 'memory'
    #[arg(long)]
    filter: Vec<String>,
    /// Write everything as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo tells every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, part: &str, load: &str) -> bool {
        let name = format!("{part}: {load}");
        self.filter.is_empty() || self.filter.iter().any(|text| name.contains(text.as_str()))
    }
}

pub(crate) fn main() -> io::Result<()> {
    let options = Options::parse();
    echo_tester::sys::raise_descriptor_limit();
    let mut bench = Bench::new(options)?;
    bench.engine()?;
    bench.servers()?;
    bench.workers()?;
    bench.memory()?;
    bench.finish()
}

struct Bench {
    options: Options,
    cores: Cores,
    rounds: usize,
    window: Duration,
    notes: Vec<String>,
    rows: Vec<Row>,
    memory: Vec<Memory>,
    started_at: SystemTime,
}

impl Bench {
    fn new(options: Options) -> io::Result<Bench> {
        let cores = Cores::choose()?;
        let mut notes = vec![if cores.are_two() {
            format!("server on core {}, client on core {}, one thread each", cores.server, cores.client)
        } else {
            "only one core: server and client share it, and the ratios say less".to_owned()
        }];
        if cores.are_two() && cores.are_siblings() == Some(true) {
            notes.push("the two cores are hardware threads of one, and share its time".to_owned());
        }
        if machine::congestion_control() == "bbr" {
            let how = "steadier after 'sysctl -w net.ipv4.tcp_congestion_control=cubic'";
            notes.push(format!("bbr is in force, which sends by timers: the rates of bulk jump, and are {how}"));
        }
        for (peer, why_not) in PEERS {
            let found = if is_on_path(peer) { "on PATH" } else { "not on PATH" };
            notes.push(format!("{peer} ({found}) does not take part: it {why_not}"));
        }
        let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 }).max(1);
        let window = Duration::try_from_secs_f64(options.window.unwrap_or(if options.quick { 0.5 } else { 1.0 }));
        let window = window.map_err(io::Error::other)?;
        let started_at = SystemTime::now();
        Ok(Bench { options, cores, rounds, window, notes, rows: Vec::new(), memory: Vec::new(), started_at })
    }

    fn compare(&mut self, part: &'static str, entries: &[Entry]) -> io::Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let mut names: Vec<&str> = entries.iter().map(|entry| entry.load.name.as_str()).collect();
        names.dedup();
        writeln!(io::stderr(), "{part}: {} …", names.join(" and "))?;
        match rounds(entries, self.rounds, self.window, &self.cores) {
            Ok(samples) => self.rows.extend(report::rows(part, entries, samples)),
            // The other loads may do better, and what was measured is kept.
            Err(error) => self.notes.push(format!("{part}: {} FAILED: {error}", first.load.name)),
        }
        Ok(())
    }

    /// Those of the loads that are asked for.
    fn wanted(&self, part: &str, loads: Vec<Workload>) -> Vec<Workload> {
        loads.into_iter().filter(|load| self.options.wants(part, &load.name)).collect()
    }

    fn engine(&mut self) -> io::Result<()> {
        let blasts = [true, false].map(|verify| Client::Blast { verify });
        let contestants = [Client::Bare, blasts[0], blasts[1]].map(|client| Contestant { client, ..REFERENCE });
        for loads in workload::of_the_engine() {
            self.compare("engine", &Entry::all(&self.wanted("engine", loads), &contestants))?;
        }
        Ok(())
    }

    fn servers(&mut self) -> io::Result<()> {
        let models = Server::models().into_iter().map(|server| Contestant { server, ..REFERENCE });
        let contestants: Vec<Contestant> = std::iter::once(REFERENCE).chain(models).collect();
        for load in self.wanted("servers", workload::of_the_servers()) {
            if !self.options.quick || load.name == workload::FEW {
                self.compare("servers", &Entry::all(&[load], &contestants))?;
            }
        }
        Ok(())
    }

    /// Twice of everything, cores and threads of both sides: a server whose workers get in each other's way does not
    /// come to twice the rate.
    fn workers(&mut self) -> io::Result<()> {
        if self.options.quick || !self.cores.are_two() {
            return Ok(());
        }
        let models: Vec<Server> = Server::models();
        let models = models.into_iter().filter(|server| workload::WITH_WORKERS.contains(&server.name()));
        let contestants: Vec<Contestant> = models
            .flat_map(|server| {
                let client = Client::Blast { verify: true };
                [Share::OneCore, Share::TwoCores].map(|share| Contestant { client, server, share })
            })
            .collect();
        for load in self.wanted("workers", workload::of_the_workers()) {
            let mut entries = Entry::all(&[load], &contestants);
            entries.iter_mut().enumerate().for_each(|(n, entry)| entry.reference = n / 2 * 2);
            self.compare("workers", &entries)?;
        }
        Ok(())
    }

    fn memory(&mut self) -> io::Result<()> {
        if !self.options.wants("memory", "") {
            return Ok(());
        }
        writeln!(io::stderr(), "memory …")?;
        let [client, _] = memory(Server::Pump, CLIENT_MEMORY, &self.cores)?;
        self.memory.push(client);
        if self.options.quick {
            return Ok(());
        }
        for server in Server::models() {
            match memory(server, SERVER_MEMORY, &self.cores) {
                Ok([_, of_server]) => self.memory.push(of_server),
                Err(error) => self.notes.push(format!("memory: {} FAILED: {error}", server.name())),
            }
            match backlog(server, BACKLOG_MEMORY, &self.cores) {
                Ok(of_server) => self.memory.push(of_server),
                Err(error) => self.notes.push(format!("memory: {} FAILED: {error}", server.name())),
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        let aims = report::aims(&self.rows, &self.memory);
        let command: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
        let report = Report {
            form: "echo-tester/loopback/1",
            machine: machine::describe(),
            command: format!("cargo bench --bench loopback -- {}", command.join(" "))
                .trim_end_matches([' ', '-'])
                .to_owned(),
            started_at: humantime::format_rfc3339_seconds(self.started_at).to_string(),
            rounds: self.rounds,
            window_s: self.window.as_secs_f64(),
            notes: &self.notes,
            rows: &self.rows,
            memory: &self.memory,
            aims: &aims,
        };
        if let Some(file) = &self.options.json {
            std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}\n{}, {}", report.machine, report.command, report.started_at)?;
        writeln!(out, "medians of {} rounds of {} s; spread [least..greatest]", report.rounds, report.window_s)?;
        report.notes.iter().try_for_each(|note| writeln!(out, "{note}"))?;
        for (part, name) in [("engine", "client"), ("servers", "server"), ("workers", "server")] {
            let (of_part, _): (Vec<&Row>, Vec<&Row>) = self.rows.iter().partition(|row| row.part == part);
            if !of_part.is_empty() {
                writeln!(out, "\n{part}\n\n{}", report::table(&of_part, name))?;
            }
        }
        if !self.memory.is_empty() {
            writeln!(
                out,
                "\nmemory, resident, less that before the first connection\n\n{}",
                report::memory_table(&self.memory)
            )?;
        }
        if !aims.is_empty() {
            writeln!(out, "\naims\n\n{}", report::aims_table(&aims))?;
        }
        Ok(())
    }
}

/// A fifth of a second of each kind of contestant. Whatever the figures, they must be there.
pub(crate) fn smoke() -> io::Result<()> {
    machine::self_test()?;
    let cores = Cores::choose()?;
    let load = Workload { fragment: 100, ..Workload::new("smoke", 3, 300, 2) };
    let blast = Contestant { client: Client::Blast { verify: true }, ..REFERENCE };
    let tokio = Contestant { server: Server::Model("tokio"), share: Share::TwoCores, ..REFERENCE };
    for contestant in [REFERENCE, blast, tokio] {
        let sample = run(contestant, &load, Duration::from_millis(200), &cores)?;
        if sample.bytes_by_client == 0 || sample.messages_per_s == 0.0 {
            return Err(io::Error::other(format!("{contestant:?} moved nothing: {sample:?}")));
        }
    }
    memory(Server::Pump, 10, &cores)?;
    let full = backlog(Server::Model("tokio"), 10, &cores)?;
    if full.bytes_a_connection == 0.0 {
        return Err(io::Error::other(format!("clients that never read cost the server nothing: {full:?}")));
    }
    Ok(())
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}
