//! Networks that lose, delay, reorder, duplicate and change packets, or let none through, between the client and a
//! server in network namespaces of their own. What TCP mends must not be blamed on the server, and what it cannot mend
//! must be found. The table of docs/reliability.md is what this prints:
//!
//!     cargo test --release --test network_faults -- --nocapture
//!
//! Where the machine permits no namespaces or no TUN devices, this says so and tests nothing; with
//! `ECHO_TESTER_REQUIRE_NAMESPACES=1` that is a failure.
#![cfg(target_os = "linux")]

mod at_once;
mod network;
#[expect(dead_code, reason = "these servers start in namespaces, where they would warn of other machines")]
mod program;

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use at_once::at_once;
use echo_tester::units::grouped;
use network::{Namespace, Network, SERVER, SMALL_MTU, Tally, Treatment, Turn, USUAL_MTU, are_permitted};
use program::{Serving, finish, program, said, text};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// The longest time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a link is down.
const LINK_DOWN: Duration = Duration::from_secs(1);
/// Packets after which a network changes in mid-run, a tenth of all.
const IN_MID_RUN: u64 = 300;
/// The connections of the load.
const CONNS: usize = 8;

/// Messages of several packets each.
const LOAD: &[&str] = &["--conns", "8", "--messages", "40", "--size", "1..8KiB"];
/// Time-outs that no network exceeds which lets packets through.
const PATIENT: &[&str] = &["--stall-timeout", "60s", "--connect-timeout", "60s", "--grace", "60s"];
/// Time-outs for networks that let nothing through.
const HASTY: &[&str] = &["--stall-timeout", "2s", "--connect-timeout", "2s", "--grace", "5s"];
/// Nothing but an interrupt ends such a run, if no packet gets through.
const ENDLESS: &[&str] = &["--stall-timeout", "1h", "--connect-timeout", "1h", "--grace", "1h"];

/// A counter of the kernel: a file of /proc/net, a family in it, and a name.
type KernelCounter = (&'static str, &'static str, &'static str);

/// Segments that were sent again.
const SENT_AGAIN: KernelCounter = ("snmp", "Tcp", "RetransSegs");
/// Segments that were refused because of their checksum.
const WRONG_CHECKSUM: KernelCounter = ("snmp", "Tcp", "InCsumErrors");
/// Segments that came twice.
const CAME_TWICE: KernelCounter = ("netstat", "TcpExt", "TCPDSACKOldSent");
/// Segments that came before one that was sent earlier.
const OUT_OF_ORDER: KernelCounter = ("netstat", "TcpExt", "TCPOFOQueue");
/// Reports of packets that were too large, and of others that could not be delivered.
const UNREACHABLE: KernelCounter = ("snmp", "Icmp", "InDestUnreachs");

/// What happens in mid-run, to the networks of the client and of the server.
type Act = fn(&Namespace, &Namespace);

/// A network, and what a run over it finds.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    mtu: u16,
    treatment: Treatment,
    /// What happens in mid-run, and how packets are treated from then on.
    turn: Option<(Act, Treatment)>,
    /// What undoes it after a while.
    undo: Option<Act>,
    /// The verdict, and the kinds that are found.
    verdict: &'static str,
    kinds: &'static [&'static str],
    /// How often the fault happened, and how often it must.
    happened: fn(&Tally) -> u64,
    at_least: u64,
    /// What the kernels counted of it, at least as often.
    kernel: Option<KernelCounter>,
}

/// A network without fault, for the rows below.
const NO_FAULT: Fault = Fault {
    name: "no fault",
    mtu: USUAL_MTU,
    treatment: Treatment::NONE,
    turn: None,
    undo: None,
    verdict: "pass",
    kinds: &[],
    happened: |tally| tally.packets,
    at_least: 1000,
    kernel: None,
};

