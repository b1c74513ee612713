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
    /// The pause after each message, as `--gap` takes it; the bare client makes none.
    pub(crate) gap: String,
}

impl Workload {
    pub(crate) fn new(name: &str, conns: usize, size: usize, pipeline: usize) -> Workload {
        Workload { name: name.to_owned(), conns, size, fragment: size, pipeline, gap: "0".to_owned() }
    }

    /// As the flags of `blast`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let fragment = if self.fragment == self.size { "off".to_owned() } else { self.fragment.to_string() };
        [
            ("--conns", self.conns.to_string()),
            ("--size", self.size.to_string()),
            ("--fragment", fragment),
            ("--pipeline", self.pipeline.to_string()),
            ("--gap", self.gap.clone()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }
}

/// The name of the load whose CPU time a round trip is set against that with [`MANY`] connections.
pub(crate) const FEW: &str = "64 B, 100 conns";
pub(crate) const MANY: &str = "64 B, 10,000 conns";

/// Loads that stand together take turns, since they are compared with each other.
pub(crate) fn of_the_engine() -> Vec<Vec<Workload>> {
    vec![
        vec![Workload::new(FEW, 100, 64, 1), Workload::new(MANY, 10_000, 64, 1)],
        vec![Workload::new("1 KiB, 100 conns", 100, 1 << 10, 1)],
        vec![Workload::new("64 KiB x4, 10 conns", 10, 64 << 10, 4)],
        vec![Workload::new("64 KiB x4, 100 conns", 100, 64 << 10, 4)],
        vec![Workload { fragment: 1, ..Workload::new("64 B in 1-byte writes, 100 conns", 100, 64, 1) }],
    ]
}

/// The models whose `--workers` are compared; the others share the code that makes them, or a runtime's.
pub(crate) const WITH_WORKERS: [&str; 3] = ["epoll", "io-uring", "tokio"];

pub(crate) fn of_the_workers() -> Vec<Workload> {
    vec![Workload::new(FEW, 100, 64, 1), Workload::new("64 KiB x4, 10 conns", 10, 64 << 10, 4)]
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

/// Which cores server and client have, and how many threads they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Share {
    /// One each, for one thread each.
    Apart,
    /// Both the same one, for one thread each.
    OneCore,
    /// Both have both, with two threads each: twice of everything that [`Share::OneCore`] has.
    TwoCores,
}

impl Share {
    pub(crate) fn workers(self) -> usize {
        if self == Share::TwoCores { 2 } else { 1 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Share::Apart => "a core each",
            Share::OneCore => "one core, 1 worker",
            Share::TwoCores => "two cores, 2 workers",
        }
    }
}

/// One who takes part in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) share: Share,
}

/// A contestant under a load, and whom it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) load: Workload,
    pub(crate) contestant: Contestant,
    /// Which of the entries it is compared with.
    pub(crate) reference: usize,
}

impl Entry {
    /// Every contestant under every load, each compared with the first one under its load.
    pub(crate) fn all(loads: &[Workload], contestants: &[Contestant]) -> Vec<Entry> {
        let of_load = |(n, load): (usize, &Workload)| {
            let (load, reference) = (load.clone(), n * contestants.len());
            contestants.iter().map(move |&contestant| Entry { load: load.clone(), contestant, reference })
        };
        loads.iter().enumerate().flat_map(of_load).collect()
    }
}

/// Load generators of others: whether they are here, and what they could be compared with.
pub(crate) const PEERS: [(&str, &str); 3] = [
    ("tcpkali", "sends without end and pairs no echo with a message, so it has no round trips to compare"),
    ("iperf3", "sends in one direction and speaks a protocol of its own; nothing echoes"),
    ("sockperf", "measures one request at a time, in a protocol of its own; its server does not echo a stream"),
];
