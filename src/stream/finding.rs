//! What went wrong, as values: the kinds of findings, and what is known of each occurrence. Apart from one sentence for
//! each kind there is no text for people here: that is `report::finding`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ending::Ending;
use super::op::Op;
use super::pattern::ConnId;
use super::two_sides::{OtherSide, StreamDirection};

/// Bytes before the first wrong one that an excerpt shows.
pub(super) const EXCERPT_BEFORE_BYTES: u64 = 8;
/// Bytes from the first wrong one on that an excerpt shows.
pub(super) const EXCERPT_AFTER_BYTES: usize = 24;

/// What happened to the bytes, or to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Kind")]
pub enum FindingKind {
    /// Changed in place.
    Corrupt,
    /// Left out.
    Lost,
    /// Came twice in a row.
    Duplicated,
    /// Came later than bytes sent after them.
    Reordered,
    /// From another connection that is open.
    Crosstalk,
    /// From an older place, or from a connection that is closed.
    Stale,
    /// EOF before the last byte.
    Truncated,
    /// Never sent, or after the end.
    Surplus,
    /// No progress.
    Stalled,
    /// Reset by the other side.
    Reset,
    /// No EOF after half-close.
    NoFin,
    /// Not done when the time was up, and not in the grace after it.
    TooSlow,
    /// Never opened.
    ConnectFailed,
}

/// One row of [`FINDING_KINDS`].
pub struct FindingKindRow {
    /// The kind.
    pub kind: FindingKind,
    /// Its name in JSON, in TOML and on the terminal.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// The same where both ends are ours, so that nothing comes back.
    pub of_two_sides: &'static str,
    /// Whether it is about which bytes came, not about how a connection ended, waited or was not opened.
    pub is_of_bytes: bool,
    /// Whether it says that something did not come in time. Then a client without a processor would find it too.
    pub depends_on_time: bool,
}

/// Every kind of finding.
pub const FINDING_KINDS: &[FindingKindRow] = &[
    FindingKindRow {
        kind: FindingKind::Corrupt,
        name: "corrupt",
        description: "Bytes came back changed, in their right place.",
        of_two_sides: "Bytes arrived changed, in their right place.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Lost,
        name: "lost",
        description: "Bytes did not come back while later ones did, or never came at all.",
        of_two_sides: "Bytes did not arrive while later ones did, or never arrived at all.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Duplicated,
        name: "duplicated",
        description: "Bytes came back twice in a row.",
        of_two_sides: "Bytes arrived twice in a row.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Reordered,
        name: "reordered",
        description: "Bytes came back after bytes that were sent later.",
        of_two_sides: "Bytes arrived after bytes that were sent later.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Crosstalk,
        name: "crosstalk",
        description: "Bytes came back that another open connection had sent.",
        of_two_sides: "Bytes arrived that another open connection had sent, or that were of the other direction.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Stale,
        name: "stale",
        description: "Bytes came back again from an older place of the stream, or from a connection that is closed.",
        of_two_sides: "Bytes arrived again from an older place of the stream, or from a connection that is closed.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Truncated,
        name: "truncated",
        description: "The stream ended (EOF) before the last byte.",
        of_two_sides: "EOF came before the last byte, or before the other side had ended its direction.",
        is_of_bytes: false,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Surplus,
        name: "surplus",
        description: "Bytes came that nobody had sent, or after the last byte.",
        of_two_sides: "Bytes came that nobody had sent, or after the last byte.",
        is_of_bytes: true,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::Stalled,
        name: "stalled",
        description: "Nothing more came until the stall time-out.",
        of_two_sides: "Nothing more came until the stall time-out.",
        is_of_bytes: false,
        depends_on_time: true,
    },
    FindingKindRow {
        kind: FindingKind::Reset,
        name: "reset",
        description: "The other side reset the connection before its end.",
        of_two_sides: "The connection was reset before its end, and not by the other side.",
        is_of_bytes: false,
        depends_on_time: false,
    },
    FindingKindRow {
        kind: FindingKind::NoFin,
        name: "no-fin",
        description: "Every byte came back, but no EOF followed the half-close.",
        of_two_sides: "No end came, although the other side had ended its direction or had reset the connection.",
        is_of_bytes: false,
        depends_on_time: true,
    },
    FindingKindRow {
        kind: FindingKind::TooSlow,
        name: "too-slow",
        description: "Bytes still came, but not the last one before the time and the grace after it were over.",
        of_two_sides: "Bytes still came, but not the last one before the time and the grace after it were over.",
        is_of_bytes: false,
        depends_on_time: true,
    },
    FindingKindRow {
        kind: FindingKind::ConnectFailed,
        name: "connect-failed",
        description: "The connection could not be opened.",
        of_two_sides: "The connection could not be opened.",
        is_of_bytes: false,
        depends_on_time: false,
    },
];

