//! The smallest script that shows a fault without this program: python3 with its standard library, some 30 lines. Who
//! maintains a proxy can run it, read it, and keep it as a test.

use crate::units::nearest::nearest;

/// A script, and the faults that it shows.
pub struct MinimalScript {
    /// Its name.
    pub name: &'static str,
    /// What goes wrong in a proxy that has the fault.
    pub shows: &'static str,
    /// The cases of the suite that fail by it; none, if it is a way in which the cases of others may fail.
    pub cases: &'static [&'static str],
    text: &'static str,
}

/// Every script.
pub const SCRIPTS: &[MinimalScript] = &[
    MinimalScript {
        name: "half-close",
        shows: "a half-closed connection is cut, ends too early, or ends with a reset or not at all",
        cases: &["3.2", "9.2"],
        text: include_str!("minimal/half_close.py"),
    },
    MinimalScript {
        name: "backlog",
        shows: "bytes that wait to be sent are lost at the end",
        cases: &["3.3", "3.7", "3.8", "3.9"],
        text: include_str!("minimal/backlog.py"),
    },
    MinimalScript {
        name: "reset",
        shows: "a connection that is over ends with a reset in place of a FIN",
        cases: &[],
        text: include_str!("minimal/reset.py"),
    },
    MinimalScript {
        name: "back-pressure",
        shows: "a connection on which neither direction is read for a while never goes on",
        cases: &["2.1", "2.2", "2.3", "2.4", "2.6"],
        text: include_str!("minimal/back_pressure.py"),
    },
    MinimalScript {
        name: "bytes",
        shows: "bytes are lost, changed, repeated or in another order",
        cases: &["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"],
        text: include_str!("minimal/bytes.py"),
    },
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

    /// The script for this target and this patience, in seconds.
    pub fn against(&self, (host, port): (&str, &str), patience_s: f64) -> String {
        let host = host.trim_matches(['[', ']']);
        let values =
            [("@HOST@", format!("{host:?}")), ("@PORT@", port.to_owned()), ("@PATIENCE@", patience_s.to_string())];
        values.iter().fold(self.text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_one_name_its_own_cases_and_no_place_that_is_not_filled_in() {
        for script in SCRIPTS {
            let text = script.against(("[::1]", "7777"), 5.0);
            assert!(text.contains("TARGET, PATIENCE") && text.contains("(\"::1\", 7777), 5"), "{text}");
            assert!(!text.contains('@') && text.lines().count() <= 42, "{}", script.name);
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
