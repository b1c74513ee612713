//! What a faulty server is told to do wrong: `kind:key=value,…`, as in `drop:len=3,at=65536,conn=7`.
//!
//! [`TABLE`] says which keys each kind takes; parsing, printing, help and errors all follow from it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::text::text_form;
use crate::units::{Bytes, Count, Time};

/// The most bytes that one fault touches: it may have to keep a copy of them.
const MAX_LEN: u64 = 1 << 20;
/// In millionths, the finest probability.
const CERTAIN: u32 = 1_000_000;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Different bits of one byte are inverted.
    Flip,
    /// Bytes become zero.
    Zero,
    /// Bytes are left out.
    Drop,
    /// Bytes are sent twice in a row.
    Duplicate,
    /// Bytes are sent after as many that follow them.
    Reorder,
    /// Bytes that another open connection sent.
    Crosstalk,
    /// Old bytes.
    Stale,
    /// FIN too early.
    Truncate,
    /// Bytes that nobody sent.
    Surplus,
    /// Nothing is sent any more.
    Stall,
    /// Reset.
    Reset,
    /// The client's FIN is never answered.
    NoFin,
    /// The client's FIN is answered at once, and what was not sent back yet never is.
    FinWithoutDrain,
    /// One connection is served after the other has ended.
    OneAtATime,
    /// So many connections are served, further ones are ignored or wait for their turn.
    Limit,
    /// Nothing is sent for a while.
    Delay,
}

/// What may follow the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// How many bytes.
    Len,
    /// How many bits, or connections.
    N,
    /// How long.
    Time,
    /// Where old bytes come from.
    From,
    /// What foreign bytes do.
    Mode,
    /// What becomes of connections beyond a limit.
    Beyond,
    /// Offset in what the server received on the connection.
    At,
    /// One in each so many bytes.
    Every,
    /// At most so many on each connection.
    Times,
    /// The probability of each.
    P,
    /// On this connection alone.
    Conn,
}

const KEYS: &[(&str, Key, &str)] = &[
    ("len", Key::Len, "len=64"),
    ("n", Key::N, "n=2"),
    ("time", Key::Time, "time=200ms"),
    ("from", Key::From, "from=buffer|older|closed"),
    ("mode", Key::Mode, "mode=replace|insert|move"),
    ("beyond", Key::Beyond, "beyond=ignore|queue"),
    ("at", Key::At, "at=64KiB"),
    ("every", Key::Every, "every=1MiB"),
    ("times", Key::Times, "times=3"),
    ("p", Key::P, "p=0.5"),
    ("conn", Key::Conn, "conn=7"),
];

/// How old bytes come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// After each receive all of a fixed buffer is sent that was ever filled, not only what was received.
    Buffer,
    /// From an older place of the same connection.
    Older,
    /// From a connection that is closed.
    Closed,
}

/// What foreign bytes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They come in place of as many of the connection's own, as when a buffer is reused too early.
    Replace,
    /// They come in between.
    Insert,
    /// Crosstalk only: the connection's own bytes go to another one instead, which gets them in between.
    Move,
}

/// What becomes of connections beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// They are never served, as with a table that is full.
    Ignore,
    /// They are served when others have ended, as with a pool of threads.
    Queue,
}

const ORIGINS: &[(&str, Origin)] = &[("buffer", Origin::Buffer), ("older", Origin::Older), ("closed", Origin::Closed)];
const MODES: &[(&str, Mode)] = &[("replace", Mode::Replace), ("insert", Mode::Insert), ("move", Mode::Move)];
const BEYOND: &[(&str, Beyond)] = &[("ignore", Beyond::Ignore), ("queue", Beyond::Queue)];

/// One row of [`TABLE`].
pub struct Row {
    /// The kind.
    pub kind: FaultKind,
    /// Its name in specs, in the log and in JSON.
    pub name: &'static str,
    /// What happens, in one line.
    pub about: &'static str,
    /// What may follow the name.
    pub keys: &'static [Key],
    /// `len`, if the kind takes it and it is not given.
    len: u64,
    /// The same for `n`.
    n: u64,
    /// The same for `time`.
    time: Duration,
}

/// A row of which nothing has a default.
const PLAIN: Row = Row { kind: FaultKind::Stall, name: "", about: "", keys: &[], len: 0, n: 0, time: Duration::ZERO };
const ONCE: &[Key] = &[Key::At, Key::P, Key::Conn];
const AT_END: &[Key] = &[Key::P, Key::Conn];
const WITH_LEN: &[Key] = &[Key::Len, Key::At, Key::Every, Key::Times, Key::P, Key::Conn];

