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
    /// Stops for good when a write blocks that had blocked and drained before.
    LostWakeup,
    /// Closes some time after the client's FIN, flushed or not.
    CloseTimer,
    /// Passes the FIN on while bytes still wait to be sent.
    EarlyFin,
    /// Serves no connection after the first ones: each leaves a slot behind.
    SlotLeak,
    /// Forgets a connection that was idle.
    IdleDrop,
    /// Stops in both directions when its buffer is full.
    Lockup,
    /// Resets every connection when a client resets one.
    SessionReset,
    /// Drops what a short send did not take.
    ShortSend,
    /// Sends very slowly.
    Trickle,
    /// Takes an urgent byte for the end, or drops what came before it.
    UrgentCut,
    /// Stops serving some connections when many have something to send at once.
    BusyWriters,
    /// Treats the bytes as those of a terminal.
    Telnet,
    /// Takes the news of the client's FIN for the end, whatever is still unread.
    Rdhup,
    /// Answers the client's FIN with a reset.
    ResetAtEnd,
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
    /// The time until something is closed or forgotten.
    After,
    /// Bytes per second.
    Rate,
    /// Where old bytes come from.
    From,
    /// Whether foreign bytes replace others, are inserted or are moved.
    Mode,
    /// Whether connections beyond a limit are ignored or wait.
    Beyond,
    /// What ends the silence of a connection whose wake-up was lost.
    Until,
    /// What an idle connection meets.
    Then,
    /// What an urgent byte cuts.
    Cuts,
    /// Which bytes a terminal does not pass.
    What,
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
    (FaultKey::After, "after", "after=1s"),
    (FaultKey::Rate, "rate", "rate=64KiB/s"),
    (FaultKey::From, "from", "from=buffer|older|closed"),
    (FaultKey::Mode, "mode", "mode=replace|insert|move"),
    (FaultKey::Beyond, "beyond", "beyond=ignore|queue"),
    (FaultKey::Until, "until", "until=never|input"),
    (FaultKey::Then, "then", "then=silence|reset"),
    (FaultKey::Cuts, "cuts", "cuts=connection|pending"),
    (FaultKey::What, "what", "what=nul|iac|double|xon"),
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
    /// The same for `time` or `after`.
    pub(super) time: Duration,
    /// The same for `rate`, in bytes per second.
    pub(super) rate: u64,
}

/// A row without defaults, for the fields that a row does not name.
const PLAIN: FaultRow =
    FaultRow { kind: FaultKind::Stall, name: "", about: "", keys: &[], len: 0, n: 0, time: Duration::ZERO, rate: 0 };
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
    FaultRow {
        kind: FaultKind::LostWakeup,
        name: "lost-wakeup",
        about: "does not arm the socket again when a write blocks after n that had blocked and were drained: it is never \
                served again, or (until=input) only when more bytes come",
        keys: &[FaultKey::N, FaultKey::Until, FaultKey::P, FaultKey::Conn],
        n: 1,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::CloseTimer,
        name: "close-timer",
        about: "closes the connection a time after the client's FIN, even if echo is unsent",
        keys: &[FaultKey::After, FaultKey::P, FaultKey::Conn],
        time: Duration::from_secs(1),
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::EarlyFin,
        name: "early-fin",
        about: "passes the client's FIN on while echo is still in the pipe, and drops that echo",
        keys: AT_END,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::SlotLeak,
        name: "slot-leak",
        about: "leaks a slot with each connection: after n in total none is served",
        keys: &[FaultKey::N],
        n: 1024,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::IdleDrop,
        name: "idle-drop",
        about: "forgets a connection that was idle for that time: it never answers again, or (then=reset) resets the \
                connection at the next byte",
        keys: &[FaultKey::After, FaultKey::Then, FaultKey::P, FaultKey::Conn],
        time: Duration::from_secs(12),
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Lockup,
        name: "lockup",
        about: "locks up in both directions when more bytes come while len bytes wait and can't be sent",
        keys: &[FaultKey::Len, FaultKey::P, FaultKey::Conn],
        len: 64 << 10,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::SessionReset,
        name: "session-reset",
        about: "resets every connection when a client resets one",
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::ShortSend,
        name: "short-send",
        about: "ignores the count of a short send: what it did not take is lost",
        keys: AT_END,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Trickle,
        name: "trickle",
        about: "answers at this rate: one byte a second unless it is given",
        keys: &[FaultKey::Rate, FaultKey::P, FaultKey::Conn],
        rate: 1,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::UrgentCut,
        name: "urgent-cut",
        about: "takes an urgent byte for the end of the connection, or (cuts=pending) drops what it holds and what it \
                receives next",
        keys: &[FaultKey::Cuts, FaultKey::P, FaultKey::Conn],
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::BusyWriters,
        name: "busy-writers",
        about: "clears the write interest of a connection when n others have something to send: it is never served \
                again, or (until=input) only when more bytes come",
        keys: &[FaultKey::N, FaultKey::Until],
        n: 64,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Telnet,
        name: "telnet",
        about: "treats the bytes as a terminal's: drops NUL (what=nul), takes 0xFF for the start of a command (iac), \
                doubles 0xFF (double), or drops XON and XOFF (xon)",
        keys: &[FaultKey::What, FaultKey::P, FaultKey::Conn],
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::Rdhup,
        name: "rdhup",
        about: "takes the news of the client's FIN for the end: receives at most len bytes more, and closes",
        keys: &[FaultKey::Len, FaultKey::P, FaultKey::Conn],
        len: 2048,
        ..PLAIN
    },
    FaultRow {
        kind: FaultKind::ResetAtEnd,
        name: "reset-at-end",
        about: "echoes everything and answers the FIN with a reset",
        keys: AT_END,
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
            let takes_a_time = row.takes(FaultKey::Time) || row.takes(FaultKey::After);
            assert_eq!(takes_a_time, !row.time.is_zero(), "{name} takes time or after if and only if it has a default");
            assert_eq!(row.takes(FaultKey::Rate), row.rate > 0, "{name} takes rate if and only if it has a default");
            assert_eq!(row.takes(FaultKey::N), row.n > 0, "{name} takes n if and only if it has a default");
        }
        assert_eq!(FaultKind::ResetAtEnd as usize + 1, FAULT_TABLE.len(), "the last kind has the last row");
    }
}
