//! One run of one contestant, and rounds of many.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::machine::{Cores, Moment, descriptors, payload, resident};
use super::process::{self, Process};
use super::workload::{Client, Contestant, Entry, Server, Share, Workload};

/// How long the connections may take to open.
const OPEN: Duration = Duration::from_secs(30);
/// Between the last connection and the first look, so that all of them have begun; more for many.
const SETTLE: Duration = Duration::from_millis(150);
const SETTLE_MANY: Duration = Duration::from_millis(600);
/// Bytes that the kernel may count beyond those of the contestants: options of TCP that are longer than time stamps.
const STRAY: u64 = 256 << 10;
const TRIES: u32 = 5;

/// What one run came to. Rates are those of the window, in which nothing opens and nothing closes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Messages that went and came back, a second, by the kernel's count of bytes.
    pub(crate) messages_per_s: f64,
    /// Bytes of payload echoed, a second, by the kernel's count: one direction.
    pub(crate) echoed_per_s: f64,
    /// Seconds that were counted.
    pub(crate) window_s: f64,
    /// CPU time in them.
    pub(crate) client_cpu_s: f64,
    pub(crate) server_cpu_s: f64,
    /// Shares of them in which the core had nothing to do, and that the machine below this one kept for others.
    pub(crate) client_core_idle: f64,
    pub(crate) server_core_idle: f64,
    pub(crate) steal: f64,
    /// Over the whole run, both directions: what the kernel counted, and what the client said.
    pub(crate) bytes_by_kernel: u64,
    pub(crate) bytes_by_client: u64,
}

impl Sample {
    /// Client CPU time of one message, in microseconds.
    pub(crate) fn client_us(&self) -> f64 {
        self.client_cpu_s / self.window_s / self.messages_per_s * 1e6
    }

    pub(crate) fn server_us(&self) -> f64 {
        self.server_cpu_s / self.window_s / self.messages_per_s * 1e6
    }
}

/// Waits until both sides have opened this number of connections.
pub(crate) fn wait_until_open(client: &mut Process, server: &Process, conns: usize) -> io::Result<()> {
    let until = Instant::now() + OPEN;
    while descriptors(client.id())? < conns || descriptors(server.id())? < conns {
        if client.has_ended()? || Instant::now() > until {
            return Err(io::Error::other(format!("the {conns} connections do not open")));
        }
        // sleep: nobody is told when another process opens a descriptor.
        thread::sleep(Duration::from_millis(10));
    }
    // sleep: the time is part of what is measured.
    thread::sleep(if conns > 1000 { SETTLE_MANY } else { SETTLE });
    Ok(())
}

/// Runs again, a few times, when the kernel counted far more than the client moved: then others used the loopback.
fn run_undisturbed(contestant: Contestant, workload: &Workload, window: Duration, cores: &Cores) -> io::Result<Sample> {
    let in_flight = 2 * (workload.conns * workload.size * workload.pipeline) as u64;
    let mut tries = 1;
    loop {
        let sample = run(contestant, workload, window, cores)?;
        let stray = sample.bytes_by_kernel.saturating_sub(sample.bytes_by_client);
        if stray <= in_flight + STRAY + sample.bytes_by_client / 20 {
            return Ok(sample);
        }
        if tries == TRIES {
            return Err(io::Error::other("others use the loopback at the same time"));
        }
        tries += 1;
    }
}

/// One run: a server and a client of its own.
pub(crate) fn run(contestant: Contestant, workload: &Workload, window: Duration, cores: &Cores) -> io::Result<Sample> {
    let (server, target) = process::serve(contestant.server, contestant.share, cores)?;
    let before = payload()?;
    let mut client = process::load(contestant.client, workload, target, contestant.share, cores)?;
    wait_until_open(&mut client, &server, workload.conns)?;
    let first = Moment::now(client.id(), server.id(), cores)?;
    // sleep: the window.
    thread::sleep(window);
    let seen = first.until(&Moment::now(client.id(), server.id(), cores)?);
    let said = process::stop_client(contestant.client, client)?;
    let bytes_by_kernel = payload()? - before;
    process::stop(server)?;
    let echoed_per_s = seen.payload as f64 / 2.0 / seen.seconds;
    Ok(Sample {
        messages_per_s: echoed_per_s / workload.size as f64,
        echoed_per_s,
        window_s: seen.seconds,
        client_cpu_s: seen.client_cpu,
        server_cpu_s: seen.server_cpu,
        client_core_idle: seen.client_core_idle,
        server_core_idle: seen.server_core_idle,
        steal: seen.steal,
        bytes_by_kernel,
        bytes_by_client: said.bytes_sent + said.bytes_received,
    })
}