const FAULTS: &[Fault] = &[
    NO_FAULT,
    Fault {
        name: "5 % are lost",
        treatment: Treatment { loss: 50, ..Treatment::NONE },
        happened: |tally| tally.lost,
        at_least: 20,
        kernel: Some(SENT_AGAIN),
        ..NO_FAULT
    },
    Fault {
        name: "a delay of 25 ms each way",
        treatment: Treatment { delay: Duration::from_millis(25), ..Treatment::NONE },
        happened: |tally| tally.delayed,
        at_least: 1000,
        ..NO_FAULT
    },
    Fault {
        name: "a jitter of 10 ms, which reorders",
        treatment: Treatment { jitter: Duration::from_millis(10), ..Treatment::NONE },
        happened: |tally| tally.overtaken,
        at_least: 100,
        kernel: Some(OUT_OF_ORDER),
        ..NO_FAULT
    },
    Fault {
        name: "20 % come twice",
        treatment: Treatment { duplication: 200, ..Treatment::NONE },
        happened: |tally| tally.duplicated,
        at_least: 100,
        kernel: Some(CAME_TWICE),
        ..NO_FAULT
    },
    Fault {
        name: "a bit of 5 % is flipped",
        treatment: Treatment { corruption: 50, ..Treatment::NONE },
        happened: |tally| tally.corrupted,
        at_least: 20,
        kernel: Some(WRONG_CHECKSUM),
        ..NO_FAULT
    },
    Fault {
        name: "2 % of each of these at once",
        treatment: Treatment {
            loss: 20,
            duplication: 20,
            corruption: 20,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            ..Treatment::NONE
        },
        happened: |tally| tally.lost.min(tally.duplicated).min(tally.corrupted).min(tally.overtaken),
        at_least: 5,
        kernel: Some(WRONG_CHECKSUM),
        ..NO_FAULT
    },
    Fault {
        name: "the client's link is down for 1 s",
        turn: Some((|client, _| client.set_link("down"), Treatment::NONE)),
        undo: Some(|client, _| client.set_link("up")),
        happened: |tally| tally.refused,
        at_least: 1,
        kernel: Some(SENT_AGAIN),
        ..NO_FAULT
    },
    Fault {
        name: "the server's link is down for 1 s",
        turn: Some((|_, server| server.set_link("down"), Treatment::NONE)),
        undo: Some(|_, server| server.set_link("up")),
        happened: |tally| tally.refused,
        at_least: 1,
        kernel: Some(SENT_AGAIN),
        ..NO_FAULT
    },
    Fault {
        name: "an MTU of 576",
        mtu: SMALL_MTU,
        happened: |tally| if tally.above_small_mtu == 0 { tally.of_small_mtu } else { 0 },
        at_least: 500,
        ..NO_FAULT
    },
    Fault {
        name: "the MTU falls to 576 in mid-run",
        turn: Some((|client, server| [client, server].iter().for_each(|end| end.set_link("mtu 576")), Treatment::NONE)),
        happened: |tally| tally.of_small_mtu,
        at_least: 500,
        ..NO_FAULT
    },
    Fault {
        name: "a router in between takes only 576 from mid-run on, and says so",
        turn: Some((|_, _| {}, Treatment { path_mtu: Some(SMALL_MTU), tells_path_mtu: true, ..Treatment::NONE })),
        happened: |tally| tally.too_large.min(tally.of_small_mtu),
        at_least: 1,
        kernel: Some(UNREACHABLE),
        ..NO_FAULT
    },
    Fault {
        name: "a router in between takes only 576 from mid-run on, and does not say so",
        turn: Some((|_, _| {}, Treatment { path_mtu: Some(SMALL_MTU), ..Treatment::NONE })),
        verdict: "fail",
        kinds: &["stalled"],
        happened: |tally| tally.too_large,
        at_least: 8,
        kernel: Some(SENT_AGAIN),
        ..NO_FAULT
    },
    Fault {
        name: "nothing gets through",
        treatment: Treatment::HOLE,
        // Nobody knows whether there is a server at all.
        verdict: "inconclusive",
        kinds: &["connect-failed"],
        happened: |tally| tally.lost,
        at_least: 8,
        ..NO_FAULT
    },
    Fault {
        name: "nothing gets through from mid-run on",
        turn: Some((|_, _| {}, Treatment::HOLE)),
        verdict: "fail",
        kinds: &["stalled"],
        happened: |tally| tally.lost,
        at_least: 8,
        kernel: Some(SENT_AGAIN),
        ..NO_FAULT
    },
    Fault {
        name: "a bit of 5 % is flipped, and the checksum matches",
        treatment: Treatment { forgery: 50, ..Treatment::NONE },
        verdict: "fail",
        kinds: &["corrupt"],
        happened: |tally| tally.forged,
        at_least: 20,
        ..NO_FAULT
    },
];

