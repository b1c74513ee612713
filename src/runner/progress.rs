//! Progress of a run, on stderr: a bar on a terminal, and otherwise a plain line now and then.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{Control, RunPlan};
use crate::measure::Counters;
use crate::output::console::say;
use crate::report::text::{show_bytes, show_count, show_time};

/// Interval between two updates of the bar on a terminal.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two lines where stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Length of the bar in steps; it moves only in whole ones.
const BAR_STEPS: u64 = 1000;
/// The completed fraction of the run above which the time left can be estimated.
const MIN_FRACTION_FOR_ESTIMATE: f64 = 0.02;

/// Shows progress until it is dropped.
pub(super) struct ProgressDisplay {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressDisplay {
    /// Starts to show the progress of a run, or nothing if `quiet`.
    pub(super) fn start(plan: &RunPlan, control: &Arc<Control>, quiet: bool) -> ProgressDisplay {
        if quiet {
            return ProgressDisplay { stop: None, thread: None };
        }
        let total = PlannedWork::of(plan);
        let control = Arc::clone(control);
        let (stop, stopped) = channel::<()>();
        let show = move || {
            let bar = std::io::stderr().is_terminal().then(new_bar);
            let interval = if bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
            let mut before = (Instant::now(), Counters::default());
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let now = (Instant::now(), control.counters());
                let line = total.line(&before, &now, control.elapsed());
                match &bar {
                    Some(bar) => total.update(bar, &now.1, control.elapsed(), line),
                    None => say(&line),
                }
                before = now;
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // If the system refuses the thread, the run goes on without progress.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        ProgressDisplay { stop: Some(stop), thread }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The thread only prints. If it panicked, the run's results are still right.
            let _ = thread.join();
        }
    }
}

/// The amount of work after which the run ends.
struct PlannedWork {
    connections: u64,
    /// Messages of all connections, if their number is limited.
    messages: Option<u64>,
    /// The longest duration, if every load has one.
    duration: Option<Duration>,
}

impl PlannedWork {
    fn of(plan: &RunPlan) -> PlannedWork {
        let is_replayed = |slot: &crate::plan::Slot| {
            plan.only.is_empty() || plan.only.iter().any(|c| plan.slots.of(*c).is_ok_and(|(s, _)| s == *slot))
        };
        let slots: Vec<_> = plan.slots.of_shard(plan.shard).filter(is_replayed).collect();
        let messages = slots.iter().map(|slot| plan.groups[slot.group as usize].messages).sum();
        let durations = plan.groups.iter().map(|group| group.duration).collect::<Option<Vec<_>>>();
        let duration = durations.and_then(|durations| durations.into_iter().max());
        PlannedWork { connections: slots.len() as u64, messages, duration }
    }

    /// The completed fraction, 0 to 1, by the limit that will end the run first.
    fn fraction(&self, counters: &Counters, elapsed: Duration) -> f64 {
        let by_messages = self.messages.map(|all| counters.messages_echoed as f64 / all.max(1) as f64);
        let by_time = self.duration.map(|all| elapsed.as_secs_f64() / all.as_secs_f64().max(1e-9));
        by_messages.into_iter().chain(by_time).fold(0.0, f64::max).min(1.0)
    }

    fn update(&self, bar: &ProgressBar, counters: &Counters, elapsed: Duration, line: String) {
        let fraction = self.fraction(counters, elapsed);
        let left = (fraction > MIN_FRACTION_FOR_ESTIMATE)
            .then(|| Duration::from_secs_f64(elapsed.as_secs_f64() * (1.0 - fraction) / fraction));
        bar.set_position((fraction * BAR_STEPS as f64) as u64);
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

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:24} {msg}").expect("the template is valid"));
    bar
}

fn whole_seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}
