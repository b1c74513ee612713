//! The conformance suite: the files of `scenarios/conformance`, embedded so that `check` needs no files. A new case is
//! a file there and a row here.

use std::time::Duration;

use crate::units::Time;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of every file, in the order in which they run; a test compares the table with the folder.
        pub const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/conformance/", $name)))),+];
    };
}

files![
    "1.1-one-byte.toml",
    "1.2-every-size-from-1-to-2048.toml",
    "1.3-byte-by-byte.toml",
    "1.4-sizes-around-the-usual-buffer-sizes.toml",
    "1.5-random-sizes-and-fragments.toml",
    "1.6-a-large-stream-of-256-mib.toml",
    "1.6L-a-large-stream-of-5-gib.toml",
    "2.1-write-until-it-stalls-then-read-everything.toml",
    "2.2-slow-reader-fast-writer.toml",
    "2.3-full-duplex-with-a-large-window.toml",
    "2.4-back-pressure-that-comes-and-goes.toml",
    "2.5-a-window-that-opens-byte-by-byte.toml",
    "2.6-the-smallest-buffers.toml",
    "3.1-connect-and-close.toml",
    "3.2-half-close-all-bytes-then-eof.toml",
    "3.3-half-close-behind-a-large-unread-backlog.toml",
    "3.4-reset-in-mid-stream.toml",
    "3.5-close-with-echo-unread.toml",
    "3.6-the-server-does-not-close-first.toml",
    "3.7-a-half-close-behind-a-backlog-of-any-length.toml",
    "3.8-a-flush-that-takes-seconds.toml",
    "3.9-a-flush-of-any-length-in-small-segments.toml",
    "3.9L-a-flush-that-takes-40-s.toml",
    "4.1-a-silent-connection-delays-nobody.toml",
    "4.2-a-connection-that-never-reads-delays-nobody.toml",
    "4.3-no-crosstalk-among-64.toml",
    "4.4-half-are-reset-half-are-exact.toml",
    "5.1-65-connections-at-once.toml",
    "5.2-1025-connections-at-once.toml",
    "5.3-2000-times-open-echo-close.toml",
    "5.4-a-burst-of-500-connects.toml",
    "5.5-300-connections-busy-at-once.toml",
    "5.6-20000-times-open-echo-close.toml",
    "5.6L-70000-times-open-echo-close.toml",
    "6.1-gaps-of-200-ms-between-fragments-of-one-message.toml",
    "6.2-idle-then-traffic.toml",
    "6.3-idle-then-a-large-burst.toml",
    "6.4L-idle-for-15-s.toml",
    "6.5L-idle-for-65-s.toml",
    "6.6L-idle-for-360-s.toml",
    "6.7L-idle-for-910-s.toml",
    "7.1-a-tiny-mss.toml",
    "7.2-no-window-scaling.toml",
    "7.3-nagle-on-write-write-read.toml",
    "7.4-the-same-four-tuple-again.toml",
    "7.5-data-with-the-syn.toml",
    "7.6-keep-alive-at-its-shortest.toml",
    "7.7-ipv6.toml",
    "7.8-dual-stack-and-v4-mapped.toml",
    "8.1-first-bytes-like-tls.toml",
    "8.2-first-bytes-like-http.toml",
    "8.3-first-bytes-like-ssh.toml",
    "8.4-first-bytes-like-proxy-v1.toml",
    "8.5-first-bytes-like-proxy-v2.toml",
    "9.1-a-reset-before-accept.toml",
    "9.2-bytes-and-fin-before-accept.toml",
    "9.3-half-close-read-a-part-then-reset.toml",
    "9.4-reading-is-shut-down-while-echo-is-owed.toml",
    "9.5-both-directions-are-shut-down-while-echo-is-owed.toml",
    "9.6-an-urgent-byte-in-mid-stream.toml",
    "9.7-an-urgent-byte-behind-the-last.toml",
    "10.1-descriptors-exhausted-and-come-back.toml",
    "10.2-sigterm-under-load.toml",
    "10.3-a-connection-leaves-nothing-behind-in-the-server.toml",
    "10.4-silence-costs-no-processor-time.toml",
];

/// The cases that usually take longer than [`SHORT`], by their ids, with their seconds: measured with `epoll` on a
/// machine of two cores. Progress shows the time that is left by them.
const USUAL_SECONDS: &[(&str, f64)] = &[
    ("1.6", 1.8),
    ("1.6L", 25.0),
    ("2.2", 1.9),
    ("2.4", 8.7),
    ("2.5", 3.3),
    ("3.1", 1.2),
    ("3.2", 1.1),
    ("3.3", 1.8),
    ("3.4", 1.0),
    ("3.5", 1.3),
    ("3.6", 2.0),
    ("3.7", 3.5),
    ("3.8", 3.3),
    ("3.9", 3.5),
    ("3.9L", 41.0),
    ("4.1", 3.2),
    ("4.2", 3.6),
    ("4.3", 1.7),
    ("4.4", 1.8),
    ("5.2", 1.0),
    ("5.3", 1.8),
    ("5.5", 2.8),
    ("5.6", 7.2),
    ("5.6L", 25.0),
    ("6.1", 2.1),
    ("6.2", 3.2),
    ("6.3", 4.2),
    ("6.4L", 16.0),
    ("6.5L", 66.0),
    ("6.6L", 361.0),
    ("6.7L", 911.0),
    ("7.2", 3.2),
    ("7.4", 2.3),
    ("7.6", 4.6),
    ("9.3", 1.6),
    ("9.4", 1.1),
    ("9.5", 2.1),
    ("10.1", 3.0),
    ("10.2", 1.7),
    ("10.3", 2.0),
    ("10.4", 3.0),
];

