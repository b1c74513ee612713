//! The exit codes: the one table that scripts, documentation and tests agree on. Never a count, which would wrap at
//! 256.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for was verified.
    Pass,
    /// Wrong, missing or extra bytes, or a connection that broke.
    VerificationFailed,
    /// Flags, environment or a scenario file that make no sense.
    Usage,
    /// The bytes were right but a threshold was missed.
    ThresholdMissed,
    /// Nothing was verified, the target could not be reached, or all cases were skipped.
    Inconclusive,
    /// Stopped by Ctrl-C or SIGTERM; the report so far was printed.
    Interrupted,
}

/// One row of the table.
pub struct Row {
    /// The outcome.
    pub exit: Exit,
    /// What the process returns.
    pub code: u8,
    /// One sentence for the documentation.
    pub about: &'static str,
}

/// Every exit code, in order.
pub const TABLE: &[Row] = &[
    Row { exit: Exit::Pass, code: 0, about: "pass" },
    Row {
        exit: Exit::VerificationFailed,
        code: 1,
        about: "verification failed: wrong, missing or extra bytes, or a connection that broke",
    },
    Row { exit: Exit::Usage, code: 2, about: "usage or configuration" },
    Row { exit: Exit::ThresholdMissed, code: 3, about: "a threshold was missed" },
    Row {
        exit: Exit::Inconclusive,
        code: 4,
        about: "inconclusive or could not run: nothing verified, target unreachable, all cases skipped",
    },
    Row {
        exit: Exit::Interrupted,
        code: 130,
        about: "interrupted: the report so far is still printed, marked interrupted",
    },
];

impl Exit {
    /// The number that the process returns.
    pub fn code(self) -> u8 {
        TABLE.iter().find(|row| row.exit == self).map_or(2, |row| row.code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// The table as the text that ends the help and the man page.
pub fn help() -> String {
    let mut text = String::from("Exit codes:");
    for row in TABLE {
        text.push_str(&format!("\n  {:>3}  {}", row.code, row.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_in_the_table() {
        let mut codes: Vec<u8> = TABLE.iter().map(|row| row.code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 1, 2, 3, 4, 130]);
    }

    #[test]
    fn each_outcome_returns_the_code_of_its_own_row() {
        for row in TABLE {
            assert_eq!(row.exit.code(), row.code);
        }
    }
}