/// A run of `blast` that is ended even if the test fails.
struct Blasting {
    child: Option<Child>,
    args: Vec<String>,
}

impl Blasting {
    fn start(namespace: &Namespace, target: &str, flags: &[&[&str]]) -> Blasting {
        let args = [&["blast", target, "--plain", "--quiet", "--json"], &flags.concat()[..]].concat();
        let child = namespace.within(|| program(&args).process_group(0).spawn().expect("the program starts"));
        Blasting { child: Some(child), args: args.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// Waits for its end. Returns the exit code and the report.
    fn end(mut self) -> (i32, Value) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let output = finish(self.child.take().expect("it runs"), &args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!err.contains("panicked"), "{args:?}: {err}");
        let report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"));
        (output.status.code().unwrap_or(-1), report)
    }

    fn interrupt(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process_group(Pid::from_child(child), Signal::INT).expect("it runs");
    }
}

impl Drop for Blasting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().expect("it is our child");
            child.wait().expect("it can be waited for");
        }
    }
}

/// A server in this namespace. It would warn of other machines, of which there are none.
fn serve(namespace: &Namespace, address: &str, flags: &[&str]) -> Serving {
    let args = [&["--model", "epoll", "--bind", address], flags].concat();
    namespace.within(|| Serving::start_with(&args, Stdio::null()))
}

/// Ends a server whose connections may have stalled.
fn kill(mut server: Serving) {
    server.child.kill().expect("it runs");
    server.child.wait().expect("it can be waited for");
}

fn outcome(report: &Value) -> &str {
    report["verdict"]["outcome"].as_str().expect("a verdict is a word")
}

fn total(report: &Value, counter: &str) -> u64 {
    report["total"][counter].as_u64().expect("the report has this counter")
}

/// The kinds that were found, none in a report without findings.
fn kinds(report: &Value) -> Vec<&str> {
    report["total"]["findings"].as_object().into_iter().flatten().map(|(kind, _)| kind.as_str()).collect()
}

/// Whether the client itself stood still: on a busy machine it then accuses nobody of a silence.
fn was_late(report: &Value) -> bool {
    let seconds = |key: &str| report["client"][key].as_f64().unwrap_or_default();
    seconds("stood_still_s") + seconds("starved_s") > 0.0
}

/// Starts the network of a fault, with the channel that tells of its turn.
fn start(fault: &Fault) -> (Network, std::sync::mpsc::Receiver<()>) {
    let turn = |client: &Arc<Namespace>, server: &Arc<Namespace>| {
        let (act, then) = fault.turn?;
        let (client, server) = (Arc::clone(client), Arc::clone(server));
        Some(Turn { at: IN_MID_RUN, answered: CONNS, act: Box::new(move || act(&client, &server)), then })
    };
    Network::start(fault.mtu, fault.treatment, turn).expect("the first network could be made")
}

/// What a run must be that passes: every byte came back and was right, and the server saw no other.
fn assert_exact(name: &str, report: &Value, server: Serving) {
    let bytes = total(report, "bytes_sent");
    assert!(bytes > 0 && total(report, "passed") == CONNS as u64, "{name}: {report}");
    assert_eq!(total(report, "bytes_verified"), bytes, "{name}");
    let counters = &server.stop()["counters"];
    assert_eq!((counters["bytes_in"].as_u64(), counters["bytes_out"].as_u64()), (Some(bytes), Some(bytes)), "{name}");
}

