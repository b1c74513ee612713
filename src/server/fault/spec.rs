//! One fault as it is requested: `kind:key=value,…`, such as `drop:len=3,at=65536,conn=7`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::choice::{
    AfterIdle, BEYOND, CUTS, MODES, ORIGINS, OverLimit, Placement, RULES, SilentUntil, StaleOrigin, THEN, TerminalRule,
    UNTIL, UrgentCut, keyword, keyword_for,
};
use super::kind::{FAULT_KEYS, FAULT_TABLE, FaultKey, FaultKind, FaultRow};
use crate::units::text::{Form, TextForm, text_form};
use crate::units::{ByteRate, Bytes, Count, ParseError, Time};

/// The most bytes that one fault concerns: it may have to keep a copy of them.
const MAX_LEN_BYTES: u64 = 1 << 20;
/// The greatest offset and the longest interval, in bytes.
const MAX_OFFSET_BYTES: u64 = 1 << 43;
/// The probability 1, in millionths.
const CERTAIN_MILLIONTHS: u32 = 1_000_000;

/// One fault as it was requested. Fields that its kind does not take hold their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// Bytes that it concerns at one place; for `stale:from=buffer` the size of the buffer.
    pub len: u64,
    /// A number of bits, or of connections.
    pub n: u64,
    /// A duration (`time` or `after`).
    pub time: Duration,
    /// Bytes per second.
    pub rate: u64,
    /// Where old bytes come from.
    pub from: StaleOrigin,
    /// Where foreign or old bytes go.
    pub mode: Placement,
    /// The fate of connections beyond a limit.
    pub beyond: OverLimit,
    /// What ends the silence of a connection whose wake-up was lost.
    pub until: SilentUntil,
    /// What an idle connection meets.
    pub then: AfterIdle,
    /// What an urgent byte cuts.
    pub cuts: UrgentCut,
    /// Which bytes a terminal layer does not pass.
    pub what: TerminalRule,
    /// Offset in the bytes that the server received on the connection.
    pub at: Option<u64>,
    /// The length of an interval, each of which holds one place that the seed draws; from `at` on if that is given.
    pub every: Option<u64>,
    /// The most times that it happens on one connection.
    pub times: Option<u64>,
    /// The probability of each place, or of each connection, in millionths.
    pub millionths: u32,
    /// The only connection that is hit.
    pub conn: Option<u64>,
}

impl Fault {
    fn of(row: &FaultRow) -> Fault {
        let places_old_bytes = row.kind == FaultKind::Stale;
        Fault {
            kind: row.kind,
            len: row.len,
            n: row.n,
            time: row.time,
            rate: row.rate,
            from: StaleOrigin::Buffer,
            mode: if places_old_bytes { Placement::Insert } else { Placement::Replace },
            beyond: OverLimit::Ignore,
            until: SilentUntil::Never,
            then: AfterIdle::Silence,
            cuts: UrgentCut::Connection,
            what: TerminalRule::Nul,
            at: None,
            every: None,
            times: None,
            millionths: CERTAIN_MILLIONTHS,
            conn: None,
        }
    }

    /// Whether it has a place in the stream, so that `at` and `every` apply.
    pub fn is_placed(&self) -> bool {
        let at_the_end = self.kind == FaultKind::Surplus && self.at.is_none() && self.every.is_none();
        self.kind.row().takes(FaultKey::At) && !at_the_end && !self.sends_whole_buffer()
    }

    /// Whether it sends the whole content of a fixed buffer after each receive.
    pub fn sends_whole_buffer(&self) -> bool {
        self.kind == FaultKind::Stale && self.from == StaleOrigin::Buffer
    }

    /// Whether it ends the connection, so that it can happen only once there.
    pub fn ends_connection(&self) -> bool {
        matches!(self.kind, FaultKind::Truncate | FaultKind::Stall | FaultKind::Reset)
    }

    /// How many connections are served at a time, if the fault makes further ones wait.
    pub fn queue_limit(&self) -> Option<u64> {
        match (self.kind, self.beyond) {
            (FaultKind::OneAtATime, _) => Some(1),
            (FaultKind::Limit, OverLimit::Queue) => Some(self.n),
            _ => None,
        }
    }