/// Every fault.
pub static TABLE: &[Row] = &[
    Row {
        kind: FaultKind::Flip,
        name: "flip",
        about: "inverts n different bits of one byte",
        keys: &[Key::N, Key::At, Key::Every, Key::Times, Key::P, Key::Conn],
        n: 1,
        ..PLAIN
    },
    Row { kind: FaultKind::Zero, name: "zero", about: "sets len bytes to zero", keys: WITH_LEN, len: 16, ..PLAIN },
    Row { kind: FaultKind::Drop, name: "drop", about: "leaves len bytes out", keys: WITH_LEN, len: 1, ..PLAIN },
    Row {
        kind: FaultKind::Duplicate,
        name: "duplicate",
        about: "sends len bytes twice in a row",
        keys: WITH_LEN,
        len: 64,
        ..PLAIN
    },
    Row {
        kind: FaultKind::Reorder,
        name: "reorder",
        about: "sends len bytes after the len bytes that follow them",
        keys: WITH_LEN,
        len: 64,
        ..PLAIN
    },
    Row {
        kind: FaultKind::Crosstalk,
        name: "crosstalk",
        about: "sends len bytes that another open connection sent, in place of the own ones (mode=replace), in between \
                (insert), or sends len own bytes to another connection instead (move)",
        keys: &[Key::Len, Key::Mode, Key::At, Key::Every, Key::Times, Key::P, Key::Conn],
        len: 512,
        ..PLAIN
    },
    Row {
        kind: FaultKind::Stale,
        name: "stale",
        about: "sends old bytes: after each receive all that is in a fixed buffer of len bytes (from=buffer), or len bytes \
                from an older place (older) or from a closed connection (closed)",
        keys: &[Key::Len, Key::From, Key::Mode, Key::At, Key::Every, Key::Times, Key::P, Key::Conn],
        len: 4096,
        ..PLAIN
    },
    Row { kind: FaultKind::Truncate, name: "truncate", about: "sends the FIN before the byte at", keys: ONCE, ..PLAIN },
    Row {
        kind: FaultKind::Surplus,
        name: "surplus",
        about: "sends len bytes that nobody sent, after the last byte or at a place",
        keys: WITH_LEN,
        len: 16,
        ..PLAIN
    },
    Row { kind: FaultKind::Stall, name: "stall", about: "sends nothing from the byte at on", keys: ONCE, ..PLAIN },
    Row { kind: FaultKind::Reset, name: "reset", about: "resets before the byte at", keys: ONCE, ..PLAIN },
    Row {
        kind: FaultKind::NoFin,
        name: "no-fin",
        about: "echoes everything and never answers the FIN",
        keys: AT_END,
        ..PLAIN
    },
    Row {
        kind: FaultKind::FinWithoutDrain,
        name: "fin-without-drain",
        about: "answers the FIN at once, without what was not sent back yet; holds each echo back for time, so that there \
                is some",
        keys: &[Key::Time, Key::P, Key::Conn],
        time: Duration::from_millis(5),
        ..PLAIN
    },
    Row { kind: FaultKind::OneAtATime, name: "one-at-a-time", about: "serves one connection after the other", ..PLAIN },
    Row {
        kind: FaultKind::Limit,
        name: "limit",
        about: "serves n connections at a time (also limit-64), ignores those that come beyond or, with beyond=queue, \
                serves them in their turn",
        keys: &[Key::N, Key::Beyond],
        n: 64,
        ..PLAIN
    },
    Row {
        kind: FaultKind::Delay,
        name: "delay",
        about: "sends nothing for time",
        keys: &[Key::Time, Key::At, Key::Every, Key::Times, Key::P, Key::Conn],
        time: Duration::from_millis(200),
        ..PLAIN
    },
];

impl FaultKind {
    /// Its row.
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.kind == self).expect("the table holds every kind: a test walks it")
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

impl Row {
    /// How it is written, every key with an example: `drop[:len=64,at=64KiB,…]`.
    pub fn form(&self) -> String {
        let keys: Vec<_> = KEYS.iter().filter(|(_, key, _)| self.takes(*key)).map(|(_, _, form)| *form).collect();
        if keys.is_empty() { self.name.to_owned() } else { format!("{}[:{}]", self.name, keys.join(",")) }
    }

    fn takes(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }
}