/// The usual time of the other cases.
const SHORT: Duration = Duration::from_millis(400);

/// How long the case of this file usually takes; `None`: it is not one of the suite.
pub fn usual_time(file: &str) -> Option<Duration> {
    let (name, _) = FILES.iter().find(|(name, _)| *name == file)?;
    let id = name.split('-').next().unwrap_or_default();
    let known = USUAL_SECONDS.iter().find(|(known, _)| *known == id);
    Some(known.map_or(SHORT, |(_, seconds)| Duration::from_secs_f64(*seconds)))
}

/// The variable in the files that says how long a connection may wait for the server.
const PATIENCE: &str = "PATIENCE";
/// The same for cases with a window of zero or of a few bytes: there the client's own system may be what waits.
const WINDOW_PATIENCE: &str = "WINDOW_PATIENCE";
/// The second is this many times the first. A sender probes a closed window after 0.2 s, 0.4 s, 0.8 s … (RFC 9293,
/// 3.8.6.1), so one missed update costs seconds: among 2,560 connections of case 2.6 a round trip took up to 3.4 s.
const TIMES_AT_A_WINDOW: u32 = 4;

/// The variables for connections that may wait this long.
pub fn patience(time: Duration) -> [(String, String); 2] {
    [(PATIENCE, time), (WINDOW_PATIENCE, time * TIMES_AT_A_WINDOW)]
        .map(|(name, time)| (name.to_owned(), Time(time).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, Variables};

    /// The parts of a name as numbers where they are: 5.6 < 5.6L < 10.1.
    fn in_natural_order(name: &str) -> (Vec<u32>, String) {
        let id = name.split('-').next().unwrap_or_default();
        (id.trim_end_matches('L').split('.').map(|part| part.parse().expect("a number")).collect(), name.to_owned())
    }

    #[test]
    fn the_table_is_the_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/conformance");
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("the entry can be read").file_name();
        let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| in_natural_order(name));
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn patience_limits_every_wait_of_a_connection_in_every_case() {
        let seconds = std::time::Duration::from_secs;
        let patient = Scenario::conformance(&Variables::new(patience(seconds(70)), |_| None)).expect("70s is a time");
        for (case, usual) in patient.iter().zip(Scenario::conformance(&Variables::none()).expect("the files are valid"))
        {
            for (load, usual) in case.loads.iter().zip(&usual.loads) {
                let times = if ["2.5", "2.6"].contains(&case.id.as_str()) { TIMES_AT_A_WINDOW } else { 1 };
                for (load, patience) in [(usual, seconds(5)), (load, seconds(70))] {
                    let waits = [load.connect_timeout, load.stall_timeout];
                    assert_eq!(waits, [patience, patience * times], "{}", case.title());
                }
            }
        }
        let refused = Scenario::conformance(&Variables::new([(PATIENCE.to_owned(), "long".to_owned())], |_| None));
        assert!(refused.is_err_and(|error| error.to_string().contains("long")));
    }

    #[test]
    fn every_case_has_a_usual_time_and_no_other() {
        let ids: Vec<&str> = FILES.iter().filter_map(|(name, _)| name.split('-').next()).collect();
        for (n, (id, seconds)) in USUAL_SECONDS.iter().enumerate() {
            assert!(ids.contains(id) && *seconds > SHORT.as_secs_f64(), "{id}");
            assert!(USUAL_SECONDS[..n].iter().all(|(other, _)| other != id), "{id}");
        }
        let cases = Scenario::conformance(&Variables::none()).expect("the files are valid");
        assert!(
            cases.iter().all(|case| usual_time(&case.path).is_some()),
            "{:?}",
            cases.first().map(|case| &case.path)
        );
        assert_eq!(usual_time("mine.toml"), None);
    }

    #[test]
    fn sizes_at_the_ends_of_buffers_are_single_writes() {
        let cases = Scenario::conformance(&Variables::none()).expect("the files are valid");
        let about_sizes = cases.iter().filter(|case| ["1.2", "1.4"].contains(&case.id.as_str()));
        let fragments: Vec<_> = about_sizes.map(|case| &case.loads[0].fragment).collect();
        assert_eq!(fragments, [&None, &None], "a fragment would hide the size from the server");
    }

    #[test]
    fn every_case_has_its_own_address_and_says_what_it_is_for() {
        for (name, text) in FILES {
            let case = Scenario::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(name.starts_with(&format!("{}-", case.id)), "{name} is {}", case.id);
            for part in ["Proves: ", "Catches: ", "Look at: ", "See: "] {
                assert!(case.about.contains(part), "{name} has no '{part}'");
            }
            assert_eq!(case.long, case.id.ends_with('L'), "{name}: the id of a long case ends in L, and no other");
        }
    }
}