/// Runs the load over the network of a fault, and returns its row of the table.
fn run(fault: &Fault) -> String {
    let Fault { name, kinds: expected, .. } = fault;
    let (network, turned) = start(fault);
    let server = serve(&network.server, &format!("{SERVER}:0"), &[]);
    let time_outs = if expected.is_empty() { PATIENT } else { HASTY };
    let began = Instant::now();
    let blasting = Blasting::start(&network.client, &server.address, &[LOAD, time_outs]);
    if let Some(undo) = fault.undo {
        turned.recv_timeout(EVENT_TIMEOUT).expect("the run reaches its middle");
        // sleep: as long as the link is down
        thread::sleep(LINK_DOWN);
        undo(&network.client, &network.server);
    }
    let (code, report) = blasting.end();
    let seconds = began.elapsed().as_secs_f64();
    if expected.is_empty() {
        assert!(code == 0 && outcome(&report) == "pass", "{name}: {code}: {report}");
        assert_exact(name, &report, server);
    } else {
        let is_told = outcome(&report) == fault.verdict || was_late(&report);
        let found = kinds(&report);
        assert!(is_told && code != 0 && found == *expected, "{name}: {code}, found {found:?}: {report}");
        kill(server);
    }
    let wrong_checksums = network.counter(WRONG_CHECKSUM.0, WRONG_CHECKSUM.1, WRONG_CHECKSUM.2);
    let counted = fault.kernel.map(|(file, family, counter)| (counter, network.counter(file, family, counter)));
    let tally = network.end();
    let happened = (fault.happened)(&tally);
    assert!(happened >= fault.at_least, "{name}: it happened {happened} times: {tally:?}");
    let is_seen = counted.is_none_or(|(_, count)| count >= fault.at_least);
    assert!(is_seen, "{name}: the kernels saw less: {counted:?}: {tally:?}");
    assert_eq!(wrong_checksums > 0, tally.corrupted > 0, "{name}: {wrong_checksums} wrong checksums: {tally:?}");
    if fault.name == NO_FAULT.name {
        assert_eq!(tally.faults(), 0, "{tally:?}");
    }
    if tally.forged > 0 {
        let found = report["total"]["findings"]["corrupt"].as_u64().unwrap_or_default();
        assert!(found <= tally.forged, "{found} findings of {} changes", tally.forged);
    }
    let verdict = [outcome(&report), &expected.join(", ")].join(if expected.is_empty() { "" } else { ": " });
    let times = if fault.name == NO_FAULT.name { "–".to_owned() } else { grouped(happened) };
    format!("| {name} | {times} | {verdict} | {seconds:.1} s |")
}

#[test]
fn what_tcp_mends_passes_and_what_it_cannot_mend_has_its_name() {
    if !are_permitted() {
        return;
    }
    let rows = at_once(FAULTS, run).join("\n");
    println!("| network | happened | verdict | time |\n| --- | ---: | --- | ---: |\n{rows}");
}

#[test]
fn ctrl_c_ends_a_run_over_a_network_that_lets_nothing_through() {
    if !are_permitted() {
        return;
    }
    at_once([(1, 0), (IN_MID_RUN, CONNS)], |(at, answered)| {
        let turn = |_: &_, _: &_| Some(Turn { at, answered, act: Box::new(|| {}), then: Treatment::HOLE });
        let (network, turned) = Network::start(USUAL_MTU, Treatment::NONE, turn).expect("there are networks");
        let server = serve(&network.server, &format!("{SERVER}:0"), &[]);
        let blasting = Blasting::start(&network.client, &server.address, &[LOAD, ENDLESS]);
        turned.recv_timeout(EVENT_TIMEOUT).expect("packets come");
        blasting.interrupt();
        let (code, report) = blasting.end();
        assert!(matches!(code, 1 | 4 | 130) && report["interrupted"] == true, "{at}: {code}: {report}");
        assert!(kinds(&report).is_empty(), "{at}: nobody is blamed for an interrupt: {report}");
        kill(server);
    });
}