    /// The most bytes from its place on that it concerns.
    pub fn reach(&self) -> u64 {
        match self.kind {
            FaultKind::Flip => 1,
            FaultKind::Reorder => 2 * self.len,
            _ => self.len,
        }
    }

    fn set(&mut self, key: FaultKey, value: &str) -> Result<(), ParseError> {
        match key {
            FaultKey::Len => self.len = bytes(value, 1, MAX_LEN_BYTES)?,
            FaultKey::N => {
                let most = if self.kind == FaultKind::Flip { 8 } else { u64::from(u32::MAX) };
                self.n = count(value, 1, most)?;
            }
            FaultKey::Time | FaultKey::After => self.time = value.parse::<Time>()?.0,
            FaultKey::Rate => self.rate = value.parse::<ByteRate>()?.0,
            FaultKey::From => self.from = keyword(value, ORIGINS)?,
            FaultKey::Mode => self.mode = keyword(value, MODES)?,
            FaultKey::Beyond => self.beyond = keyword(value, BEYOND)?,
            FaultKey::Until => self.until = keyword(value, UNTIL)?,
            FaultKey::Then => self.then = keyword(value, THEN)?,
            FaultKey::Cuts => self.cuts = keyword(value, CUTS)?,
            FaultKey::What => self.what = keyword(value, RULES)?,
            FaultKey::At => self.at = Some(bytes(value, 0, MAX_OFFSET_BYTES)?),
            FaultKey::Every => self.every = Some(bytes(value, 1, MAX_OFFSET_BYTES)?),
            FaultKey::Times => self.times = Some(count(value, 1, u64::MAX)?),
            FaultKey::P => self.millionths = probability(value)?,
            FaultKey::Conn => self.conn = Some(count(value, 0, u64::from(u32::MAX))?),
        }
        Ok(())
    }

    /// Checks what no single key can tell.
    fn check(&self) -> Result<(), ParseError> {
        if self.sends_whole_buffer() && (self.at.is_some() || self.every.is_some()) {
            return Err(ParseError::new("stale:from=buffer happens at each receive, so it takes neither at nor every")
                .with_remedy("add from=older or from=closed"));
        }
        if self.kind == FaultKind::Stale && self.mode == Placement::Move {
            return Err(
                ParseError::new("mode=move is only for crosstalk").with_remedy("write mode=insert or mode=replace")
            );
        }
        let least = 4 * self.reach();
        match self.every {
            Some(every) if every < least => Err(ParseError::new(format!("every={} is too short", Bytes(every)))
                .with_remedy(format!("write at least every={}", Bytes(least)))),
            _ => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let (row, n) = find(name)?;
        let form = || format!("write {}", row.form());
        let mut fault = Fault::of(row);
        if let Some(n) = n {
            fault.set(FaultKey::N, n)?;
        }
        let mut seen = Vec::new();
        for pair in rest.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(ParseError::new(format!("'{pair}' has no '='")).with_remedy(form()));
            };
            let known = FAULT_KEYS.iter().find(|(_, known, _)| *known == name.trim()).map(|(key, ..)| *key);
            let Some(key) = known.filter(|key| row.takes(*key)) else {
                return Err(ParseError::new(format!("{} does not take '{name}'", row.name)).with_remedy(form()));
            };
            if seen.contains(&key) {
                return Err(ParseError::new(format!("'{name}' is given twice")).with_remedy("leave one of them out"));
            }
            seen.push(key);
            fault.set(key, value.trim()).map_err(|error| error.in_part(format!("{name}={value}")))?;
        }
        fault.check()?;
        Ok(fault)
    }
}

