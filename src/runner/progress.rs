//! Progress of a command, on stderr: on a terminal two or three lines that are redrawn in place, and otherwise a plain
//! line now and then. How the lines look is decided in [`live`]; this file gathers what they say.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::planned_work::PlannedWork;
use super::time_left::Times;
use crate::client::{Control, RunPlan};
use crate::interrupt;
use crate::measure::{Counters, Latency};
use crate::output::console::{say, stderr_style};
use crate::output::screen;
use crate::report::live::{self, LiveLoad, LiveSuite};
use crate::sync::lock;

/// Interval between two drawings on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Drawings between two samples of the rates.
const DRAWINGS_PER_SAMPLE: u32 = 5;
/// Interval between two lines where stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// A load that began just before a sample counts as if it had run for this long: in less, chance makes the rate.
const SHORTEST_SAMPLE_S: f64 = 0.01;
/// Rates that are kept.
const MAX_RATES: usize = 12;

/// Shows the progress of a command until it is dropped.
pub struct Progress {
    state: Arc<Mutex<Activity>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One run, case or round. It has ended when this is dropped.
pub struct Task {
    state: Arc<Mutex<Activity>>,
    number: usize,
}

/// What is going on.
#[derive(Default)]
struct Activity {
    /// The cases of a suite; `None` for a single run.
    times: Option<Times>,
    /// What the cases are together, in a word.
    whole: &'static str,
    tasks: Vec<Running>,
    ended: usize,
    /// Messages per second, the latest at the end.
    rates: Vec<f64>,
    bytes_per_s: f64,
}

/// A task that has begun and not ended.
struct Running {
    number: usize,
    title: String,
    began: Instant,
    run: Option<(Arc<Control>, PlannedWork)>,
    /// The last sample: its time and the counters. At first those of the start.
    before: (Instant, Counters),
}

impl Progress {
    /// Shows nothing.
    pub fn quiet() -> Progress {
        Progress { state: Arc::default(), stop: None, thread: None }
    }

    /// Shows a single run.
    pub fn of_run(quiet: bool) -> Progress {
        Progress::start(Activity::default(), quiet)
    }

    /// Shows the cases of a suite, of which `jobs` run at a time. `usual`: how long each usually takes, if that is
    /// known.
    pub fn of_suite(usual: Vec<Option<Duration>>, jobs: usize, quiet: bool) -> Progress {
        let times = Some(Times { usual, jobs, ..Times::default() });
        Progress::start(Activity { times, whole: "suite", ..Activity::default() }, quiet)
    }

    /// Shows runs, one after the other, of which each takes about this long, if that is known.
    pub fn of_rounds(runs: usize, usual: Option<Duration>, quiet: bool) -> Progress {
        let times = Some(Times { usual: vec![usual; runs], jobs: 1, ..Times::default() });
        Progress::start(Activity { times, ..Activity::default() }, quiet)
    }

    fn start(state: Activity, quiet: bool) -> Progress {
        // In a log, lines of several cases at a time could not be told apart.
        let is_useless = !stderr().is_terminal() && state.times.as_ref().is_some_and(|times| times.jobs > 1);
        if quiet || is_useless {
            return Progress::quiet();
        }
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&state);
        let show = move || {
            let is_drawn = screen::is_there();
            let interval = if is_drawn { DRAW_INTERVAL } else { LINE_INTERVAL };
            let mut drawings = 0;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                drawings += 1;
                let mut state = lock(&shared);
                if !is_drawn || drawings % DRAWINGS_PER_SAMPLE == 0 {
                    state.sample();
                }
                let load = state.load();
                let lines = if is_drawn { state.lines(load.as_ref()) } else { Vec::new() };
                drop(state);
                match load {
                    // Ctrl-C makes the terminal forget what it was about to show, perhaps a half of the lines.
                    _ if is_drawn && interrupt::is_requested() => {}
                    _ if is_drawn => screen::show(lines),
                    Some(load) => say(&live::log_line(&load)),
                    None => {}
                }
            }
            screen::clear();
        };
        // If the system refuses the thread, the run goes on without progress.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Progress { state, stop: Some(stop), thread }
    }

    /// A task begins: case `number` of a suite, from 0 on, with its title.
    pub fn begin(&self, number: usize, title: String) -> Task {
        let mut state = lock(&self.state);
        state.times.iter_mut().for_each(|times| times.begun.push(number));
        let began = Instant::now();
        state.tasks.push(Running { number, title, began, run: None, before: (began, Counters::default()) });
        Task { state: Arc::clone(&self.state), number }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The thread only prints. If it panicked, the run's results are still right.
            let _ = thread.join();
        }
    }
}

