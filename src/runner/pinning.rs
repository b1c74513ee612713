//! Servers and client on processors of their own, where there are enough: neither then takes time from the other, and a
//! server has as many in each round.

use crate::report::compare::Pinned;
use crate::sys::{self, Cpu};

/// With fewer processors than this, the halves would be too small to be worth it.
const FEWEST: usize = 4;

/// The processors of each side, if there are enough. Threads that share a core stay on one side.
pub fn plan() -> Option<Pinned> {
    split(&sys::usable_cpus())
}

fn split(cpus: &[Cpu]) -> Option<Pinned> {
    if cpus.len() < FEWEST {
        return None;
    }
    let mut cores: Vec<(&str, Vec<u32>)> = Vec::new();
    for cpu in cpus {
        match cores.iter_mut().find(|(core, _)| !core.is_empty() && *core == cpu.core) {
            Some((_, ids)) => ids.push(cpu.id),
            None => cores.push((&cpu.core, vec![cpu.id])),
        }
    }
    let (servers, client) = cores.split_at(cores.len() / 2);
    let sorted = |cores: &[(&str, Vec<u32>)]| {
        let mut ids: Vec<u32> = cores.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
        ids.sort_unstable();
        ids
    };
    let pinned = Pinned { servers: sorted(servers), client: sorted(client) };
    (!pinned.servers.is_empty()).then_some(pinned)
}

/// Keeps the calling thread, and all that it starts from then on, on the client's processors. Returns whether that
/// worked; if not, all run everywhere, as they would have.
pub fn keep_client(pinned: &Pinned) -> bool {
    sys::run_on(&pinned.client).is_ok()
}

/// Starts something that then runs on the servers' processors alone, or where it would if there are none.
pub fn on_servers<T>(pinned: Option<&Pinned>, start: impl FnOnce() -> T) -> T {
    // A failure leaves the thread where it is, which the client's processors are.
    let is_there = pinned.is_some_and(|pinned| sys::run_on(&pinned.servers).is_ok());
    let started = start();
    if let Some(pinned) = pinned.filter(|_| is_there) {
        let _ = sys::run_on(&pinned.client);
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(cores: &[&str]) -> Vec<Cpu> {
        (0..).zip(cores).map(|(id, core)| Cpu { id, core: (*core).to_owned() }).collect()
    }

    fn sides(cores: &[&str]) -> Option<(Vec<u32>, Vec<u32>)> {
        split(&cpus(cores)).map(|pinned| (pinned.servers, pinned.client))
    }

    #[test]
    fn few_processors_are_shared() {
        assert_eq!(sides(&["0", "1", "2"]), None);
        assert_eq!(sides(&[]), None);
        assert_eq!(sides(&["0-3", "0-3", "0-3", "0-3"]), None, "there is one core");
    }

    #[test]
    fn each_side_gets_half_of_the_cores_and_no_core_is_divided() {
        assert_eq!(sides(&["0", "1", "2", "3"]), Some((vec![0, 1], vec![2, 3])));
        assert_eq!(sides(&["0,2", "1,3", "0,2", "1,3"]), Some((vec![0, 2], vec![1, 3])));
        assert_eq!(sides(&["0-1", "0-1", "2-3", "2-3", "4-5", "4-5"]), Some((vec![0, 1], vec![2, 3, 4, 5])));
        assert_eq!(sides(&["", "", "", "", ""]), Some((vec![0, 1], vec![2, 3, 4])), "no topology is told");
    }

    #[test]
    fn what_is_started_without_pins_is_started_all_the_same() {
        assert_eq!(on_servers(None, || 7), 7);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn servers_start_on_their_processors_and_the_thread_comes_back() {
        // A thread of its own, since the test must not keep others of this process from their processors.
        let work = || {
            let all: Vec<u32> = sys::usable_cpus().iter().map(|cpu| cpu.id).collect();
            let pinned = Pinned { servers: vec![all[0]], client: vec![all[all.len() - 1]] };
            assert!(keep_client(&pinned));
            let allowed = || {
                let out = std::process::Command::new("grep").args(["Cpus_allowed_list", "/proc/self/status"]).output();
                String::from_utf8_lossy(&out.expect("grep starts").stdout).split_whitespace().last().map(str::to_owned)
            };
            let seen = (on_servers(Some(&pinned), allowed), allowed());
            assert_eq!(seen, (Some(pinned.servers[0].to_string()), Some(pinned.client[0].to_string())));
        };
        std::thread::spawn(work).join().expect("the thread does not panic");
    }
}
