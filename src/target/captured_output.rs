//! What a server says while it runs: its last lines, so that one that says much is neither kept waiting nor kept whole.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are kept of what a server said: the last ones.
const KEPT_LINES: usize = 200;
/// Bytes of a line that are kept together; what is longer becomes several lines.
const LINE_BYTES: u64 = 4096;
/// How long what a server wrote may take to arrive after its end. What it has left behind may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The last lines of what a process writes, stdout and stderr as they come.
#[derive(Debug)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    /// Nothing is ever sent: it is disconnected when the pipes have ended.
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    left_out: u64,
}

impl Output {
    /// Reads the pipes that nobody has taken of a process yet.
    pub(super) fn of(child: &mut Child) -> Output {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (reading, ended) = channel();
        read_lines(child.stdout.take(), &kept, &reading);
        read_lines(child.stderr.take(), &kept, &reading);
        Output { kept, ended }
    }

    /// To be called after the process has ended.
    pub(super) fn lines(&self) -> Vec<String> {
        let until = Instant::now() + LAST_WORDS;
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

/// Reads a pipe to its end on a thread of its own, so that a server that says much never waits for a reader.
fn read_lines(pipe: Option<impl Read + Send + 'static>, kept: &Arc<Mutex<Kept>>, reading: &Sender<()>) {
    let Some(pipe) = pipe else { return };
    let (kept, reading) = (Arc::clone(kept), reading.clone());
    std::thread::spawn(move || {
        let _until_the_end = reading;
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
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