/// The row with this name; `limit-64` is `limit` with `n=64`.
fn find(name: &str) -> Result<(&'static FaultRow, Option<&str>), ParseError> {
    let name = name.trim();
    if let Some(row) = FAULT_TABLE.iter().find(|row| row.name == name) {
        return Ok((row, None));
    }
    if let Some(n) = name.strip_prefix("limit-") {
        return Ok((FaultKind::Limit.row(), Some(n)));
    }
    let names: Vec<_> = FAULT_TABLE.iter().map(|row| row.name).collect();
    Err(ParseError::new(format!("'{name}' is not a fault")).with_remedy(format!("write one of {}", names.join(", "))))
}

fn bytes(value: &str, least: u64, most: u64) -> Result<u64, ParseError> {
    let Bytes(bytes) = value.parse()?;
    within(bytes, least, most).ok_or_else(|| out_of_range(&Bytes(least), &Bytes(most)))
}

fn count(value: &str, least: u64, most: u64) -> Result<u64, ParseError> {
    let Count(count) = value.parse()?;
    within(count, least, most).ok_or_else(|| out_of_range(&least, &most))
}

fn within(value: u64, least: u64, most: u64) -> Option<u64> {
    (least..=most).contains(&value).then_some(value)
}

fn out_of_range(least: &dyn fmt::Display, most: &dyn fmt::Display) -> ParseError {
    ParseError::new("out of range").with_remedy(format!("write {least} to {most}"))
}

fn probability(value: &str) -> Result<u32, ParseError> {
    let millionths = value.parse::<f64>().ok().map(|p| (p * f64::from(CERTAIN_MILLIONTHS)).round());
    match millionths {
        Some(millionths) if (1.0..=f64::from(CERTAIN_MILLIONTHS)).contains(&millionths) => Ok(millionths as u32),
        _ => Err(ParseError::new("not a probability").with_remedy("write a number above 0 and up to 1, such as 0.5")),
    }
}

impl fmt::Display for Fault {
    /// The normal form: the values that differ from their defaults, in the order of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.kind.row();
        let default = Fault::of(row);
        let mut separator = ':';
        f.write_str(row.name)?;
        for (key, name, _) in FAULT_KEYS.iter().filter(|(key, ..)| row.takes(*key)) {
            let value = match key {
                FaultKey::Len => (self.len != default.len).then(|| Bytes(self.len).to_string()),
                FaultKey::N => (self.n != default.n || self.kind == FaultKind::Limit).then(|| self.n.to_string()),
                FaultKey::Time | FaultKey::After => (self.time != default.time).then(|| Time(self.time).to_string()),
                FaultKey::Rate => (self.rate != default.rate).then(|| ByteRate(self.rate).to_string()),
                FaultKey::From => (self.from != default.from).then(|| keyword_for(&self.from, ORIGINS).to_owned()),
                FaultKey::Mode => (self.mode != default.mode).then(|| keyword_for(&self.mode, MODES).to_owned()),
                FaultKey::Beyond => {
                    (self.beyond != default.beyond).then(|| keyword_for(&self.beyond, BEYOND).to_owned())
                }
                FaultKey::Until => (self.until != default.until).then(|| keyword_for(&self.until, UNTIL).to_owned()),
                FaultKey::Then => (self.then != default.then).then(|| keyword_for(&self.then, THEN).to_owned()),
                FaultKey::Cuts => (self.cuts != default.cuts).then(|| keyword_for(&self.cuts, CUTS).to_owned()),
                FaultKey::What => (self.what != default.what).then(|| keyword_for(&self.what, RULES).to_owned()),
                FaultKey::At => self.at.map(|at| Bytes(at).to_string()),
                FaultKey::Every => self.every.map(|every| Bytes(every).to_string()),
                FaultKey::Times => self.times.map(|times| times.to_string()),
                FaultKey::P => {
                    (self.millionths != CERTAIN_MILLIONTHS).then(|| (f64::from(self.millionths) / 1e6).to_string())
                }
                FaultKey::Conn => self.conn.map(|conn| conn.to_string()),
            };
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = ',';
            }
        }
        Ok(())
    }
}

impl TextForm for Fault {
    const WHAT: &'static str = "a fault such as";