/// One fault as it was asked for. Fields that its kind does not take hold their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is done wrong.
    pub kind: FaultKind,
    /// Bytes that one fault touches; for `stale:from=buffer` the size of the buffer.
    pub len: u64,
    /// Bits, or connections.
    pub n: u64,
    /// How long.
    pub time: Duration,
    /// Where old bytes come from.
    pub from: Origin,
    /// What foreign bytes do.
    pub mode: Mode,
    /// What becomes of connections beyond a limit.
    pub beyond: Beyond,
    /// Offset in what the server received on the connection.
    pub at: Option<u64>,
    /// One in each so many bytes, at a place that the seed draws; from `at` on if that is given.
    pub every: Option<u64>,
    /// At most so many on each connection.
    pub times: Option<u64>,
    /// The probability of each, in millionths.
    pub millionths: u32,
    /// On this connection alone.
    pub conn: Option<u64>,
}

/// Why a fault could not be read: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl Fault {
    fn of(row: &Row) -> Fault {
        let places_old_bytes = row.kind == FaultKind::Stale;
        Fault {
            kind: row.kind,
            len: row.len,
            n: row.n,
            time: row.time,
            from: Origin::Buffer,
            mode: if places_old_bytes { Mode::Insert } else { Mode::Replace },
            beyond: Beyond::Ignore,
            at: None,
            every: None,
            times: None,
            millionths: CERTAIN,
            conn: None,
        }
    }

    /// Whether it has a place in the stream, so that `at` or `every` mean something.
    pub fn is_placed(&self) -> bool {
        let at_the_end = self.kind == FaultKind::Surplus && self.at.is_none() && self.every.is_none();
        self.kind.row().takes(Key::At) && !at_the_end && !self.is_whole_buffer()
    }

    /// Whether it sends the whole of a fixed buffer after each receive.
    pub fn is_whole_buffer(&self) -> bool {
        self.kind == FaultKind::Stale && self.from == Origin::Buffer
    }

    /// Whether it ends the connection, so that there can be one only.
    pub fn is_final(&self) -> bool {
        matches!(self.kind, FaultKind::Truncate | FaultKind::Stall | FaultKind::Reset)
    }

    /// How many connections are served at a time while the others wait for their turn, if it is that.
    pub fn turns(&self) -> Option<u64> {
        match (self.kind, self.beyond) {
            (FaultKind::OneAtATime, _) => Some(1),
            (FaultKind::Limit, Beyond::Queue) => Some(self.n),
            _ => None,
        }
    }

    /// How many bytes from its place on it concerns at most.
    pub fn reach(&self) -> u64 {
        match self.kind {
            FaultKind::Flip => 1,
            FaultKind::Reorder => 2 * self.len,
            _ => self.len,
        }
    }

    fn set(&mut self, key: Key, value: &str) -> Result<(), FaultError> {
        match key {
            Key::Len => self.len = bytes(value, 1, MAX_LEN)?,
            Key::N => {
                let most = if self.kind == FaultKind::Flip { 8 } else { u64::from(u32::MAX) };
                self.n = count(value, 1, most)?;
            }
            Key::Time => self.time = value.parse::<Time>().map_err(|error| FaultError(error.to_string()))?.0,
            Key::From => self.from = word(value, ORIGINS)?,
            Key::Mode => self.mode = word(value, MODES)?,
            Key::Beyond => self.beyond = word(value, BEYOND)?,
            Key::At => self.at = Some(bytes(value, 0, 1 << 43)?),
            Key::Every => self.every = Some(bytes(value, 1, 1 << 43)?),
            Key::Times => self.times = Some(count(value, 1, u64::MAX)?),
            Key::P => self.millionths = probability(value)?,
            Key::Conn => self.conn = Some(count(value, 0, u64::from(u32::MAX))?),
        }
        Ok(())
    }

    /// What single keys can't tell.
    fn check(&self) -> Result<(), FaultError> {
        if self.is_whole_buffer() && (self.at.is_some() || self.every.is_some()) {
            return Err(FaultError(
                "stale:from=buffer happens at each receive: at and every go with from=older or closed".into(),
            ));
        }
        if self.kind == FaultKind::Stale && self.mode == Mode::Move {
            return Err(FaultError("old bytes are not moved: mode=move goes with crosstalk".into()));
        }
        let least = 4 * self.reach();
        match self.every {
            Some(every) if every < least => Err(FaultError(format!(
                "every={} is too close for len={}: the least is every={}",
                Bytes(every),
                Bytes(self.len),
                Bytes(least)
            ))),
            _ => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let text = text.trim();
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let (row, n) = find(name)?;
        let mut fault = Fault::of(row);
        if let Some(n) = n {
            fault.set(Key::N, n)?;
        }
        let mut seen = Vec::new();
        for pair in rest.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(FaultError(format!("'{pair}' has no '=': write {}", row.form())));
            };
            let known = KEYS.iter().find(|(name, ..)| *name == key.trim()).map(|(_, key, _)| *key);
            let Some(known) = known.filter(|key| row.takes(*key)) else {
                return Err(FaultError(format!("{name} takes no '{key}': write {}", row.form())));
            };
            if seen.contains(&known) {
                return Err(FaultError(format!("'{key}' is given twice")));
            }
            seen.push(known);
            fault.set(known, value.trim()).map_err(|FaultError(why)| FaultError(format!("{key}={value}: {why}")))?;
        }
        fault.check()?;
        Ok(fault)
    }
}

