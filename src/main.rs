//! Parse, dispatch, error to exit code.

use std::process::ExitCode;

use echo_tester::{cli, cmd};

fn main() -> ExitCode {
    let cli = cli::parse();
    cmd::dispatch(cli).into()
}
