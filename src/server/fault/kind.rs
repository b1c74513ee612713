//! The kinds of fault that a server can inject, and the keys that each kind takes.
//!
//! [`FAULT_TABLE`] is the one list: parsing, printing, help and errors all follow from it.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Inverts bits of one byte.
    Flip,
    /// Sets bytes to zero.
    Zero,
    /// Drops bytes.
    Drop,
    /// Sends bytes twice in a row.
    Duplicate,
    /// Sends bytes after the ones that follow them.
    Reorder,
    /// Sends bytes of another open connection.
    Crosstalk,
    /// Sends old bytes.
    Stale,
    /// Sends the FIN too early.
    Truncate,
    /// Sends bytes that no client sent.
    Surplus,
    /// Stops sending for good.
    Stall,
    /// Resets the connection.
    Reset,
    /// Never answers the client's FIN.
    NoFin,
    /// Answers the client's FIN at once, and never sends what was not sent back yet.
    FinWithoutDrain,
    /// Serves one connection at a time.
    OneAtATime,
    /// Serves a number of connections at a time; further ones are ignored or wait.
    Limit,
    /// Sends nothing for a while.
    Delay,
}

/// A key of a fault spec, which may follow the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKey {
    /// A number of bytes.
    Len,
    /// A number of bits, or of connections.
    N,
    /// A duration.
    Time,
    /// Where old bytes come from.
    From,
    /// Whether foreign bytes replace others, are inserted or are moved.
    Mode,
    /// Whether connections beyond a limit are ignored or wait.
    Beyond,
    /// An offset in the bytes that the server received on the connection.
    At,
    /// The length of an interval, each of which holds one place.
    Every,
    /// The most times that the fault happens on one connection.
    Times,
    /// The probability of each place, or of each connection.
    P,
    /// The only connection that is hit.
    Conn,
}

/// Every key with its name and an example, in the order of the normal form.
pub(super) const FAULT_KEYS: &[(FaultKey, &str, &str)] = &[
    (FaultKey::Len, "len", "len=64"),
    (FaultKey::N, "n", "n=2"),
    (FaultKey::Time, "time", "time=200ms"),
    (FaultKey::From, "from", "from=buffer|older|closed"),
    (FaultKey::Mode, "mode", "mode=replace|insert|move"),
    (FaultKey::Beyond, "beyond", "beyond=ignore|queue"),
    (FaultKey::At, "at", "at=64KiB"),
    (FaultKey::Every, "every", "every=1MiB"),
    (FaultKey::Times, "times", "times=3"),
    (FaultKey::P, "p", "p=0.5"),
    (FaultKey::Conn, "conn", "conn=7"),
];

/// One row of [`FAULT_TABLE`].
pub struct FaultRow {
    /// The kind.
    pub kind: FaultKind,
    /// Its name in specs, in the log and in JSON.
    pub name: &'static str,
    /// Its effect, in one line.
    pub about: &'static str,
    /// The keys that may follow the name.
    pub keys: &'static [FaultKey],
    /// The default of `len`; 0 if the kind does not take it.
    pub(super) len: u64,
    /// The same for `n`.
    pub(super) n: u64,
    /// The same for `time`.
    pub(super) time: Duration,
}

/// A row without defaults, for the fields that a row does not name.
const PLAIN: FaultRow =
    FaultRow { kind: FaultKind::Stall, name: "", about: "", keys: &[], len: 0, n: 0, time: Duration::ZERO };
const ONCE: &[FaultKey] = &[FaultKey::At, FaultKey::P, FaultKey::Conn];
const AT_END: &[FaultKey] = &[FaultKey::P, FaultKey::Conn];
const WITH_LEN: &[FaultKey] =
    &[FaultKey::Len, FaultKey::At, FaultKey::Every, FaultKey::Times, FaultKey::P, FaultKey::Conn];