/// The row of this name; `limit-64` is `limit` with `n=64`.
fn find(name: &str) -> Result<(&'static Row, Option<&str>), FaultError> {
    let name = name.trim();
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        return Ok((row, None));
    }
    if let Some(n) = name.strip_prefix("limit-") {
        return Ok((FaultKind::Limit.row(), Some(n)));
    }
    let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    Err(FaultError(format!("'{name}' is no fault: write one of {}", names.join(", "))))
}

fn bytes(value: &str, least: u64, most: u64) -> Result<u64, FaultError> {
    let Bytes(bytes) = value.parse().map_err(|error: crate::units::ParseError| FaultError(error.to_string()))?;
    within(bytes, least, most).ok_or_else(|| FaultError(format!("write {} to {}", Bytes(least), Bytes(most))))
}

fn count(value: &str, least: u64, most: u64) -> Result<u64, FaultError> {
    let Count(count) = value.parse().map_err(|error: crate::units::ParseError| FaultError(error.to_string()))?;
    within(count, least, most).ok_or_else(|| FaultError(format!("write {least} to {most}")))
}

fn within(value: u64, least: u64, most: u64) -> Option<u64> {
    (least..=most).contains(&value).then_some(value)
}

fn probability(value: &str) -> Result<u32, FaultError> {
    let millionths = value.parse::<f64>().ok().map(|p| (p * f64::from(CERTAIN)).round());
    match millionths {
        Some(millionths) if (1.0..=f64::from(CERTAIN)).contains(&millionths) => Ok(millionths as u32),
        _ => Err(FaultError("write a probability above 0 and up to 1, such as 0.5".into())),
    }
}

fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, FaultError> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        FaultError(format!("write {}", words.join(" or ")))
    })
}

fn word_of<T: PartialEq>(meaning: &T, words: &'static [(&str, T)]) -> &'static str {
    words.iter().find(|(_, known)| known == meaning).expect("the lists of words are whole").0
}

impl fmt::Display for Fault {
    /// The normal form: what differs from the default, in the order of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.kind.row();
        let default = Fault::of(row);
        let mut separator = ':';
        f.write_str(row.name)?;
        for (name, key, _) in KEYS.iter().filter(|(_, key, _)| row.takes(*key)) {
            let value = match key {
                Key::Len => (self.len != default.len).then(|| Bytes(self.len).to_string()),
                Key::N => (self.n != default.n || self.kind == FaultKind::Limit).then(|| self.n.to_string()),
                Key::Time => (self.time != default.time).then(|| Time(self.time).to_string()),
                Key::From => (self.from != default.from).then(|| word_of(&self.from, ORIGINS).to_owned()),
                Key::Mode => (self.mode != default.mode).then(|| word_of(&self.mode, MODES).to_owned()),
                Key::Beyond => (self.beyond != default.beyond).then(|| word_of(&self.beyond, BEYOND).to_owned()),
                Key::At => self.at.map(|at| Bytes(at).to_string()),
                Key::Every => self.every.map(|every| Bytes(every).to_string()),
                Key::Times => self.times.map(|times| times.to_string()),
                Key::P => (self.millionths != CERTAIN).then(|| (f64::from(self.millionths) / 1e6).to_string()),
                Key::Conn => self.conn.map(|conn| conn.to_string()),
            };
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = ',';
            }
        }
        Ok(())
    }
}

