//! Whether a server kept descriptors or threads of connections that have closed. Pure.
//!
//! A level that is higher than before is no evidence: pools, caches and thread pools grow to what they need and stay.
//! What is evidence is growth with the number of connections. So the same load is run again, twice: it leaves behind
//! about as much each time, or it has not leaked. Memory proves nothing here, because allocators keep what was freed.

use crate::measure::usage::{UsageFigure, UsageLevel};
use crate::units::grouped;

/// Fewer descriptors or threads than this are nothing: loggers, resolvers and runtimes open some when they first need
/// them.
pub const LEFT_BEHIND: u64 = 10;
/// What a server may keep of a connection, and how many it has of it.
const KINDS: [(&str, UsageFigure); 2] =
    [("descriptors left open", |level| level.fds), ("threads left running", |level| level.threads)];
/// How often the same load is run again before anything is called a leak.
pub const REPETITIONS: usize = 2;

/// Whether so much is left that the load should be run again. `early`: the level of the run's first connections.
pub fn is_suspicious(before: &UsageLevel, early: Option<&UsageLevel>, settled: &UsageLevel) -> bool {
    let is_left = |level: &UsageLevel| settled.excess_over(level) >= LEFT_BEHIND;
    is_left(before) && early.is_none_or(is_left)
}

/// What is left behind, in words. `levels`: before the first connection, after the last had closed, and after each
/// repetition. `None`: a level is missing, or nothing is left behind that grows with the number of connections.
pub fn sentence(levels: &[UsageLevel], connections: u64) -> Option<String> {
    let of_kind = |(what, of): &(&str, UsageFigure)| {
        let levels: Option<Vec<u64>> = levels.iter().map(of).collect();
        growth(&levels?, connections).map(|growth| growth.replacen("{}", what, 1))
    };
    let left: Vec<String> = KINDS.iter().filter_map(of_kind).collect();
    (!left.is_empty()).then(|| left.join("; "))
}

/// The kinds of things that a [`sentence`] tells of; none in any other text.
pub fn named_in(text: &str) -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(what, _)| *what).filter(move |what| text.contains(what))
}

/// The growth in words, with `{}` for what has grown.
fn growth(levels: &[u64], connections: u64) -> Option<String> {
    let steps: Option<Vec<u64>> = levels.windows(2).map(|pair| pair[1].checked_sub(pair[0])).collect();
    let steps = steps.filter(|steps| steps.len() == 1 + REPETITIONS)?;
    // A pool that has not reached its size at once grows less each time.
    let least = LEFT_BEHIND.max(steps[0].div_ceil(2));
    let shown: Vec<String> = levels.iter().map(|level| grouped(*level)).collect();
    steps.iter().all(|step| *step >= least).then(|| {
        format!(
            "{} {{}}: {} before the first connection, {} when all {} had closed, and {} after the same load again",
            grouped(steps[0]),
            shown[0],
            shown[1],
            grouped(connections),
            shown[2..].join(", then ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(fds: u64, threads: u64) -> UsageLevel {
        UsageLevel { fds: Some(fds), threads: Some(threads), memory_bytes: Some(1 << 20) }
    }

    fn of_fds(fds: [u64; 4]) -> Option<String> {
        sentence(&fds.map(|fds| level(fds, 4)), 2000)
    }

    #[test]
    fn what_grows_by_as_much_each_time_is_left_behind() {
        assert_eq!(
            of_fds([9, 2009, 4009, 6009]).as_deref(),
            Some(
                "2,000 descriptors left open: 9 before the first connection, 2,009 when all 2,000 had closed, and 4,009, \
                 then 6,009 after the same load again"
            )
        );
        assert!(of_fds([9, 21, 33, 45]).is_some_and(|left| left.starts_with("12 descriptors")));
        assert!(of_fds([9, 49, 84, 110]).is_some(), "a leak that comes by chance");
        let threads = sentence(&[level(9, 4), level(9, 104), level(9, 204), level(9, 304)], 100);
        assert!(threads.is_some_and(|left| left.starts_with("100 threads left running: 4 before")));
    }

    #[test]
    fn a_pool_a_cache_and_a_server_that_is_slow_to_let_go_are_not_accused() {
        for fds in [[9, 73, 73, 73], [9, 73, 9, 73], [9, 49, 73, 73], [9, 309, 359, 380], [9, 18, 27, 36]] {
            assert_eq!(of_fds(fds), None, "{fds:?}");
        }
        let memory = |bytes| UsageLevel { memory_bytes: Some(bytes), ..level(9, 4) };
        assert_eq!(sentence(&[1, 2, 3, 4].map(|n| memory(n << 30)), 2000), None);
    }

    #[test]
    fn without_all_repetitions_nobody_is_accused() {
        assert_eq!(sentence(&[level(9, 4), level(2009, 4), level(4009, 4)], 2000), None);
        assert_eq!(sentence(&[UsageLevel::default(); 4], 2000), None);
    }

    #[test]
    fn a_level_that_the_first_connections_have_reached_already_is_a_pool() {
        let (before, full) = (level(9, 4), level(73, 68));
        assert!(!is_suspicious(&before, Some(&full), &full) && is_suspicious(&before, None, &full));
        assert!(is_suspicious(&before, Some(&level(40, 4)), &full) && !is_suspicious(&before, None, &level(18, 13)));
    }
}
