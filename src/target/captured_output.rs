//! The output of a server while it runs. Only the first and the last lines are kept, so a server that prints much
//! neither blocks on a full pipe nor fills the memory. A crash may print its message first and pages of state after it,
//! so the last lines alone would not do. A log file gets all of it, if there is one.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::patience::Patience;
use super::server_log::ServerLog;
use crate::sync::lock;

/// Lines that are kept from the beginning.
const FIRST_LINES: usize = 100;
/// Lines that are kept from the end.
const LAST_LINES: usize = 100;
/// The longest line in bytes; a longer one is split.
const MAX_LINE_BYTES: u64 = 4096;
/// How long output may take to arrive after the process has ended. A process that it left behind may keep the pipe
/// open.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// The first and the last lines that a process prints, standard output and standard error in the order of arrival.
#[derive(Debug)]
pub(super) struct CapturedOutput {
    kept: Arc<Mutex<KeptLines>>,
    log: Option<ServerLog>,
    /// Carries nothing. It disconnects when both pipes have ended.
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct KeptLines {
    first: Vec<String>,
    last: VecDeque<String>,
    left_out: u64,
    /// The text that is waited for.
    sign: Option<String>,
    /// A line had that text.
    has_said: bool,
}

impl KeptLines {
    fn add(&mut self, line: String) {
        self.has_said |= self.sign.as_ref().is_some_and(|sign| line.contains(sign));
        if self.first.len() < FIRST_LINES {
            return self.first.push(line);
        }
        self.last.push_back(line);
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
            self.left_out += 1;
        }
    }
}

impl CapturedOutput {
    /// Reads the pipes of a process that have not been taken, and looks for a line with the text `sign`.
    pub(super) fn of(child: &mut Child, sign: Option<String>, log: Option<ServerLog>) -> CapturedOutput {
        let kept = Arc::new(Mutex::new(KeptLines { sign, ..KeptLines::default() }));
        let (reading, ended) = channel();
        read_lines(child.stdout.take(), &kept, log.clone(), &reading);
        read_lines(child.stderr.take(), &kept, log.clone(), &reading);
        CapturedOutput { kept, log, ended }
    }

    /// Whether a line had the text that is waited for.
    pub(super) fn has_said(&self) -> bool {
        lock(&self.kept).has_said
    }

    /// The kept lines. Call this after the process has ended.
    pub(super) fn lines(&self) -> Vec<String> {
        // Nothing is ever sent: this waits for the pipes to end.
        let _ = Patience::new(LAST_OUTPUT_TIMEOUT).receive(&self.ended);
        let kept = lock(&self.kept);
        let remedy = if self.log.is_none() { "; --server-log keeps them" } else { "" };
        let left_out =
            (kept.left_out > 0).then(|| format!("(echo-tester: {} lines are left out here{remedy})", kept.left_out));
        let lines = kept.first.iter().cloned().chain(left_out).chain(kept.last.iter().cloned());
        lines.chain(self.log.as_ref().and_then(ServerLog::remark)).collect()
    }
}

/// Reads a pipe to its end on its own thread, so that the server never waits for a reader.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    kept: &Arc<Mutex<KeptLines>>,
    log: Option<ServerLog>,
    reading: &Sender<()>,
) {
    let Some(pipe) = pipe else { return };
    let (kept, reading) = (Arc::clone(kept), reading.clone());
    std::thread::spawn(move || {
        let _open_until_the_end = reading;
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            if let Some(log) = &log {
                log.write(&line);
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            lock(&kept).add(text);
        }
    });
}
