//! What is seen while a run goes on: bars on a terminal, a plain line now and then elsewhere. All of it on stderr.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{Control, RunPlan};
use crate::measure::Counters;
use crate::output::console::say;
use crate::report::{show_bytes, show_count, show_time};

/// Between two looks on a terminal.
const LOOK: Duration = Duration::from_millis(100);
/// Between two lines elsewhere.
const LINE: Duration = Duration::from_secs(10);

/// Progress that is shown until it is dropped.
pub(super) struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows how the run goes on; nothing at all if `quiet`.
    pub(super) fn show(plan: &RunPlan, control: &Arc<Control>, quiet: bool) -> Progress {
        if quiet {
            return Progress { stop: None, thread: None };
        }
        let goal = Goal::of(plan);
        let control = Arc::clone(control);
        let (stop, stopped) = channel::<()>();
        let show = move || {
            let bar = std::io::stderr().is_terminal().then(|| goal.bar());
            let every = if bar.is_some() { LOOK } else { LINE };
            let mut before = (Instant::now(), Counters::default());
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let now = (Instant::now(), control.counters());
                let line = goal.line(&before, &now, control.elapsed());
                match &bar {
                    Some(bar) => goal.update(bar, &now.1, control.elapsed(), line),
                    None => say(&line),
                }
                before = now;
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // Without a thread there is no progress to see, and the run is not worse for it.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Progress { stop: Some(stop), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It only prints; if it panicked, the run is not worse for it.
            let _ = thread.join();
        }
    }
}

/// What the run is on its way to.
struct Goal {
    connections: u64,
    messages: Option<u64>,
    time: Option<Duration>,
}

impl Goal {
    fn of(plan: &RunPlan) -> Goal {
        let in_shard = |slot: &crate::plan::Slot| {
            plan.only.is_empty() || plan.only.iter().any(|c| plan.slots.of(*c).is_ok_and(|(s, _)| s == *slot))
        };
        let slots: Vec<_> = plan.slots.of_shard(plan.shard).filter(in_shard).collect();
        let messages = slots.iter().map(|slot| plan.groups[slot.group as usize].messages).sum();
        let time = plan.groups.iter().map(|group| group.duration).collect::<Option<Vec<_>>>();
        Goal { connections: slots.len() as u64, messages, time: time.and_then(|times| times.into_iter().max()) }
    }

    fn bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is a literal");
        bar.set_style(style);
        bar
    }

    /// How far it is, 0 to 1, by whatever ends it first.
    fn part(&self, counters: &Counters, elapsed: Duration) -> f64 {
        let by_messages = self.messages.map(|all| counters.messages_echoed as f64 / all.max(1) as f64);
        let by_time = self.time.map(|all| elapsed.as_secs_f64() / all.as_secs_f64().max(1e-9));
        by_messages.into_iter().chain(by_time).fold(0.0, f64::max).min(1.0)
    }

    fn update(&self, bar: &ProgressBar, counters: &Counters, elapsed: Duration, line: String) {
        let part = self.part(counters, elapsed);
        let left = (part > 0.02).then(|| Duration::from_secs_f64(elapsed.as_secs_f64() * (1.0 - part) / part));
        bar.set_position((part * 1000.0) as u64);
        bar.set_message(match left {
            Some(left) if left >= Duration::from_secs(1) => format!("{line}, {} left", whole_seconds(left)),
            _ => line,
        });
    }

    fn line(&self, before: &(Instant, Counters), now: &(Instant, Counters), elapsed: Duration) -> String {
        let seconds = now.0.duration_since(before.0).as_secs_f64().max(1e-9);
        let rate = |of: fn(&Counters) -> u64| (of(&now.1).saturating_sub(of(&before.1))) as f64 / seconds;
        let findings = match now.1.findings_total() {
            0 => String::new(),
            n => format!(", {} FINDINGS", show_count(n)),
        };
        format!(
            "{}: {} of {} opened, {} verified, {}/s, {} messages/s{findings}",
            show_time(elapsed.max(Duration::from_millis(1))),
            show_count(now.1.opened),
            show_count(self.connections),
            show_bytes(now.1.bytes_verified as f64),
            show_bytes(rate(|c| c.bytes_verified)),
            show_count(rate(|c| c.messages_echoed) as u64),
        )
    }
}

fn whole_seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}
