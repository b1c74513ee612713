//! The exit codes, in one table that scripts, documentation and tests share. A code is never a count, which would wrap
//! at 256.

use std::process::ExitCode;

/// How the program ends. The discriminant is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was verified.
    Pass = 0,
    /// Wrong, missing or extra bytes, or a connection that broke.
    VerificationFailed = 1,
    /// Flags, environment variables or a scenario file are invalid.
    Usage = 2,
    /// The bytes were right, but a threshold was missed.
    ThresholdMissed = 3,
    /// Nothing was verified, the target could not be reached, or all cases were skipped.
    Inconclusive = 4,
    /// Stopped by Ctrl-C or SIGTERM. The report so far was printed.
    Interrupted = 130,
}

/// One row of the table.
pub struct ExitRow {
    /// The outcome, which is also the exit code.
    pub exit: Exit,
    /// One sentence for the documentation.
    pub about: &'static str,
}

/// Every exit code, in order.
pub const TABLE: &[ExitRow] = &[
    ExitRow { exit: Exit::Pass, about: "pass" },
    ExitRow {
        exit: Exit::VerificationFailed,
        about: "verification failed: wrong, missing or extra bytes, or a connection that broke",
    },
    ExitRow { exit: Exit::Usage, about: "usage or configuration" },
    ExitRow { exit: Exit::ThresholdMissed, about: "a threshold was missed" },
    ExitRow {
        exit: Exit::Inconclusive,
        about: "inconclusive or could not run: nothing verified, target unreachable, all cases skipped",
    },
    ExitRow { exit: Exit::Interrupted, about: "interrupted: the report so far is still printed, marked interrupted" },
];

impl Exit {
    /// The number that the process returns.
    pub const fn code(self) -> u8 {
        self as u8
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
        text.push_str(&format!("\n  {:>3}  {}", row.exit.code(), row.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_exit_code_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|row| row.exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 130]);
    }
}