impl FindingKind {
    /// `corrupt`, `no-fin` …
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the kind means, in one sentence.
    pub fn description(self) -> &'static str {
        self.row().description
    }

    /// The same, where both ends are ours if `two_sides`.
    pub fn described(self, two_sides: bool) -> &'static str {
        if two_sides { self.row().of_two_sides } else { self.row().description }
    }

    /// Whether it is about which bytes came, not about how a connection ended, waited or was not opened.
    pub fn is_of_bytes(self) -> bool {
        self.row().is_of_bytes
    }

    /// Whether it says that something did not come in time.
    pub fn depends_on_time(self) -> bool {
        self.row().depends_on_time
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<FindingKind> {
        FINDING_KINDS.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    fn row(self) -> &'static FindingKindRow {
        FINDING_KINDS.iter().find(|row| row.kind == self).expect("the table holds every kind: a test walks it")
    }
}

/// What came to the backend of a connection, and is no difference of single bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendFault {
    /// Another connection began with the first bytes of this one, so the server got them twice.
    BeganAgain,
    /// Its header of the PROXY protocol named the client of another connection that was open: the source.
    HeaderOfAnother,
}

/// A difference from what should have come, and its place. Offsets and extents count bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Divergence {
    /// What happened.
    pub kind: FindingKind,
    /// The connection that received it.
    pub conn: ConnId,
    /// Where in its stream: the first byte that is wrong or missing, or the one before which something was inserted.
    pub offset: u64,
    /// How many bytes are wrong, missing, repeated, late or extra.
    pub extent: u64,
    /// If the bytes are foreign, old or never sent: how many of the connection's own bytes they came in place of. 0:
    /// they came in between.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replaced: u64,
    /// If the bytes came out of order: how many bytes that were sent after them came before them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub overtaken_by: u64,
    /// Where the bytes come from, if anyone sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<StreamSource>,
    /// If the bytes are those of an earlier case of the suite: its id and name. The source is one of its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// Where both ends are ours: whether the bytes are of the other direction. The source is in its stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_way: bool,
    /// The byte came as urgent data, beside the stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Where both ends are ours: what came to the backend beside the connection's own bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_backend: Option<BackendFault>,
    /// How the bytes were changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Corruption>,
    /// Where in the stream both excerpts begin: some bytes before `offset`, where that is known.
    pub excerpt_offset: u64,
    /// What should have come, from `excerpt_offset` on.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub expected: Vec<u8>,
    /// What came instead.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub received: Vec<u8>,
    /// For a finding about the end of the connection: how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Box<Ending>>,
    /// The bytes that were lost or doubled, if they are few.
    #[serde(skip)]
    pub short: Option<Vec<u8>>,
    /// The circumstances of its first bytes, if they came before it was certain what went wrong.
    #[serde(skip)]
    pub circumstances: Option<Arc<Circumstances>>,
}

impl Divergence {
    /// Something that happened to the connection rather than to single bytes. From `offset` on, `extent` bytes are
    /// missing.
    pub fn of_connection(kind: FindingKind, conn: ConnId, offset: u64, extent: u64) -> Divergence {
        Divergence {
            kind,
            conn,
            offset,
            extent,
            replaced: 0,
            overtaken_by: 0,
            source: None,
            earlier: None,
            other_way: false,
            urgent: false,
            at_backend: None,
            detail: None,
            excerpt_offset: offset,
            expected: Vec::new(),
            received: Vec::new(),
            ending: None,
            short: None,
            circumstances: None,
        }
    }
}

/// What the client knew when the bytes came.
#[derive(Clone, Debug, PartialEq)]
pub struct Circumstances {
    /// When they came, in milliseconds since the start of the run.
    pub at_ms: f64,
    /// The last writes and reads of the connection, oldest first.
    pub recent: Vec<Op>,
    /// Where both ends are ours: what the other end had done.
    pub other: Option<OtherSide>,
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Source")]
pub struct StreamSource {
    /// The connection that sent them.
    pub conn: ConnId,
    /// Where in its stream they begin.
    pub offset: u64,
    /// Whether that connection was open when they came.
    pub open: bool,
}

/// How bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Corruption {
    /// Bytes that differ; the others within the extent came through unchanged. 0: not counted.
    pub bytes: u64,
    /// Bits that differ. 0: not counted.
    pub bits: u64,
    /// What the change looks like, if it resembles a known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<Change>,
}

/// Changes that have a known cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// All zero.
    ZeroFilled,
    /// All the same byte, which is not zero.
    ConstantFill,
    /// Nearly all zero: what came was padded.
    MostlyZero,
    /// Bit 7 cleared in every byte.
    HighBitStripped,
    /// Every bit inverted.
    Inverted,
    /// Letters made upper case.
    UpperCased,
    /// Letters made lower case.
    LowerCased,
    /// LF became CR LF.
    LfToCrLf,
    /// CR LF became LF.
    CrLfToLf,
    /// CR became LF.
    CrToLf,
    /// Taken for Latin-1 and encoded as UTF-8.
    Latin1ToUtf8,
    /// Taken for UTF-8, with U+FFFD in place of what is not.
    Utf8Replaced,
}