    fn forms() -> Vec<Form> {
        let pattern = r"[a-z][a-z0-9-]*\s*(:[\s\S]*)?";
        ["flip:every=1MiB", "drop:len=3,at=65536,conn=7", "crosstalk:every=200KiB", "stale", "limit-64", "reset:p=0.1"]
            .map(|example| Form::new(example, pattern))
            .into()
    }
}

text_form!(Fault);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::checks;

    fn error(text: &str) -> String {
        text.parse::<Fault>().expect_err(text).to_string()
    }

    #[test]
    fn every_kind_alone_and_with_each_of_its_keys_parses_back_from_its_text() {
        for row in FAULT_TABLE {
            let bare: Fault = row.name.parse().expect(row.name);
            assert_eq!(bare.to_string().parse::<Fault>().expect(row.name), bare, "{bare}");
            for (key, _, example) in FAULT_KEYS.iter().filter(|(key, ..)| row.takes(*key)) {
                // An example may list alternatives. Each must parse; only 'stale' refuses some of them.
                let (name, values) = example.split_once('=').expect("an example is key=value");
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
    fn each_example_parses_to_the_fault_that_it_names() {
        let drop: Fault = "drop:len=3,at=65536,conn=7".parse().expect("a valid fault spec");
        assert_eq!((drop.len, drop.at, drop.conn, drop.every), (3, Some(65536), Some(7), None));
        assert_eq!(drop.to_string(), "drop:len=3,at=64KiB,conn=7");
        let flip: Fault = "flip:every=1MiB".parse().expect("a valid fault spec");
        assert_eq!((flip.n, flip.every), (1, Some(1 << 20)));
        let limit: Fault = "limit-64".parse().expect("a valid fault spec");
        assert_eq!(limit, "limit:n=64".parse().expect("a valid fault spec"));
        assert_eq!((limit.to_string().as_str(), limit.queue_limit()), ("limit:n=64", None));
        let queue: Fault = "limit:beyond=queue,n=4".parse().expect("a valid fault spec");
        assert_eq!((queue.to_string().as_str(), queue.queue_limit()), ("limit:n=4,beyond=queue", Some(4)));
    }

    #[test]
    fn errors_name_the_mistake_and_what_to_write_instead() {
        assert_eq!(
            error("flop"),
            "'flop' is not a fault: write one of flip, zero, drop, duplicate, reorder, crosstalk, stale, truncate, surplus, \
             stall, reset, no-fin, fin-without-drain, one-at-a-time, limit, delay, lost-wakeup, close-timer, \
             early-fin, slot-leak, idle-drop, lockup, session-reset, short-send, trickle, urgent-cut, busy-writers, \
             telnet, rdhup, reset-at-end"
        );
        assert_eq!(error("no-fin:at=5"), "no-fin does not take 'at': write no-fin[:p=0.5,conn=7]");
        assert_eq!(error("one-at-a-time:n=5"), "one-at-a-time does not take 'n': write one-at-a-time");
        assert_eq!(error("limit:beyond=refuse"), "beyond=refuse: unknown value: write ignore or queue");
        assert_eq!(error("reset:at"), "'at' has no '=': write reset[:at=64KiB,p=0.5,conn=7]");
        assert_eq!(error("reset:at=1,at=2"), "'at' is given twice: leave one of them out");
        assert_eq!(error("drop:len=0"), "len=0: out of range: write 1 to 1MiB");
        assert_eq!(error("drop:len=100,every=200"), "every=200 is too short: write at least every=400");
        assert_eq!(error("flip:n=9"), "n=9: out of range: write 1 to 8");
        assert_eq!(error("flip:p=0"), "p=0: not a probability: write a number above 0 and up to 1, such as 0.5");
        assert_eq!(error("stale:from=hell"), "from=hell: unknown value: write buffer or older or closed");
        assert!(error("delay:time=5").starts_with("time=5: 5 has no unit"), "{}", error("delay:time=5"));
        assert!(error("stale:at=5").contains("from=older"), "{}", error("stale:at=5"));
        assert!(error("stale:from=older,mode=move").contains("crosstalk"));
    }

    #[test]
    fn the_examples_of_the_schema_are_true() {
        checks::examples_are_valid::<Fault>();
    }
}
