//! Parse, dispatch, error to exit code.

use std::process::ExitCode;

use clap::Parser;
use echo_tester::cli::Cli;
use echo_tester::cmd;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cmd::dispatch(cli).into()
}
