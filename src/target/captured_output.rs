//! The output of a server while it runs. Only the last lines are kept, so a server that prints much neither blocks on a
//! full pipe nor fills the memory.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are kept: the last ones.
const KEPT_LINES: usize = 200;
/// The longest line in bytes; a longer one is split.
const MAX_LINE_BYTES: u64 = 4096;
/// How long output may take to arrive after the process has ended. A process that it left behind may keep the pipe
/// open.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// The last lines that a process prints, standard output and standard error in the order of arrival.
#[derive(Debug)]
pub(super) struct CapturedOutput {
    kept: Arc<Mutex<KeptLines>>,
    /// Carries nothing. It disconnects when both pipes have ended.
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct KeptLines {
    lines: VecDeque<String>,
    left_out: u64,
}

impl CapturedOutput {
    /// Reads the pipes of a process that have not been taken.
    pub(super) fn of(child: &mut Child) -> CapturedOutput {
        let kept = Arc::new(Mutex::new(KeptLines::default()));
        let (reading, ended) = channel();
        read_lines(child.stdout.take(), &kept, &reading);
        read_lines(child.stderr.take(), &kept, &reading);
        CapturedOutput { kept, ended }
    }

    /// The kept lines. Call this after the process has ended.
    pub(super) fn lines(&self) -> Vec<String> {
        let until = Instant::now() + LAST_OUTPUT_TIMEOUT;
        while let Err(RecvTimeoutError::Timeout) =
            self.ended.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if Instant::now() >= until {
                break;
            }
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = (kept.left_out > 0).then(|| format!("({} earlier lines are left out)", kept.left_out));
        left_out.into_iter().chain(kept.lines.iter().cloned()).collect()
    }
}

/// Reads a pipe to its end on its own thread, so that the server never waits for a reader.
fn read_lines(pipe: Option<impl Read + Send + 'static>, kept: &Arc<Mutex<KeptLines>>, reading: &Sender<()>) {
    let Some(pipe) = pipe else { return };
    let (kept, reading) = (Arc::clone(kept), reading.clone());
    std::thread::spawn(move || {
        let _open_until_the_end = reading;
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.lines.push_back(text);
            if kept.lines.len() > KEPT_LINES {
                kept.lines.pop_front();
                kept.left_out += 1;
            }
        }
    });
}
