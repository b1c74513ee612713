//! The cases: every kind of fault, under every load.

use echo_tester::server::fault::Fault;

/// A load, as a scenario would declare it.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) toml: &'static str,
    /// Approximate bytes of one connection.
    pub(crate) stream: u64,
    /// Connections are reopened, so the server counts more of them than the client has at a time.
    pub(crate) churns: bool,
}

/// The loads.
pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "1-byte fragments",
        toml: "conns = 4\nmessages = 16\nsize = '100..200'\nfragment = 1\nstall_timeout = '1200ms'",
        stream: 2_400,
        churns: false,
    },
    Load {
        name: "ping-pong",
        toml: "conns = 4\nmessages = 24\nsize = '1..4KiB'\nstall_timeout = '1200ms'",
        stream: 48_000,
        churns: false,
    },
    Load {
        name: "pipelined bulk",
        toml: "conns = 4\nmessages = 16\nsize = '1..64KiB'\nfragment = 'off'\npipeline = 'unlimited'\n\
               stall_timeout = '1200ms'",
        stream: 520_000,
        churns: false,
    },
    Load {
        name: "many connections",
        toml: "conns = 64\nmessages = 8\nsize = '1..2KiB'\nfragment = '1..1460'\npipeline = 4\nstall_timeout = '1200ms'",
        stream: 8_000,
        churns: false,
    },
    Load {
        name: "churn",
        toml: "conns = 6\nlifetime = '2..6'\nreconnect = 4\nmessages = 6\nsize = '1..4KiB'\npipeline = 2\n\
               stall_timeout = '1200ms'",
        stream: 8_000,
        churns: true,
    },
];

/// The faults. `{n}` stands for the bytes of one connection divided by n.
pub(crate) const FAULTS: &[&str] = &[
    "flip:every={3}",
    "flip:n=3,every={3}",
    "zero:len=1,every={3}",
    "zero:len=40,every={3}",
    "drop:len=1,every={3}",
    "drop:len=3,every={3}",
    "drop:len=100,every={3}",
    "duplicate:len=1,every={3}",
    "duplicate:len=20,every={3}",
    "duplicate:len=100,every={3}",
    "reorder:len=20,every={3}",
    "reorder:len=100,every={3}",
    "crosstalk:len=20,every={3}",
    "crosstalk:len=100,every={3}",
    "crosstalk:len=100,every={3},mode=insert",
    "crosstalk:len=100,every={3},mode=move,p=0.5",
    "stale:len=1000,times=8",
    "stale:len=100,from=older,every={3}",
    "stale:len=100,from=older,every={3},mode=replace",
    "stale:len=100,from=closed,every={3}",
    "truncate:at={2}",
    "truncate:at={3}",
    "surplus:len=1",
    "surplus:len=40",
    "surplus:len=40,every={3}",
    "stall:at={2},p=0.5",
    "reset:at={2}",
    "no-fin:p=0.5",
    "fin-without-drain:time=20ms",
    "delay:time=4s,at={2},p=0.5",
];

/// Several kinds on one connection, for a load with room for them.
pub(crate) const MIXED: &[&str] = &[
    "flip:every=64KiB",
    "zero:len=50,every=64KiB",
    "drop:len=7,every=64KiB",
    "duplicate:len=30,every=64KiB",
    "crosstalk:len=64,every=64KiB",
    "stale:len=64,from=older,every=64KiB",
    "surplus:len=30,every=64KiB",
    "reorder:len=200,every=64KiB",
];

/// Faults of the server as a whole, which need connections that stay open.
pub(crate) const SERVER_FAULTS: &[&str] = &["one-at-a-time", "limit-2", "limit-64", "limit:n=64,beyond=queue"];

/// A load whose connections stay open until the run ends.
pub(crate) const STAYING: &str =
    "conns = 100\nmessages = 4\nsize = '1..2KiB'\nclose = 'keep'\nstall_timeout = '1200ms'\nconnect_timeout = '20s'";

/// Slow readers, behind which answers wait in the server.
const SLOW: &str = "conns = 4\nmessages = 4\nsize = '1MiB..4MiB'\nfragment = 'off'\nread = 'slow:8MiB/s'\n\
                    rcvbuf = '64KiB'\nstall_timeout = '1200ms'";

/// Connections with pauses.
const PAUSES: &str =
    "conns = 4\nmessages = 3\nsize = '1..4KiB'\nfragment = 'off'\ngap = '400ms'\nstall_timeout = '1200ms'";

/// Many connections that are busy at once.
const BUSY: &str = "conns = 200\nmessages = 20\nsize = '1..2KiB'\nstall_timeout = '1200ms'";

/// Connections one after the other.
const CHURN: &str =
    "conns = 4\nlifetime = 1\nreconnect = 5\nsize = '1..2KiB'\nclose = 'after-echo'\nstall_timeout = '1200ms'";

/// Faults of a connection's socket or time, each with a name for the load that brings it out, and that load.
pub(crate) const CONNECTION_FAULTS: &[(&str, &str, &str)] = &[
    ("lost-wakeup", "slow readers", SLOW),
    ("lockup", "slow readers", SLOW),
    ("short-send", "slow readers", SLOW),
    ("idle-drop:after=150ms", "pauses", PAUSES),
    ("busy-writers:n=16", "busy at once", BUSY),
    ("slot-leak:n=12", "one after the other", CHURN),
    ("telnet:what=nul,p=0.02", "ping-pong", LOADS[1].toml),
    ("telnet:what=iac,p=0.02", "ping-pong", LOADS[1].toml),
    ("telnet:what=double,p=0.02", "ping-pong", LOADS[1].toml),
    ("telnet:what=xon,p=0.02", "ping-pong", LOADS[1].toml),
    ("reset-at-end", "ping-pong", LOADS[1].toml),
];

/// The fault of a template, for this load.
pub(crate) fn fault(template: &str, load: &Load) -> Fault {
    let mut spec = template.to_owned();
    for n in 2..=3 {
        spec = spec.replace(&format!("{{{n}}}"), &(load.stream / n).to_string());
    }
    spec.parse().unwrap_or_else(|error| panic!("{spec}: {error}"))
}