/// Every kind, in the order of the enum.
pub static FAULT_TABLE: &[FaultRow] = &[
    FaultRow {
        kind: FaultKind::Flip,
        name: "flip",
        about: "inverts n different bits of one byte",
        keys: &[FaultKey::N, FaultKey::At, FaultKey::Every, FaultKey::Times, FaultKey::P, FaultKey::Conn],
        n: 1,
        ..PLAIN
    },
    FaultRow { kind: FaultKind::Zero, name: "zero", about: "sets len bytes to zero", keys: WITH_LEN, len: 16, ..PLAIN },
    FaultRow { kind: FaultKind::Drop, name: "drop", about: "drops len bytes", keys: WITH_LEN, len: 1, ..PLAIN },
    FaultRow {
        kind: FaultKind::Duplicate,
        name: "duplicate",
        about: "sends len bytes twice in a row",
        keys: WITH_LEN,
        len: 64,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Reorder,
        name: "reorder",
        about: "sends len bytes after the len bytes that follow them",
        keys: WITH_LEN,
        len: 64,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Crosstalk,
        name: "crosstalk",
        about: "sends len bytes of another open connection in place of its own (mode=replace) or between them (insert), or \
                moves len of its own bytes to another connection (move)",
        keys: &[
            FaultKey::Len,
            FaultKey::Mode,
            FaultKey::At,
            FaultKey::Every,
            FaultKey::Times,
            FaultKey::P,
            FaultKey::Conn,
        ],
        len: 512,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Stale,
        name: "stale",
        about: "sends old bytes: after each receive the whole content of a fixed buffer of len bytes (from=buffer), or len \
                bytes from earlier in the stream (older) or from a closed connection (closed)",
        keys: &[
            FaultKey::Len,
            FaultKey::From,
            FaultKey::Mode,
            FaultKey::At,
            FaultKey::Every,
            FaultKey::Times,
            FaultKey::P,
            FaultKey::Conn,
        ],
        len: 4096,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Truncate,
        name: "truncate",
        about: "sends the FIN before byte at",
        keys: ONCE,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Surplus,
        name: "surplus",
        about: "sends len bytes that no client sent, after the last byte or at the offset that at names",
        keys: WITH_LEN,
        len: 16,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Stall,
        name: "stall",
        about: "stops sending at the offset that at names",
        keys: ONCE,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Reset,
        name: "reset",
        about: "resets the connection before byte at",
        keys: ONCE,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::NoFin,
        name: "no-fin",
        about: "echoes everything and never answers the FIN",
        keys: AT_END,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::FinWithoutDrain,
        name: "fin-without-drain",
        about: "answers the FIN at once, and drops the echo that is unsent; each echo is delayed by time, so that there \
                is some",
        keys: &[FaultKey::Time, FaultKey::P, FaultKey::Conn],
        time: Duration::from_millis(5),
        ..PLAIN
    },
    FaultRow { kind: FaultKind::OneAtATime, name: "one-at-a-time", about: "serves one connection at a time", ..PLAIN },
    FaultRow {
        kind: FaultKind::Limit,
        name: "limit",
        about: "serves n connections at a time (also limit-64); ignores further ones or, with beyond=queue, lets them wait",
        keys: &[FaultKey::N, FaultKey::Beyond],
        n: 64,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Delay,
        name: "delay",
        about: "sends nothing for time",
        keys: &[FaultKey::Time, FaultKey::At, FaultKey::Every, FaultKey::Times, FaultKey::P, FaultKey::Conn],
        time: Duration::from_millis(200),
        ..PLAIN
    },
];

impl FaultKind {
    /// Its row.
    pub fn row(self) -> &'static FaultRow {
        FAULT_TABLE.iter().find(|row| row.kind == self).expect("the table holds every kind")
    }

    /// `flip`, `no-fin` …
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FaultRow {
    /// The form of a spec, with an example of every key: `drop[:len=64,at=64KiB,…]`.
    pub fn form(&self) -> String {
        let keys: Vec<_> =
            FAULT_KEYS.iter().filter(|(key, ..)| self.takes(*key)).map(|(_, _, example)| *example).collect();
        if keys.is_empty() { self.name.to_owned() } else { format!("{}[:{}]", self.name, keys.join(",")) }
    }

    pub(super) fn takes(&self, key: FaultKey) -> bool {
        self.keys.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_with_the_name_that_json_uses() {
        for (number, row) in FAULT_TABLE.iter().enumerate() {
            let name = row.name;
            assert_eq!(row.kind as usize, number, "the rows follow the order of the enum");
            assert_eq!(serde_json::to_value(row.kind).expect("a unit variant is a JSON string"), name);
            assert!(row.about.len() > 10, "{name}: {}", row.about);
            assert_eq!(row.takes(FaultKey::Len), row.len > 0, "{name} takes len if and only if it has a default");
            assert_eq!(row.takes(FaultKey::Time), !row.time.is_zero(), "{name} takes time if it has a default");
            assert_eq!(row.takes(FaultKey::N), row.n > 0, "{name} takes n if and only if it has a default");
        }
        assert_eq!(FaultKind::Delay as usize + 1, FAULT_TABLE.len(), "the last kind has the last row");
    }
}
