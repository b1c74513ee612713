//! The suite for proxies, where both ends are ours: the files of `scenarios/two-sides`, embedded so that
//! `check --backend` needs no files. A new case is a file there and a row here.

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of every file, in the order in which they run; a test compares the table with the folder.
        pub const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/two-sides/", $name)))),+];
    };
}

files![
    "11.1-both-directions-at-once.toml",
    "11.2-request-and-reply-of-different-sizes.toml",
    "11.3-upload-alone.toml",
    "11.4-download-alone.toml",
    "11.5-the-server-half-closes-while-the-client-sends.toml",
    "11.6-the-client-half-closes-while-the-server-sends.toml",
    "11.6L-the-client-half-closes-and-the-server-sends-for-75-s.toml",
    "11.7L-the-client-half-closes-and-the-server-sends-for-10-min.toml",
    "11.8-both-end-at-the-same-moment.toml",
    "11.9-a-reset-of-the-server-ends-the-client.toml",
    "11.10-a-reset-of-the-client-ends-the-server.toml",
    "11.11-a-server-that-closes-with-bytes-unread.toml",
    "11.12-what-the-way-to-the-server-holds.toml",
    "11.13-what-the-way-to-the-client-holds.toml",
    "11.14-a-server-that-reads-late-gets-everything.toml",
    "11.15-a-client-that-reads-late-gets-everything.toml",
    "11.16-a-stalled-neighbour-delays-nobody.toml",
    "11.17-two-hundred-connections-one-to-one.toml",
    "11.18-sigterm-of-the-proxy-with-connections-open.toml",
    "11.19-a-server-that-resets-at-once.toml",
    "11.20-a-server-that-is-down-refuses-connections.toml",
    "11.21-a-server-that-resets-each-connection-at-once.toml",
    "11.22-after-a-server-has-refused-connections-are-served-again.toml",
    "11.23-after-a-server-has-reset-connections-are-served-again.toml",
    "11.24-a-server-that-speaks-first.toml",
    "11.25-much-behind-the-fin-of-the-server.toml",
    "11.26-much-behind-the-fin-of-the-client.toml",
    "11.27-the-way-back-while-the-way-to-the-server-is-blocked.toml",
    "11.28-the-way-to-the-server-while-the-way-back-is-blocked.toml",
    "11.29L-the-server-half-closes-and-the-client-sends-for-75-s.toml",
    "11.30-a-reset-right-behind-the-first-bytes.toml",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::{Scenario, Variables, conformance};

    #[test]
    fn the_table_is_the_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/two-sides");
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("the entry can be read").file_name();
        let names: BTreeSet<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        assert_eq!(FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn every_case_has_two_sides_and_its_own_address_and_says_what_it_is_for() {
        for (name, text) in FILES {
            let read = Scenario::read(name, text, &Variables::none(), true);
            let case = read.unwrap_or_else(|error| panic!("{error}")).remove(0);
            assert!(case.has_two_sides() && case.server.is_none() && case.backend.is_none(), "{name}");
            assert!(name.starts_with(&format!("{}-", case.id)), "{name} is {}", case.id);
            for part in ["Proves: ", "Catches: ", "Look at: ", "See: "] {
                assert!(case.about.contains(part), "{name} has no '{part}'");
            }
            assert_eq!(case.long, case.id.ends_with('L'), "{name}: the id of a long case ends in L, and no other");
            let is_taken = conformance::FILES.iter().any(|(other, _)| other.starts_with(&format!("{}-", case.id)));
            assert!(!is_taken, "{name}: 'check' has a case of this id");
        }
    }

    #[test]
    fn every_case_waits_as_long_as_the_user_says() {
        let patience = conformance::patience(std::time::Duration::from_secs(70));
        let cases = Scenario::two_sides(&Variables::new(patience, |_| None)).expect("70s is a time");
        for load in cases.iter().flat_map(|case| &case.loads) {
            assert_eq!((load.connect_timeout.as_secs(), load.stall_timeout.as_secs()), (70, 70));
        }
    }
}
