//! Processes of a server that have left its process group, such as a daemon in a session of its own. A signal to the
//! group does not reach them, and nobody is their parent any more. On Linux they are found by a mark in the environment
//! that they inherited.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::patience::Patience;
use crate::sys::{Marked, find_marked};

/// The variable of the mark. It does not begin like those that set flags of this program, which a server may be.
const VARIABLE: &str = "STARTED_BY_ECHO_TESTER";
/// A process may start another one each time that one is killed. More often than this, none is looked for.
const MOST_ROUNDS: usize = 20;

/// What the marks of this process begin with, since it made the first.
static OWN: OnceLock<String> = OnceLock::new();

/// Kills the escaped processes of every server of this program. For an exit that cannot wait.
pub(super) fn kill_all() {
    let Some(own) = OWN.get() else { return };
    let is_own = |value: &str| value.split(':').any(|mark| mark.starts_with(own.as_str()));
    find_marked(VARIABLE, None, is_own).iter().for_each(Marked::kill);
}

/// The mark of one server and its descendants. When it is dropped, those that still run are killed.
#[derive(Debug)]
pub(super) struct DescentMark(String);

impl DescentMark {
    /// A mark that no other process has.
    pub(super) fn new() -> DescentMark {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let own = OWN.get_or_init(|| {
            // Process ids come again, and every container has its own.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            format!("{}.{}.", std::process::id(), now.as_nanos())
        });
        DescentMark(format!("{own}{}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The variable for the environment of the server, with its value. The marks of a run that this one is a part of
    /// stay.
    pub(super) fn variable(&self) -> (&'static str, String) {
        let outer = std::env::var(VARIABLE).map(|outer| outer + ":").unwrap_or_default();
        (VARIABLE, outer + &self.0)
    }

    /// Asks the processes to end that are not in the group of the server, which is asked as a whole.
    pub(super) fn ask_to_end(&self, group: u32) {
        self.find(Some(group)).iter().for_each(Marked::ask_to_end);
    }

    /// Waits until all of them have ended. When the time is over they are killed.
    pub(super) fn end_within(self, mut patience: Patience) {
        while !self.find(None).is_empty() && patience.wait() {}
    }

    fn find(&self, group: Option<u32>) -> Vec<Marked> {
        find_marked(VARIABLE, group, |value| value.split(':').any(|mark| mark == self.0))
    }
}

impl Drop for DescentMark {
    fn drop(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let found = self.find(None);
            if found.is_empty() {
                return;
            }
            found.iter().for_each(Marked::kill);
            std::thread::yield_now();
        }
    }
}
