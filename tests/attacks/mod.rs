//! Clients that mean harm: what they do to a server, and what is asked of it meanwhile. Its memory stays bounded, it
//! does not spin, and honest clients are served. The same table attacks the models of Linux
//! (`tests/hostile_clients.rs`) and those of Windows under Wine (`tests/windows_under_wine.rs`).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use echo_tester::sys::ProcessUsage;
use serde_json::Value;
use socket2::SockRef;

use crate::program::said;

/// The head of the table whose rows [`attacked`] and [`flooded`] return.
pub(crate) const HEAD: &str =
    "| model | attack | memory added | CPU in 1 s | honest p99 |\n| --- | --- | ---: | ---: | ---: |";

/// The longest time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a server may take for the whole attack beside what its buffers may take for each connection.
const MAX_MEMORY_ADDED: u64 = 96 << 20;
/// And for each connection: the default `--buffer` of 64 KiB twice, or the stack of a thread.
pub(crate) const MAX_MEMORY_PER_CONNECTION: u64 = 160 << 10;
/// The buffers of an attacker's socket.
const ATTACKERS_BUFFER: usize = 64 << 10;
/// How long the attackers are watched while nothing happens.
const WATCHED: Duration = Duration::from_secs(1);
/// The most CPU time of a server in that time. One that spins takes all of it.
const MAX_CPU_AT_REST: Duration = Duration::from_millis(500);
/// And how often its threads may wait.
const MAX_WAITS_AT_REST: u64 = 2000;

/// What is done to a server.
struct Attack {
    name: &'static str,
    /// Connections of the attackers.
    conns: usize,
    /// The same under Wine, where each of them takes long.
    conns_under_wine: usize,
    /// What each of them does; `None`: it has closed its connection.
    does: fn(TcpStream) -> Option<TcpStream>,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "silent", conns: 1000, conns_under_wine: 200, does: Some },
    // Few, since each leaves megabytes in the buffers of the server's socket: to use up the memory that the system has
    // for TCP is another attack, which resets the connections of all.
    Attack { name: "sends and never reads", conns: 10, conns_under_wine: 10, does: fill },
    Attack { name: "one byte", conns: 500, conns_under_wine: 100, does: one_byte },
    Attack { name: "resets", conns: 2000, conns_under_wine: 400, does: reset },
    Attack { name: "half-closed, never reads", conns: 10, conns_under_wine: 10, does: half_close },
];

/// Sends until the system takes no more.
fn fill(stream: TcpStream) -> Option<TcpStream> {
    stream.set_nonblocking(true).ok()?;
    let bytes = [0x5a; 64 << 10];
    let mut blocked = 0;
    // Both systems' buffers and that of the server fill up a little at a time.
    while blocked < 20 {
        match (&stream).write(&bytes) {
            Ok(_) => blocked = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked += 1;
                // sleep: the server moves bytes meanwhile, and says nothing of it
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => return None,
        }
    }
    Some(stream)
}

fn one_byte(mut stream: TcpStream) -> Option<TcpStream> {
    stream.write_all(b"x").ok()?;
    Some(stream)
}

fn reset(mut stream: TcpStream) -> Option<TcpStream> {
    // The server may be faster to close than this to write.
    let _ = stream.write_all(&[0x5a; 1000]);
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
    None
}

fn half_close(stream: TcpStream) -> Option<TcpStream> {
    let stream = fill(stream)?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    Some(stream)
}

/// The server that is attacked.
pub(crate) struct Victim<'server> {
    /// Its model.
    pub(crate) model: &'static str,
    pub(crate) address: String,
    /// What its process and the children of that use.
    pub(crate) usage: &'server dyn Fn() -> Option<ProcessUsage>,
    /// How often its threads have waited.
    pub(crate) waits: &'server dyn Fn() -> Option<u64>,
    /// What it may take for each connection.
    pub(crate) memory_per_connection: u64,
    pub(crate) is_under_wine: bool,
}

