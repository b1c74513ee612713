//! Parses the command line, runs the command and returns its exit code.

use std::process::ExitCode;

use echo_tester::cli;

fn main() -> ExitCode {
    cli::run().into()
}
