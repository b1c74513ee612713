//! Clients that mean harm, against every server model of this system: its memory stays bounded, it does not spin,
//! honest clients are served meanwhile, and it ends in order. The table of docs/reliability.md is what this prints:
//!
//!     cargo test --release --test hostile_clients -- --nocapture
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use at_once::at_once;
use echo_tester::server::models::{Model, TABLE};
use program::{Serving, said};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use socket2::SockRef;

mod at_once;
mod program;

/// The longest time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a server may take for the whole attack beside what its buffers may take for each connection.
const MAX_MEMORY_ADDED: u64 = 96 << 20;
/// And for each connection: the default `--buffer` of 64 KiB twice, or the stack of a thread.
const MAX_MEMORY_PER_CONNECTION: u64 = 160 << 10;
/// And for each process: nearly all of its pages are its parent's, but they count in each.
const MAX_MEMORY_PER_PROCESS: u64 = 8 << 20;
/// The buffers of an attacker's socket.
const ATTACKERS_BUFFER: usize = 64 << 10;
/// How long the attackers are watched while nothing happens.
const WATCHED: Duration = Duration::from_secs(1);
/// The most CPU time of a server in that time. One that spins takes all of it.
const MAX_CPU_AT_REST: Duration = Duration::from_millis(500);

/// What is done to a server.
struct Attack {
    name: &'static str,
    /// Connections of the attackers.
    conns: usize,
    /// What each of them does; `None`: it has closed its connection.
    does: fn(TcpStream) -> Option<TcpStream>,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "silent", conns: 1000, does: Some },
    // Few, since each leaves megabytes in the buffers of the server's socket: to use up the memory that the system has
    // for TCP is another attack, which resets the connections of all.
    Attack { name: "sends and never reads", conns: 10, does: fill },
    Attack { name: "one byte", conns: 500, does: one_byte },
    Attack { name: "resets", conns: 2000, does: reset },
    Attack { name: "half-closed, never reads", conns: 10, does: half_close },
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

fn models() -> impl Iterator<Item = &'static Model> {
    TABLE.iter().filter(|model| model.run.is_some() && (model.probe)().is_ok())
}

/// Resident memory and CPU time of a process and its children.
fn usage(server: &Serving) -> (u64, Duration) {
    let usage = echo_tester::sys::usage_of_tree(server.child.id()).expect("the server runs");
    (usage.memory.unwrap_or_default(), usage.cpu.unwrap_or_default())
}

/// Honest clients, who must be served: the 99th percentile of their round trips, in milliseconds.
fn honest(address: &str, what: &str) -> f64 {
    let times = ["--stall-timeout", "60s", "--connect-timeout", "60s"];
    let load = ["--plain", "--conns", "20", "--messages", "20", "--quiet", "--json"];
    let (code, out, err) = said(&[&["blast", address], &load[..], &times].concat());
    assert_eq!(code, 0, "{what}: {out}{err}");
    let report: Value = serde_json::from_str(&out).expect("the report is JSON");
    report["loads"][0]["rtt"]["p99_ns"].as_f64().expect("there are round trips") / 1e6
}

fn connect(server: &Serving) -> TcpStream {
    let stream = TcpStream::connect(&server.address).expect("it accepts");
    let socket = SockRef::from(&stream);
    let small =
        socket.set_recv_buffer_size(ATTACKERS_BUFFER).and_then(|()| socket.set_send_buffer_size(ATTACKERS_BUFFER));
    small.expect("a buffer may be small");
    stream
}

/// Attacks a server of this model in each way. Returns the rows of the table.
fn attacked(model: &Model) -> Vec<String> {
    let server = Serving::start(&["--model", model.name]);
    let rows = ATTACKS.iter().map(|attack| under(attack, model, &server)).collect();
    let counters = server.stop()["counters"].clone();
    assert_eq!(counters["accepted"], counters["closed"], "{}: {counters}", model.name);
    rows
}

/// Attacks the server and watches it. Returns a row of the table.
fn under(attack: &Attack, model: &Model, server: &Serving) -> String {
    let what = format!("{} under '{}'", model.name, attack.name);
    let (memory_before, _) = usage(server);
    let attackers: Vec<TcpStream> = (0..attack.conns).filter_map(|_| (attack.does)(connect(server))).collect();
    // Once these are answered, earlier clients have been served too.
    honest(&server.address, &what);
    let (_, cpu_before) = usage(server);
    // sleep: the time in which the server is watched
    std::thread::sleep(WATCHED);
    let (memory, cpu) = usage(server);
    let (added, cpu) = (memory.saturating_sub(memory_before), cpu.saturating_sub(cpu_before));
    let of_each = if model.name == "fork" { MAX_MEMORY_PER_PROCESS } else { MAX_MEMORY_PER_CONNECTION };
    let limit = MAX_MEMORY_ADDED + of_each * attack.conns as u64;
    assert!(added < limit, "{what}: {added} bytes");
    assert!(cpu < MAX_CPU_AT_REST, "{what}: it spins: {cpu:?} in {WATCHED:?}");
    let p99 = honest(&server.address, &what);
    drop(attackers);
    let (added, cpu) = (added as f64 / f64::from(1 << 20), cpu.as_millis());
    format!("| `{}` | {} × {} | {added:.1} MiB | {cpu} ms | {p99:.2} ms |", model.name, attack.conns, attack.name)
}

#[test]
fn honest_clients_are_served_whatever_others_do() {
    echo_tester::sys::raise_descriptor_limit();
    let rows = at_once(models(), attacked).concat().join("\n");
    println!("| model | attack | memory added | CPU in 1 s | honest p99 |\n| --- | --- | ---: | ---: | ---: |\n{rows}");
}

#[test]
fn a_flood_past_the_descriptors_neither_ends_nor_spins_a_server() {
    at_once(models(), |model| {
        let server = Serving::start(&["--model", model.name]);
        let pid = Pid::from_raw(server.child.id().cast_signed());
        let few = Rlimit { current: Some(128), ..getrlimit(Resource::Nofile) };
        prlimit(pid, Resource::Nofile, few).expect("its limit may be lowered");
        let flood: Vec<TcpStream> = (0..400).map_while(|_| TcpStream::connect(&server.address).ok()).collect();
        let what = format!("{} with 128 descriptors and {} connections", model.name, flood.len());
        let until = Instant::now() + EVENT_TIMEOUT;
        loop {
            let (_, before) = usage(&server);
            // sleep: the time in which the server is watched
            std::thread::sleep(WATCHED);
            let cpu = usage(&server).1.saturating_sub(before);
            if cpu < MAX_CPU_AT_REST {
                break;
            }
            // It may still be accepting what it can.
            assert!(Instant::now() < until, "{what}: it spins: {cpu:?} in {WATCHED:?}");
        }
        drop(flood);
        honest(&server.address, &what);
        server.stop();
    });
}
