//! The environment variables that stand for flags: which there are, and which of those that are set mean nothing.

use std::collections::BTreeSet;

use clap::Command;

use crate::units::nearest::nearest;

/// All variables of this program begin with this.
const PREFIX: &str = "ECHO_TESTER_";

/// Variables that the tests of this repository read. No flag has them.
const OF_TESTS: &[&str] = &[
    "ECHO_TESTER_REQUIRE_MODELS",
    "ECHO_TESTER_REQUIRE_SHELLS",
    "ECHO_TESTER_REQUIRE_WINE",
    "ECHO_TESTER_WINDOWS_EXE",
];

/// The variables of all flags.
fn of_flags(program: &Command) -> BTreeSet<String> {
    let args = program.get_arguments().chain(program.get_subcommands().flat_map(Command::get_arguments));
    args.filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned)).collect()
}

/// The variables of flags that are set, and not to the empty string.
pub(super) fn set_for_flags(program: &Command) -> Vec<String> {
    let known = of_flags(program);
    set_here().into_iter().filter(|name| known.contains(name)).collect()
}

/// A warning about the variables that are set and that no flag has; `None` if there are none.
pub(super) fn warning(program: &Command) -> Option<String> {
    warning_about(&set_here(), &of_flags(program))
}

fn warning_about(set: &[String], known: &BTreeSet<String>) -> Option<String> {
    let is_unknown = |name: &&String| !known.contains(*name) && !OF_TESTS.contains(&name.as_str());
    let said: Vec<String> = set.iter().filter(is_unknown).map(|name| with_nearest(name, known)).collect();
    (!said.is_empty()).then(|| format!("warning: no flag has the environment variable {}", said.join(", nor ")))
}

fn with_nearest(name: &str, known: &BTreeSet<String>) -> String {
    // All begin alike, and only the rest tells them apart.
    let rests = known.iter().filter_map(|name| name.strip_prefix(PREFIX));
    match nearest(name.strip_prefix(PREFIX).unwrap_or(name), rests) {
        Some(rest) => format!("{name} (did you mean {PREFIX}{rest}?)"),
        None => name.to_owned(),
    }
}

/// The variables of this program that are set, and not to the empty string.
fn set_here() -> Vec<String> {
    let all = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let mut names: Vec<String> = all.filter_map(|(name, _)| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with(PREFIX));
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_no_flag_is_told_with_the_one_that_was_meant() {
        let known = of_flags(&crate::cli::command());
        let warned =
            |names: &[&str]| warning_about(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &known);
        assert_eq!(warned(&["ECHO_TESTER_CONNS", "ECHO_TESTER_SERVE_BIND", "ECHO_TESTER_WINDOWS_EXE"]), None);
        assert_eq!(
            warned(&["ECHO_TESTER_CONN", "ECHO_TESTER_XYZZY"]).as_deref(),
            Some(
                "warning: no flag has the environment variable ECHO_TESTER_CONN (did you mean ECHO_TESTER_CONNS?), nor \
                 ECHO_TESTER_XYZZY"
            )
        );
    }

    #[test]
    fn a_variable_that_an_arg_got_from_an_empty_string_is_still_known() {
        assert!(of_flags(&crate::cli::command()).len() > 60);
    }
}
