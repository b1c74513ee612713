//! What a case can't be judged without: `needs = ["ipv6"]`. Where it is missing, the case is *unsupported*, with the
//! sentence of the table. Nothing is probed here: `runner::needs` does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that a case can't be judged without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A server that the program starts
    StartedServer,
    /// A server whose processes can be watched
    WatchedServer,
    /// IPv6 on this machine's loopback
    Ipv6,
    /// Linux on this machine
    Linux,
    /// A Unix system on this machine
    Unix,
}

/// One row of [`NEEDS`].
pub struct NeedRow {
    /// The need.
    pub need: Need,
    /// The word for it in a scenario file.
    pub name: &'static str,
    /// Why a case without it is not judged: one sentence.
    pub unmet: &'static str,
    /// How it is probed.
    pub probe: &'static str,
}

/// Every need. How each is probed is said here and done in `runner::needs`.
pub const NEEDS: &[NeedRow] = &[
    NeedRow {
        need: Need::StartedServer,
        name: "started-server",
        unmet: "it needs a server that echo-tester starts: leave out the target, or start yours by a scenario's command",
        probe: "the case has no target",
    },
    NeedRow {
        need: Need::WatchedServer,
        name: "watched-server",
        unmet: "it needs to see the server's processes: give the id of its process (--pid), if it runs on this machine",
        probe: "echo-tester starts the server, or --pid names it, and the system tells what processes use",
    },
    NeedRow {
        need: Need::Ipv6,
        name: "ipv6",
        unmet: "this machine's loopback has no IPv6 address ::1",
        probe: "a listener is bound to ::1",
    },
    NeedRow { need: Need::Linux, name: "linux", unmet: "it needs Linux on this machine", probe: "the build's system" },
    NeedRow {
        need: Need::Unix,
        name: "unix",
        unmet: "it needs a Unix system on this machine",
        probe: "the build's system",
    },
];

impl Need {
    /// Why a case without it is not judged, as a sentence.
    pub fn unmet(self) -> &'static str {
        self.row().unmet
    }

    fn row(self) -> &'static NeedRow {
        NEEDS.iter().find(|row| row.need == self).expect("every need has a row: a test walks them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_one_row_whose_name_is_that_of_the_file() {
        // A new need does not compile here without a look at the table.
        for row in NEEDS {
            match row.need {
                Need::StartedServer | Need::WatchedServer | Need::Ipv6 | Need::Linux | Need::Unix => {
                    assert_eq!(serde_json::to_value(row.need).expect("a word"), row.name);
                }
            }
            assert_eq!(NEEDS.iter().filter(|other| other.need == row.need).count(), 1, "{}", row.name);
            for text in [row.unmet, row.probe] {
                assert!(text.len() > 10 && !text.ends_with('.'), "{}: {text}", row.name);
            }
        }
        assert_eq!(NEEDS.len(), 5);
    }
}