impl Task {
    /// The loads of the task run now.
    pub(super) fn runs(&self, plan: &RunPlan, control: &Arc<Control>) {
        let mut state = lock(&self.state);
        if let Some(task) = state.tasks.iter_mut().find(|task| task.number == self.number) {
            task.run = Some((Arc::clone(control), PlannedWork::of(plan)));
            // Rates count from here on: what came before was no load.
            task.before = (Instant::now(), Counters::default());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let Some(at) = state.tasks.iter().position(|task| task.number == self.number) else { return };
        let task = state.tasks.remove(at);
        state.ended += 1;
        // A case that was skipped says nothing about the time of others.
        let took = task.run.is_some().then(|| (task.number, task.began.elapsed()));
        state.times.iter_mut().for_each(|times| times.ended.extend(took));
    }
}

impl Activity {
    /// Takes a sample of the rates, and asks the workers for the round trips so far.
    fn sample(&mut self) {
        let now = Instant::now();
        let (mut messages_per_s, mut bytes_per_s) = (0.0, 0.0);
        for task in &mut self.tasks {
            let Some((control, _)) = &task.run else { continue };
            control.request_round_trips();
            let counters = control.counters();
            let (sampled, before) = &task.before;
            let seconds = (now - *sampled).as_secs_f64().max(SHORTEST_SAMPLE_S);
            messages_per_s += counters.messages_echoed.saturating_sub(before.messages_echoed) as f64 / seconds;
            bytes_per_s += counters.bytes_verified.saturating_sub(before.bytes_verified) as f64 / seconds;
            task.before = (now, counters);
        }
        if self.rates.len() == MAX_RATES {
            self.rates.remove(0);
        }
        self.rates.push(messages_per_s);
        self.bytes_per_s = bytes_per_s;
    }

    /// The loads that are running, in sum.
    fn load(&self) -> Option<LiveLoad> {
        let mut sum = LiveLoad { rates: self.rates.clone(), bytes_per_s: self.bytes_per_s, ..LiveLoad::default() };
        let mut round_trips = Latency::default();
        let runs: Vec<_> = self.tasks.iter().filter_map(|task| task.run.as_ref()).collect();
        for (control, work) in &runs {
            let counters = control.counters();
            sum.elapsed = sum.elapsed.max(control.elapsed());
            sum.connections += work.connections;
            sum.done = work.done(&counters, control.elapsed());
            sum.counters.add(&counters);
            round_trips.add(&control.round_trips());
        }
        sum.round_trips = round_trips.percentile(50.0).zip(round_trips.percentile(99.0));
        (!runs.is_empty()).then_some(sum)
    }

    fn lines(&self, load: Option<&LiveLoad>) -> Vec<String> {
        let style = stderr_style();
        match (&self.times, load) {
            (None, None) => Vec::new(),
            (None, Some(load)) => live::of_run(load, style),
            (Some(times), load) => live::of_suite(&self.suite(times), load, style),
        }
    }

    fn suite(&self, times: &Times) -> LiveSuite {
        let running = || self.tasks.iter().map(|task| (task, task.began.elapsed()));
        let times = Times { running: running().map(|(task, time)| (task.number, time)).collect(), ..times.clone() };
        LiveSuite {
            ended: self.ended,
            total: times.usual.len(),
            running: running().map(|(task, time)| (task.title.clone(), time)).collect(),
            whole: self.whole,
            left: times.left(),
        }
    }
}
