//! Networks of tests: network namespaces, each for a client or a server, and a relay of packets between two of them.
//!
//! Nothing here has a name outside of the test: a namespace lasts as long as a descriptor, a thread or a process of it,
//! and a device as long as its file. So nothing is left behind, however a test ends.

mod kernel;
mod packet;
mod packet_relay;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

pub(crate) use packet_relay::{PacketRelay, Tally, Treatment, Turn};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// With this variable at 1, a machine that permits no namespaces fails the test instead of skipping it.
const REQUIRE_VARIABLE: &str = "ECHO_TESTER_REQUIRE_NAMESPACES";
/// The MTU that networks mostly have, and the smallest that each host must take (RFC 791).
pub(crate) const USUAL_MTU: u16 = 1500;
pub(crate) const SMALL_MTU: u16 = 576;
/// The addresses of the two ends.
const CLIENT: &str = "10.0.0.1";
pub(crate) const SERVER: &str = "10.0.0.2";
/// The device of each of them.
const DEVICE: &str = "tun0";

/// A network namespace, with the loopback interface up.
pub(crate) struct Namespace {
    handle: File,
}

impl Namespace {
    pub(crate) fn new() -> Result<Namespace, String> {
        let enter = || {
            kernel::enter_new_network()?;
            File::open("/proc/thread-self/ns/net")
        };
        // A thread that has left its network can't come back, so this one has no other purpose.
        let handle = thread::spawn(enter).join().expect("the thread does not panic");
        let namespace = Namespace { handle: handle.map_err(|error| format!("a network namespace: {error}"))? };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does this on a thread in the namespace. Processes that it starts are in the namespace too.
    pub(crate) fn within<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let enter = || {
            let entered = move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network));
            entered.expect("who made a namespace may enter it");
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) -> Result<(), String> {
        let output = self.within(|| Command::new("ip").args(words.split(' ')).output());
        let output = output.map_err(|error| format!("ip {words}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("ip {words}: {said}")) }
    }

    /// Sets a parameter of the kernel for this network, such as `ipv4/tcp_syncookies`.
    pub(crate) fn set(&self, parameter: &str, value: &str) -> Result<(), String> {
        let path = format!("/proc/sys/net/{parameter}");
        self.within(|| std::fs::write(&path, value)).map_err(|error| format!("{path}: {error}"))
    }

    /// A counter of this network: `Tcp` and `InCsumErrors` of `snmp`, or `TcpExt` and `ListenOverflows` of `netstat`.
    pub(crate) fn counter(&self, file: &str, family: &str, name: &str) -> u64 {
        let text = self.within(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")));
        let text = text.expect("Linux has these counters");
        // Two lines: the names, and the values.
        let start = format!("{family}: ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&start));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let value = pairs.find_map(|(known, value)| (known == name).then(|| value.parse().ok()).flatten());
        value.unwrap_or_else(|| panic!("{file} has no {family} {name}: {text}"))
    }

    /// A TUN device with this address.
    fn tun(&self, address: &str, mtu: u16) -> Result<File, String> {
        // Only the packets of the test, and no questions for routers.
        self.set("ipv6/conf/default/disable_ipv6", "1")?;
        let tun = self.within(|| kernel::open_tun(DEVICE)).map_err(|error| format!("/dev/net/tun: {error}"))?;
        self.ip(&format!("addr add {address}/24 dev {DEVICE}"))?;
        self.ip(&format!("link set {DEVICE} mtu {mtu} up"))?;
        Ok(tun)
    }

    /// Takes the link of its device down, or up.
    pub(crate) fn set_link(&self, state: &str) {
        self.ip(&format!("link set {DEVICE} {state}")).expect("the device is there");
    }
}

/// Two networks and what lies between them.
pub(crate) struct Network {
    pub(crate) client: Arc<Namespace>,
    pub(crate) server: Arc<Namespace>,
    relay: PacketRelay,
}

impl Network {
    /// A network with this MTU at both ends. `turn` gets the client's and the server's namespace. The channel tells of
    /// the turn.
    pub(crate) fn start(
        mtu: u16,
        treatment: Treatment,
        turn: impl FnOnce(&Arc<Namespace>, &Arc<Namespace>) -> Option<Turn>,
    ) -> Result<(Network, Receiver<()>), String> {
        let (client, server) = (Arc::new(Namespace::new()?), Arc::new(Namespace::new()?));
        let devices = [client.tun(CLIENT, mtu)?, server.tun(SERVER, mtu)?];
        let (relay, turned) = PacketRelay::start(devices, treatment, turn(&client, &server));
        Ok((Network { client, server, relay }, turned))
    }

    /// The sum of a counter of both ends.
    pub(crate) fn counter(&self, file: &str, family: &str, name: &str) -> u64 {
        self.client.counter(file, family, name) + self.server.counter(file, family, name)
    }

    /// Ends the network.
    pub(crate) fn end(mut self) -> Tally {
        self.relay.end()
    }
}

/// Whether this machine permits such networks. If not, says why, or fails if they are required.
pub(crate) fn are_permitted() -> bool {
    let Err(reason) = Network::start(USUAL_MTU, Treatment::NONE, |_, _| None) else { return true };
    let is_required = std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
    assert!(!is_required, "{REQUIRE_VARIABLE}=1, but there are no networks for tests here: {reason}");
    let remedy = "run it as root, or by 'unshare --map-root-user --net cargo test'";
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {remedy}", reason.trim_end());
    false
}
