//! Runs the program as a user would, without the environment variables that change what it does.

use std::process::{Command, Stdio};

/// The program with these arguments, started at the root of the repository.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.args(args).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ECHO_TESTER_")) {
        command.env_remove(name);
    }
    command
}

/// Its exit code, stdout and stderr. The program ends on its own: the stall time-outs of the files are seconds.
pub(crate) fn said(args: &[&str]) -> (i32, String, String) {
    let output = program(args).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
