//! The smallest script that shows a fault without this program: python3 with its standard library, 30 to 45 lines. Who
//! maintains a proxy can run it, read it, and keep it as a test. Those for proxies whose both ends are ours have 38 to
//! 66 lines, since they are the server too.

use std::net::SocketAddr;

use crate::units::nearest::nearest;

/// A script, and the faults that it shows.
pub struct MinimalScript {
    /// Its name.
    pub name: &'static str,
    /// What goes wrong in a proxy that has the fault.
    pub shows: &'static str,
    /// The cases of the suite that fail by it; none, if it is a way in which the cases of others may fail.
    pub cases: &'static [&'static str],
    /// It is the server behind the proxy too, and needs an address to listen on; else the server is an echo server.
    pub is_of_two_sides: bool,
    text: &'static str,
}

/// Every script.
pub const SCRIPTS: &[MinimalScript] = &[
    MinimalScript {
        name: "half-close",
        shows: "a half-closed connection is cut, ends too early, or ends with a reset or not at all",
        cases: &["3.2", "9.2"],
        is_of_two_sides: false,
        text: include_str!("minimal/half_close.py"),
    },
    MinimalScript {
        name: "backlog",
        shows: "bytes that wait to be sent are lost at the end",
        cases: &["3.3", "3.7", "3.8", "3.9"],
        is_of_two_sides: false,
        text: include_str!("minimal/backlog.py"),
    },
    MinimalScript {
        name: "reset",
        shows: "a connection that is over ends with a reset in place of a FIN",
        cases: &[],
        is_of_two_sides: false,
        text: include_str!("minimal/reset.py"),
    },
    MinimalScript {
        name: "back-pressure",
        shows: "a connection on which neither direction is read for a while never goes on",
        cases: &["2.1", "2.2", "2.3", "2.4", "2.6"],
        is_of_two_sides: false,
        text: include_str!("minimal/back_pressure.py"),
    },
    MinimalScript {
        name: "bytes",
        shows: "bytes are lost, changed, repeated or in another order",
        cases: &["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"],
        is_of_two_sides: false,
        text: include_str!("minimal/bytes.py"),
    },
    MinimalScript {
        name: "server-fin",
        shows: "after the server's FIN, what the client still sends is cut off; or that FIN comes too late",
        cases: &["11.5", "11.25"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/server_fin.py"),
    },
    MinimalScript {
        name: "client-fin",
        shows: "after the client's FIN, what the server still sends is cut off; or that FIN comes too late",
        cases: &["11.6", "11.26"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/client_fin.py"),
    },
    MinimalScript {
        name: "both-fins",
        shows: "bytes that are on their way are lost when the other side ends",
        cases: &["11.1", "11.8"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/both_fins.py"),
    },
    MinimalScript {
        name: "late-readers",
        shows: "bytes that wait for a late reader are lost at the end, or an end comes back before any was sent",
        cases: &["11.3", "11.4", "11.14", "11.15"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/late_readers.py"),
    },
    MinimalScript {
        name: "resets",
        shows: "a reset of one side does not end the other one's connection",
        cases: &["11.9", "11.10", "11.30"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/resets.py"),
    },
    MinimalScript {
        name: "blocked-way",
        shows: "while one side does not read, what that side sends does not come through",
        cases: &["11.27", "11.28"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/blocked_way.py"),
    },
    MinimalScript {
        name: "speaks-first",
        shows: "a server that speaks first is not heard before the client has sent something",
        cases: &["11.24"],
        is_of_two_sides: true,
        text: include_str!("minimal/two_sides/speaks_first.py"),
    },
];

/// What the scripts of two sides share.
const PARTS: &[(&str, &str)] = &[
    ("@OPENING@\n", include_str!("minimal/two_sides/opening.py")),
    ("@SEND@\n", include_str!("minimal/two_sides/send.py")),
];

impl MinimalScript {
    /// The script of this name, or for this case of the suite.
    ///
    /// # Errors
    /// There is none; the text says which there are.
    pub fn named(name: &str) -> Result<&'static MinimalScript, String> {
        let known = SCRIPTS.iter().find(|script| script.name == name || script.cases.contains(&name));
        known.ok_or_else(|| {
            let words = SCRIPTS.iter().map(|script| script.name);
            if let Some(meant) = nearest(name, words) {
                return format!("there is no script '{name}': did you mean {meant}?");
            }
            let of = |script: &MinimalScript| match script.cases {
                [] => script.name.to_owned(),
                cases => format!("{} ({})", script.name, cases.join(", ")),
            };
            let all: Vec<String> = SCRIPTS.iter().map(of).collect();
            format!("there is no script for '{name}': name one of these, or one of its cases: {}", all.join("; "))
        })
    }

    /// The script for this target, this address to listen on if it is of two sides, and this patience, in seconds.
    pub fn against(&self, (host, port): (&str, &str), listen: Option<SocketAddr>, patience_s: f64) -> String {
        let quoted = |host: &str| format!("{:?}", host.trim_matches(['[', ']']));
        let (listen_host, listen_port) = listen.map(|at| (at.ip().to_string(), at.port().to_string())).unzip();
        let values = [
            ("@HOST@", quoted(host)),
            ("@PORT@", port.to_owned()),
            ("@LISTEN_HOST@", quoted(&listen_host.unwrap_or_default())),
            ("@LISTEN_PORT@", listen_port.unwrap_or_default()),
            ("@PATIENCE@", patience_s.to_string()),
        ];
        let text = PARTS.iter().fold(self.text.to_owned(), |text, (name, part)| text.replace(name, part));
        values.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_one_name_its_own_cases_and_no_place_that_is_not_filled_in() {
        for script in SCRIPTS {
            let listen = script.is_of_two_sides.then(|| SocketAddr::from(([0; 4], 8888)));
            let text = script.against(("[::1]", "7777"), listen, 5.0);
            let (begin, most) = match script.is_of_two_sides {
                true => ("PROXY, LISTEN, PATIENCE = (\"::1\", 7777), (\"0.0.0.0\", 8888), 5\n", 66),
                false => ("TARGET, PATIENCE", 45),
            };
            assert!(text.contains(begin) && text.contains("(\"::1\", 7777), "), "{text}");
            assert!(!text.contains('@') && text.lines().count() <= most, "{}", script.name);
            for name in script.cases.iter().chain([&script.name]) {
                assert_eq!(MinimalScript::named(name).map(|found| found.name), Ok(script.name));
            }
        }
    }

    #[test]
    fn another_case_is_answered_with_those_that_have_a_script() {
        let error = |name| MinimalScript::named(name).map(|script| script.name).expect_err(name);
        assert_eq!(error("half-clos"), "there is no script 'half-clos': did you mean half-close?");
        assert!(error("4.1").contains("name one of these, or one of its cases: half-close (3.2, 9.2); backlog (3.3"));
    }
}
