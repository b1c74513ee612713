//! The log of the injected faults, one JSON object per line. With it, a run can be compared with what the client found.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::kind::FaultKind;
use super::spec::Fault;

/// An injected fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What happened to this connection. `crosstalk:mode=move` makes two records: a `drop` on the connection that loses
    /// the bytes, and a `crosstalk` on the one that gets them.
    pub kind: FaultKind,
    /// The fault as it was requested.
    pub fault: Fault,
    /// The connection's number: accepted connections count from 0, and a replayed connection keeps its number.
    pub conn: u64,
    /// Its client's address.
    pub peer: SocketAddr,
    /// Offset in the bytes that the server received on this connection.
    pub offset: u64,
    /// Bytes changed, dropped, duplicated, delayed behind others, inserted or put in place of others. 0 if the fault
    /// concerns the connection and not single bytes.
    pub extent: u64,
    /// Foreign and old bytes: how many of the connection's own bytes they replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Reordered bytes: how many later bytes were sent before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// Flipped bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u64>,
    /// Foreign and old bytes: where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<StreamPlace>,
}

/// Where foreign or old bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPlace {
    /// The number of the connection that sent them.
    pub conn: u64,
    /// Its client's address.
    pub peer: SocketAddr,
    /// Offset of the first one in the bytes that the server received on that connection.
    pub offset: u64,
}

/// Where the records go.
pub struct FaultLog(LogSink);

enum LogSink {
    Lines(Box<dyn Write + Send>),
    Channel(Sender<FaultRecord>),
}

impl FaultLog {
    /// One JSON object per line, flushed after each.
    pub fn lines(to: impl Write + Send + 'static) -> FaultLog {
        FaultLog(LogSink::Lines(Box::new(to)))
    }

    /// Records for a test that compares them with findings.
    pub fn channel() -> (FaultLog, Receiver<FaultRecord>) {
        let (sender, receiver) = channel();
        (FaultLog(LogSink::Channel(sender)), receiver)
    }

    pub(super) fn write(&mut self, record: FaultRecord) -> io::Result<()> {
        match &mut self.0 {
            LogSink::Lines(to) => {
                let mut line = serde_json::to_string(&record)?;
                line.push('\n');
                to.write_all(line.as_bytes())?;
                to.flush()
            }
            LogSink::Channel(sender) => sender.send(record).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// The current time as the log writes it.
pub(super) fn timestamp() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json_and_is_read_back_unchanged() {
        let peer: SocketAddr = ([127, 0, 0, 1], 4242).into();
        let record = FaultRecord {
            time: timestamp(),
            kind: FaultKind::Crosstalk,
            fault: "crosstalk:every=200KiB".parse().expect("a valid fault spec"),
            conn: 7,
            peer,
            offset: 65536,
            extent: 512,
            replaced: Some(512),
            over: None,
            bits: None,
            source: Some(StreamPlace { conn: 12, peer, offset: 4096 }),
        };
        let json = serde_json::to_string(&record).expect("a record can always be written as JSON");
        assert!(json.contains(r#""fault":"crosstalk:every=200KiB""#) && !json.contains('\n'), "{json}");
        assert!(!json.contains("bits"), "fields that do not apply are left out: {json}");
        assert_eq!(serde_json::from_str::<FaultRecord>(&json).expect("a written record can be read back"), record);
    }
}
