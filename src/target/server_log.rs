//! A file that gets everything that a server prints, byte by byte (`--server-log`).

use crate::sync::lock;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// Where all that a server prints goes.
pub(super) type OutputSink = Box<dyn Write + Send>;

/// The log of one server. Clones write to the same file.
#[derive(Clone, Debug)]
pub(super) struct ServerLog(Arc<Mutex<LogFile>>);

struct LogFile {
    file: OutputSink,
    /// The first error. Nothing is written after it.
    error: Option<io::Error>,
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile").field("error", &self.error).finish_non_exhaustive()
    }
}

impl ServerLog {
    /// A log in this file.
    pub(super) fn new(file: OutputSink) -> ServerLog {
        ServerLog(Arc::new(Mutex::new(LogFile { file, error: None })))
    }

    /// Appends bytes.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut log = lock(&self.0);
        if log.error.is_none() {
            log.error = log.file.write_all(bytes).err();
        }
    }

    /// A remark, if not everything could be written.
    pub(super) fn remark(&self) -> Option<String> {
        let log = lock(&self.0);
        log.error.as_ref().map(|error| format!("(echo-tester: --server-log is not complete: {error})"))
    }
}
