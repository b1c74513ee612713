//! The Windows program on a Unix machine, under Wine: evidence, not proof, of what real Windows does.
//!
//! Every test asks [`wine::windows_program`] first; without Wine or the exe it says so on stderr and tests nothing.

#![cfg(unix)]

mod wine;

#[test]
fn the_windows_program_starts_and_answers_a_missing_subcommand_with_usage() {
    let Some(program) = wine::windows_program() else { return };
    let status = program.command::<_, &str>([]).status().expect("wine starts");
    assert_eq!(status.code(), Some(2), "exit code 2 is usage: {status}");
}