text_form!(
    Fault,
    "Fault",
    "something that a server does wrong on purpose, such as drop:len=3,at=65536,conn=7 or flip:every=1MiB",
    r"^\s*[a-z][a-z0-9-]*\s*(:.*)?$",
    ["flip:every=1MiB", "drop:len=3,at=65536,conn=7", "crosstalk:every=200KiB", "stale", "limit-64", "reset:p=0.1"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::Examples;

    fn error(text: &str) -> String {
        text.parse::<Fault>().expect_err(text).to_string()
    }

    #[test]
    fn every_kind_stands_once_in_the_table_under_the_name_that_json_uses() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, number, "in the order of the enum, hence each once");
            assert_eq!(serde_json::to_value(row.kind).expect("a unit variant"), row.name);
            assert!(row.about.len() > 10, "{}: {}", row.name, row.about);
            assert_eq!(row.takes(Key::Len), row.len > 0, "{}: a len where there is one", row.name);
            assert_eq!(row.takes(Key::Time), !row.time.is_zero(), "{}: a time where there is one", row.name);
            assert_eq!(row.takes(Key::N), row.n > 0, "{}: a number where there is one", row.name);
        }
        assert_eq!(FaultKind::Delay as usize + 1, TABLE.len(), "the last of the enum is the last of the table");
    }

    #[test]
    fn every_kind_alone_and_with_every_key_that_it_takes_survives_printing() {
        for row in TABLE {
            let bare: Fault = row.name.parse().expect(row.name);
            assert_eq!(bare.to_string().parse::<Fault>().expect(row.name), bare, "{bare}");
            for (_, key, form) in KEYS.iter().filter(|(_, key, _)| row.takes(*key)) {
                // The forms list alternatives after the first; each must do, or say why not.
                let (name, values) = form.split_once('=').expect("key=value");
                for value in values.split('|') {
                    let text = format!("{}:{name}={value}", row.name);
                    let Ok(fault) = text.parse::<Fault>() else {
                        assert!(row.kind == FaultKind::Stale, "{key:?}: {}", error(&text));
                        continue;
                    };
                    assert_eq!(fault.to_string().parse::<Fault>().expect(&text), fault, "{text} → {fault}");
                }
            }
        }
    }

    #[test]
    fn the_issues_examples_mean_what_they_say() {
        let drop: Fault = "drop:len=3,at=65536,conn=7".parse().expect("a fault");
        assert_eq!((drop.len, drop.at, drop.conn, drop.every), (3, Some(65536), Some(7), None));
        assert_eq!(drop.to_string(), "drop:len=3,at=64KiB,conn=7");
        let flip: Fault = "flip:every=1MiB".parse().expect("a fault");
        assert_eq!((flip.n, flip.every), (1, Some(1 << 20)));
        let limit: Fault = "limit-64".parse().expect("a fault");
        assert_eq!(limit, "limit:n=64".parse().expect("the same"));
        assert_eq!((limit.to_string().as_str(), limit.turns()), ("limit:n=64", None));
        let queue: Fault = "limit:beyond=queue,n=4".parse().expect("a fault");
        assert_eq!((queue.to_string().as_str(), queue.turns()), ("limit:n=4,beyond=queue", Some(4)));
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_to_write() {
        assert_eq!(
            error("flop"),
            "'flop' is no fault: write one of flip, zero, drop, duplicate, reorder, crosstalk, stale, truncate, surplus, \
             stall, reset, no-fin, fin-without-drain, one-at-a-time, limit, delay"
        );
        assert_eq!(error("no-fin:at=5"), "no-fin takes no 'at': write no-fin[:p=0.5,conn=7]");
        assert_eq!(error("one-at-a-time:n=5"), "one-at-a-time takes no 'n': write one-at-a-time");
        assert_eq!(error("limit:beyond=refuse"), "beyond=refuse: write ignore or queue");
        assert_eq!(error("reset:at"), "'at' has no '=': write reset[:at=64KiB,p=0.5,conn=7]");
        assert_eq!(error("reset:at=1,at=2"), "'at' is given twice");
        assert_eq!(error("drop:len=0"), "len=0: write 1 to 1MiB");
        assert_eq!(error("drop:len=100,every=200"), "every=200 is too close for len=100: the least is every=400");
        assert_eq!(error("flip:n=9"), "n=9: write 1 to 8");
        assert_eq!(error("flip:p=0"), "p=0: write a probability above 0 and up to 1, such as 0.5");
        assert_eq!(error("stale:from=hell"), "from=hell: write buffer or older or closed");
        assert!(error("delay:time=5").starts_with("time=5: 5 has no unit"), "{}", error("delay:time=5"));
        assert!(error("stale:at=5").contains("from=older"), "{}", error("stale:at=5"));
        assert!(error("stale:from=older,mode=move").contains("crosstalk"));
    }

    #[test]
    fn the_examples_of_the_schema_parse() {
        for example in Fault::EXAMPLES {
            assert!(example.parse::<Fault>().is_ok(), "{example}");
        }
    }
}
