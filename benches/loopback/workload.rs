//! What is measured: the loads, and who takes part.

use serde::{Deserialize, Serialize};

/// A load that the bare client and `blast` can both make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) conns: usize,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Bytes of a write at most.
    pub(crate) fragment: usize,
    /// Messages in flight on a connection.
    pub(crate) pipeline: usize,
}

impl Workload {
    fn new(name: &str, conns: usize, size: usize, pipeline: usize) -> Workload {
        Workload { name: name.to_owned(), conns, size, fragment: size, pipeline }
    }

    /// As the flags of `blast`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let fragment = if self.fragment == self.size { "off".to_owned() } else { self.fragment.to_string() };
        [
            ("--conns", self.conns.to_string()),
            ("--size", self.size.to_string()),
            ("--fragment", fragment),
            ("--pipeline", self.pipeline.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }
}

/// The name of the load whose CPU time a round trip is set against that with [`MANY`] connections.
pub(crate) const FEW: &str = "64 B, 100 conns";
pub(crate) const MANY: &str = "64 B, 10,000 conns";

pub(crate) fn of_the_engine() -> Vec<Workload> {
    vec![
        Workload::new(FEW, 100, 64, 1),
        Workload::new("1 KiB, 100 conns", 100, 1 << 10, 1),
        Workload::new("64 KiB x4, 10 conns", 10, 64 << 10, 4),
        Workload::new("64 KiB x4, 100 conns", 100, 64 << 10, 4),
        Workload { fragment: 1, ..Workload::new("64 B in 1-byte writes, 100 conns", 100, 64, 1) },
        Workload::new(MANY, 10_000, 64, 1),
    ]
}

pub(crate) fn of_the_servers() -> Vec<Workload> {
    vec![
        Workload::new(FEW, 100, 64, 1),
        Workload::new("1 KiB, 100 conns", 100, 1 << 10, 1),
        Workload::new("64 KiB x4, 10 conns", 10, 64 << 10, 4),
        Workload::new("64 KiB x4, 100 conns", 100, 64 << 10, 4),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Bare,
    Blast { verify: bool },
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Bare => "bare client",
            Client::Blast { verify: true } => "blast, verify full",
            Client::Blast { verify: false } => "blast, verify off",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Pump,
    /// One of `serve --model`.
    Model(&'static str),
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Pump => "bare pump",
            Server::Model(name) => name,
        }
    }

    /// Every model that runs here.
    pub(crate) fn models() -> Vec<Server> {
        use echo_tester::server::models::TABLE;
        TABLE.iter().filter(|model| model.why_not().is_none()).map(|model| Server::Model(model.name)).collect()
    }
}

/// One who takes part in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) client: Client,
    pub(crate) server: Server,
}

/// Load generators of others: whether they are here, and what they could be compared with.
pub(crate) const PEERS: [(&str, &str); 3] = [
    ("tcpkali", "sends without end and pairs no echo with a message, so it has no round trips to compare"),
    ("iperf3", "sends in one direction and speaks a protocol of its own; nothing echoes"),
    ("sockperf", "measures one request at a time, in a protocol of its own; its server does not echo a stream"),
];