impl Victim<'_> {
    fn memory(&self) -> u64 {
        (self.usage)().and_then(|usage| usage.memory).expect("the server runs, and its memory can be read")
    }

    fn cpu_time(&self) -> Duration {
        (self.usage)().and_then(|usage| usage.cpu).expect("the server runs, and its CPU time can be read")
    }

    fn waits(&self) -> u64 {
        (self.waits)().expect("the server runs, and Linux tells how often it waits")
    }

    /// The CPU time that it uses while it is watched. The error says that it spins.
    fn cpu_at_rest(&self) -> Result<Duration, String> {
        let (cpu, waits) = (self.cpu_time(), self.waits());
        // sleep: the time in which the server is watched
        std::thread::sleep(WATCHED);
        let (cpu, waits) = (self.cpu_time().saturating_sub(cpu), self.waits().saturating_sub(waits));
        if cpu < MAX_CPU_AT_REST && waits < MAX_WAITS_AT_REST {
            return Ok(cpu);
        }
        Err(format!("it spins: {cpu:?} of CPU time and {waits} waits in {WATCHED:?}"))
    }

    /// Honest clients, who must be served: the 99th percentile of their round trips, in milliseconds.
    fn honest(&self, what: &str) -> f64 {
        self.try_honest().unwrap_or_else(|said| panic!("{what}: {said}"))
    }

    /// The same for clients who may be refused. The error is what they say.
    fn try_honest(&self) -> Result<f64, String> {
        let times = ["--stall-timeout", "60s", "--connect-timeout", "60s"];
        let load = ["--plain", "--conns", "20", "--messages", "20", "--quiet", "--json"];
        let (code, out, err) = said(&[&["blast", &self.address], &load[..], &times].concat());
        if code != 0 {
            return Err(format!("exit code {code}: {out}{err}"));
        }
        let report: Value = serde_json::from_str(&out).expect("the report is JSON");
        Ok(report["loads"][0]["rtt"]["p99_ns"].as_f64().expect("there are round trips") / 1e6)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it accepts");
        let socket = SockRef::from(&stream);
        let small =
            socket.set_recv_buffer_size(ATTACKERS_BUFFER).and_then(|()| socket.set_send_buffer_size(ATTACKERS_BUFFER));
        small.expect("a buffer may be small");
        stream
    }

    fn row(&self, attack: &str, conns: usize, memory_added: u64, cpu: Duration, p99: f64) -> String {
        let (mib, ms) = (memory_added as f64 / f64::from(1 << 20), cpu.as_millis());
        format!("| `{}` | {conns} × {attack} | {mib:.1} MiB | {ms} ms | {p99:.2} ms |", self.model)
    }
}

/// Attacks a server in each way. Returns the rows of the table.
pub(crate) fn attacked(victim: &Victim<'_>) -> Vec<String> {
    ATTACKS.iter().map(|attack| under(attack, victim)).collect()
}

/// Attacks the server and watches it. Returns a row of the table.
fn under(attack: &Attack, victim: &Victim<'_>) -> String {
    let what = format!("{} under '{}'", victim.model, attack.name);
    let conns = if victim.is_under_wine { attack.conns_under_wine } else { attack.conns };
    let memory_before = victim.memory();
    let attackers: Vec<TcpStream> = (0..conns).filter_map(|_| (attack.does)(victim.connect())).collect();
    // Once these are answered, earlier clients have been served too.
    victim.honest(&what);
    let cpu = victim.cpu_at_rest().unwrap_or_else(|spins| panic!("{what}: {spins}"));
    let added = victim.memory().saturating_sub(memory_before);
    let limit = MAX_MEMORY_ADDED + victim.memory_per_connection * conns as u64;
    assert!(added < limit, "{what}: {added} bytes");
    let p99 = victim.honest(&what);
    drop(attackers);
    victim.row(attack.name, conns, added, cpu, p99)
}

/// Opens more connections than the server can have, and waits until it does not spin. It serves the honest when the
/// others have gone. `refuses`: it closes those that are too many, and does not let them wait. Returns a row of the
/// table.
pub(crate) fn flooded(victim: &Victim<'_>, limit: &str, refuses: bool) -> String {
    const CONNS: usize = 400;
    let what = format!("{} with {limit} and up to {CONNS} connections", victim.model);
    let memory_before = victim.memory();
    let flood: Vec<TcpStream> = (0..CONNS).map_while(|_| TcpStream::connect(&victim.address).ok()).collect();
    let until = Instant::now() + EVENT_TIMEOUT;
    let cpu = loop {
        match victim.cpu_at_rest() {
            Ok(cpu) => break cpu,
            // It may still be accepting what it can.
            Err(spins) => assert!(Instant::now() < until, "{what}: {spins}"),
        }
    };
    let added = victim.memory().saturating_sub(memory_before);
    let conns = flood.len();
    drop(flood);
    // Clients that come before the server has seen the end of the flood may be refused.
    let p99 = loop {
        match victim.try_honest() {
            Ok(p99) => break p99,
            Err(said) => assert!(refuses && Instant::now() < until, "{what}: {said}"),
        }
    };
    victim.row(&format!("a flood past {limit}"), conns, added, cpu, p99)
}