#[test]
fn an_accept_queue_that_was_full_for_a_while_loses_no_connection() {
    if !are_permitted() {
        return;
    }
    let namespace = Namespace::new().expect("there are namespaces");
    // With cookies, which answer a full queue of half-open connections, Linux now and then resets a connection that the
    // client has open, and counts a failed cookie. That is a loss, and is found as one.
    namespace.set("ipv4/tcp_syncookies", "0").expect("the kernel knows SYN cookies");
    let server = serve(&namespace, "127.0.0.1:0", &["--backlog", "2"]);
    let pid = Pid::from_child(&server.child);
    kill_process(pid, Signal::STOP).expect("it runs");
    let blasting = Blasting::start(&namespace, &server.address, &[LOAD, PATIENT]);
    let began = Instant::now();
    while namespace.counter("netstat", "TcpExt", "ListenOverflows") == 0 {
        assert!(began.elapsed() < EVENT_TIMEOUT, "the queue never was full");
        thread::yield_now();
    }
    kill_process(pid, Signal::CONT).expect("it runs");
    let (code, report) = blasting.end();
    assert_eq!((code, outcome(&report)), (0, "pass"), "{report}");
    assert_exact("a full queue", &report, server);
}

#[test]
fn a_server_behind_syn_cookies_loses_no_connection() {
    if !are_permitted() {
        return;
    }
    let namespace = Namespace::new().expect("there are namespaces");
    // 2: always, not only when the queue of half-open connections is full.
    namespace.set("ipv4/tcp_syncookies", "2").expect("the kernel knows SYN cookies");
    let server = serve(&namespace, "127.0.0.1:0", &[]);
    let (code, report) = Blasting::start(&namespace, &server.address, &[LOAD, PATIENT]).end();
    assert_eq!((code, outcome(&report)), (0, "pass"), "{report}");
    assert_exact("SYN cookies", &report, server);
    let cookies = |name: &str| namespace.counter("netstat", "TcpExt", name);
    // One more connection than the load has may have looked whether the server is there.
    assert!(cookies("SyncookiesSent") >= 8 && cookies("SyncookiesRecv") >= 8 && cookies("SyncookiesFailed") == 0);
}

#[test]
fn ports_that_run_out_blame_no_server() {
    if !are_permitted() {
        return;
    }
    let namespace = Namespace::new().expect("there are namespaces");
    namespace.set("ipv4/ip_local_port_range", "50000 50019").expect("the kernel has a range of ports");
    // Ports of connections that have closed stay in use for a minute, as they do between two machines.
    namespace.set("ipv4/tcp_tw_reuse", "0").expect("the kernel has this parameter");
    let server = serve(&namespace, "127.0.0.1:7000", &[]);
    let churn = ["--conns", "4", "--lifetime", "1", "--reconnect", "forever", "--duration", "2s"];
    let (code, report) = Blasting::start(&namespace, &server.address, &[&churn, PATIENT]).end();
    assert!(total(&report, "port_shortages") > 0 && kinds(&report).is_empty(), "{report}");
    // Where time was up before a connection had a port, the run is inconclusive.
    assert!([(0, "pass"), (4, "inconclusive")].contains(&(code, outcome(&report))), "{code}: {report}");
    assert_eq!(total(&report, "bytes_verified"), total(&report, "bytes_sent"), "{report}");
    // More at a time than one source address has ports is refused before the run.
    let too_many = ["blast", &server.address, "--conns", "21", "--source", "127.0.0.1", "--plain", "-q"];
    let (code, _, err) = namespace.within(|| said(&too_many));
    assert!(code == 4 && err.contains("21 connections need more local ports than the 20"), "{code}: {err}");
    server.stop();
}
