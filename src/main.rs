//! Parse, dispatch, error to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    echo_tester::exit::Exit::Usage.into()
}
