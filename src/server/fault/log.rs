//! The log of the faults that were injected: one JSON object a line, so that a run can be reconciled with what the
//! client found.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::spec::{Fault, FaultKind};

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What happened to this connection. For `crosstalk:mode=move` there are two records: a `drop` here, a `crosstalk`
    /// there.
    pub kind: FaultKind,
    /// What was asked for.
    pub fault: Fault,
    /// The number of the connection: the n-th that was accepted, from 0; or the number it had when it was here before.
    pub conn: u64,
    /// Its client's address.
    pub peer: SocketAddr,
    /// Where, in what the server received on this connection.
    pub offset: u64,
    /// Bytes changed, left out, doubled, late, put in or put in place. 0 where the connection was hit and not single
    /// bytes.
    pub extent: u64,
    /// Foreign and old bytes: how many of the connection's own are missing because these came in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Reordered bytes: how many of those that follow them were sent before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// Flipped bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u64>,
    /// Foreign and old bytes: where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The number of the connection that sent them.
    pub conn: u64,
    /// Its client's address.
    pub peer: SocketAddr,
    /// Where they begin, in what the server received on that connection.
    pub offset: u64,
}

/// Where the records go.
pub struct FaultLog(To);

enum To {
    Lines(Box<dyn Write + Send>),
    Channel(Sender<Record>),
}

impl FaultLog {
    /// One JSON object a line, written at once.
    pub fn lines(to: impl Write + Send + 'static) -> FaultLog {
        FaultLog(To::Lines(Box::new(to)))
    }

    /// To a program that reconciles them.
    pub fn channel() -> (FaultLog, Receiver<Record>) {
        let (sender, receiver) = channel();
        (FaultLog(To::Channel(sender)), receiver)
    }

    pub(super) fn write(&mut self, record: Record) -> io::Result<()> {
        match &mut self.0 {
            To::Lines(to) => {
                let mut line = serde_json::to_string(&record)?;
                line.push('\n');
                to.write_all(line.as_bytes())?;
                to.flush()
            }
            To::Channel(sender) => sender.send(record).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// The time as the log writes it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json_and_survives_it() {
        let peer: SocketAddr = ([127, 0, 0, 1], 4242).into();
        let record = Record {
            time: now(),
            kind: FaultKind::Crosstalk,
            fault: "crosstalk:every=200KiB".parse().expect("a fault"),
            conn: 7,
            peer,
            offset: 65536,
            extent: 512,
            replaced: Some(512),
            over: None,
            bits: None,
            source: Some(Source { conn: 12, peer, offset: 4096 }),
        };
        let json = serde_json::to_string(&record).expect("plain data");
        assert!(json.contains(r#""fault":"crosstalk:every=200KiB""#) && !json.contains('\n'), "{json}");
        assert!(!json.contains("bits"), "what does not apply is left out: {json}");
        assert_eq!(serde_json::from_str::<Record>(&json).expect("what was written"), record);
    }
}