/// Lets the entries run one after the other, round by round, so that noise hits all alike; each round begins with
/// another, so that none always has the same one before it. The samples of each, in the order of the rounds.
///
/// # Errors
/// A contestant failed: its other rounds are then not comparable either.
pub(crate) fn rounds(
    entries: &[Entry],
    rounds: usize,
    window: Duration,
    cores: &Cores,
) -> io::Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::new(); entries.len()];
    for round in 0..rounds {
        for turn in 0..entries.len() {
            let index = (round + turn) % entries.len();
            let Entry { contestant, load, .. } = &entries[index];
            let name = || format!("{} against {}", contestant.client.name(), contestant.server.name());
            let sample = run_undisturbed(*contestant, load, window, cores);
            samples[index].push(sample.map_err(|error| io::Error::other(format!("{}: {error}", name())))?);
        }
    }
    Ok(samples)
}

/// Memory a connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) of: String,
    pub(crate) conns: usize,
    /// What the connections do meanwhile.
    pub(crate) state: &'static str,
    pub(crate) bytes_a_connection: f64,
}

/// Messages of 64 bytes go back and forth.
const TALKING: &str = "64 B ping-pong";
/// The client has written until nothing moved, and reads nothing.
const NEVER_READ: &str = "client never reads";
/// If no byte goes out for this time, all buffers on the way are full.
const FULL: Duration = Duration::from_secs(1);

/// Memory of client and server with this number of connections that exchange 64 bytes, less what each had before.
pub(crate) fn memory(server: Server, conns: usize, cores: &Cores) -> io::Result<[Memory; 2]> {
    let (of_server, target) = process::serve(server, Share::Apart, cores)?;
    let before = resident(of_server.id())?;
    // A server with a thread a connection, on one core, would have no time to accept thousands that never pause.
    let gap = if server == Server::Pump { "0" } else { "1s" };
    let workload = Workload { gap: gap.to_owned(), ..Workload::new("", conns, 64, 1) };
    let client = Client::Blast { verify: true };
    let mut of_client = process::load(client, &workload, target, Share::Apart, cores)?;
    wait_until_open(&mut of_client, &of_server, conns)?;
    let (client_now, server_now) = (resident(of_client.id())?, resident(of_server.id())?);
    let report = process::stop_client(client, of_client)?.report;
    process::stop(of_server)?;
    let client_before = report.and_then(|report| report.client.memory_before_bytes);
    let client_before = client_before.ok_or_else(|| io::Error::other("blast does not tell its memory"))?;
    let memory = |of: &str, now: u64, before: u64| Memory {
        of: of.to_owned(),
        conns,
        state: TALKING,
        bytes_a_connection: now.saturating_sub(before) as f64 / conns as f64,
    };
    Ok([memory("blast", client_now, client_before), memory(server.name(), server_now, before)])
}

/// Memory of a server under connections whose client writes for as long as it can and never reads: its buffers are full
/// then, and that is what `--buffer` bounds.
pub(crate) fn backlog(server: Server, conns: usize, cores: &Cores) -> io::Result<Memory> {
    let (process, target) = process::serve(server, Share::Apart, cores)?;
    let before = resident(process.id())?;
    let open = || {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        // What lies in the client's own buffer says nothing of the server, and costs the machine memory.
        socket.set_recv_buffer_size(4096)?;
        socket.connect(&target.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let sockets: Vec<Socket> = (0..conns).map(|_| open()).collect::<io::Result<_>>()?;
    let chunk = vec![0; 64 << 10];
    let mut moved = Instant::now();
    while moved.elapsed() < FULL {
        for socket in &sockets {
            match socket.send(&chunk) {
                Ok(_) => moved = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        // sleep: gives the one core that both may share to the server.
        thread::sleep(Duration::from_millis(1));
    }
    let now = resident(process.id())?;
    sockets.iter().try_for_each(|socket| socket.set_linger(Some(Duration::ZERO)))?;
    drop(sockets);
    process::stop(process)?;
    let bytes_a_connection = now.saturating_sub(before) as f64 / conns as f64;
    Ok(Memory { of: server.name().to_owned(), conns, state: NEVER_READ, bytes_a_connection })
}