/// A divergence, with everything the client knows about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Finding {
    /// What happened, and where.
    pub divergence: Divergence,
    /// Where both ends are ours: on which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<StreamDirection>,
    /// Where both ends are ours: what the other end had done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Box<OtherSide>>,
    /// In a run of several shards: the shard whose connection sent the bytes, such as 1/4, if it is another one. This
    /// shard does not know whether that connection was open then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_shard: Option<String>,
    /// The client's address, if the connection was opened. The backend's, if the server's side found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The server's address. If the server's side found it: where its connection came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// When its first bytes came, in milliseconds since the start of the run.
    pub at_ms: f64,
    /// What the operating system reported, if it reported anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The last writes and reads of the connection before it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Op>,
    /// The command that runs this connection's plan again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

impl Finding {
    /// Of a test: a finding of which nothing else is known.
    #[cfg(test)]
    pub fn of(divergence: Divergence) -> Finding {
        Finding {
            divergence,
            direction: None,
            other: None,
            source_shard: None,
            local: None,
            remote: None,
            at_ms: 0.0,
            cause: None,
            recent: Vec::new(),
            replay: None,
        }
    }

    /// Moves all times of it this much later: those of a run that began later than the one whose clock counts.
    pub fn delay(&mut self, by_ms: f64) {
        self.at_ms += by_ms;
        self.recent.iter_mut().for_each(|op| op.at_ms += by_ms);
        self.other.iter_mut().for_each(|other| other.delay(by_ms));
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Bytes as lower-case hexadecimal digits in JSON.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(from)?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        bytes.filter(|_| rest.is_empty()).ok_or_else(|| D::Error::custom("not an even number of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::OpKind;
    use super::*;

    #[test]
    fn every_kind_is_in_the_table_once_under_its_json_name() {
        for (number, row) in FINDING_KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, number, "in the order of the enum, hence each once");
            assert_eq!(serde_json::to_value(row.kind).expect("a unit variant"), row.name);
            assert_eq!(FindingKind::from_name(row.name), Some(row.kind));
            for sentence in [row.description, row.of_two_sides] {
                assert!(sentence.ends_with('.') && sentence.len() > 20, "{}: one sentence", row.name);
            }
            assert!(!row.of_two_sides.contains("came back"), "{}: nothing comes back there", row.name);
        }
        let next = FINDING_KINDS.len();
        assert_eq!(FindingKind::ConnectFailed as usize + 1, next, "the last of the enum is the last of the table");
    }

    #[test]
    fn a_divergence_survives_json() {
        let mut divergence =
            Divergence::of_connection(FindingKind::Crosstalk, ConnId::new(12).expect("small"), 65536, 3);
        divergence.source = Some(StreamSource { conn: ConnId::MAX, offset: 4096, open: true });
        divergence.expected = vec![0, 0x7f, 0xff];
        divergence.received = vec![0xab];
        let json = serde_json::to_string(&divergence).expect("plain data");
        assert!(json.contains(r#""expected":"007fff""#), "{json}");
        assert_eq!(serde_json::from_str::<Divergence>(&json).expect("what was written"), divergence);
        for wrong in ["\"0\"", "\"0g\"", "\"é\""] {
            let json = json.replace("\"007fff\"", wrong);
            assert!(serde_json::from_str::<Divergence>(&json).is_err(), "{wrong}");
        }
    }

    /// All times in what a finding is written as, but for those of its divergence, which are lengths.
    fn times(json: &serde_json::Value) -> Vec<f64> {
        match json {
            serde_json::Value::Object(fields) => fields
                .iter()
                .filter(|(name, _)| *name != "divergence")
                .flat_map(|(name, value)| match value.as_f64().filter(|_| name.ends_with("_ms")) {
                    Some(time) => vec![time],
                    None => times(value),
                })
                .collect(),
            serde_json::Value::Array(items) => items.iter().flat_map(times).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_time_of_a_finding_is_delayed() {
        let op = |at_ms| Op { kind: OpKind::Read, offset: 0, len: 1, at_ms };
        let other = serde_json::json!({ "reached": true, "sent": 1, "received": 1, "held": 0, "last_sent_ms": 3.0,
            "last_received_ms": 4.0, "fin_ms": 5.0, "ended_ms": 6.0, "recent": [op(7.0)] });
        let json = serde_json::json!({
            "divergence": Divergence::of_connection(FindingKind::Reset, ConnId::MAX, 1, 1),
            "at_ms": 1.0, "recent": [op(2.0)], "other": other,
        });
        let mut finding: Finding = serde_json::from_value(json.clone()).expect("it is a finding");
        finding.delay(1000.0);
        let delayed = times(&serde_json::to_value(&finding).expect("plain data"));
        // Both are maps with their names in order.
        let wanted: Vec<f64> = times(&json).into_iter().map(|time| time + 1000.0).collect();
        assert_eq!((wanted.len(), delayed), (7, wanted));
    }
}
