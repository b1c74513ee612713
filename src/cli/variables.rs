//! The environment variables that stand for flags: which there are, and which of those that are set mean nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::{Arg, Command};

use crate::units::nearest::nearest;

/// All variables of this program begin with this.
const PREFIX: &str = "ECHO_TESTER_";

/// Variables that the tests of this repository read. No flag has them.
const OF_TESTS: &[&str] = &[
    "ECHO_TESTER_REQUIRE_MODELS",
    "ECHO_TESTER_REQUIRE_NAMESPACES",
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

/// Notes on the variables that set what an error is about: a flag that it names and nobody typed, or its value.
pub(super) fn blamed(program: &Command, words: &[OsString], message: &str) -> Vec<String> {
    let command = words.get(1).and_then(|word| program.find_subcommand(word.to_str()?));
    let args = program.get_arguments().chain(command.into_iter().flat_map(Command::get_arguments));
    let note = |arg: &Arg| {
        let name = arg.get_env()?.to_str()?;
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        let flag = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|letter| format!("-{letter}"));
        let is_typed = words.iter().filter_map(|word| word.to_str()).any(|word| {
            let is = |flag: &Option<String>| flag.as_deref() == Some(word.split('=').next().unwrap_or(word));
            is(&flag) || is(&short)
        });
        let is_named = flag.as_deref().is_some_and(|flag| has_word(message, flag));
        // A shorter value stands in many messages by chance.
        let has_value = value.len() > 3 && !["true", "false"].contains(&value.as_str()) && message.contains(&value);
        let what = flag.unwrap_or_else(|| "the target".to_owned());
        let shown = if arg.is_hide_env_values_set() { "***" } else { &value };
        (!is_typed && (is_named || has_value)).then(|| format!("note: the environment sets {what}: {name}={shown}"))
    };
    args.filter_map(note).collect()
}

/// The values of variables that may be secret, by name: the whole, and line by line what an error may show of it.
pub(super) fn secret(program: &Command) -> BTreeMap<String, String> {
    let args = program.get_subcommands().flat_map(Command::get_arguments).filter(|arg| arg.is_hide_env_values_set());
    let of = |arg: &Arg| {
        let name = arg.get_env()?.to_str()?;
        let value = std::env::var(name).ok()?;
        // Of several proxies an error is about one, and it may leave out the scheme.
        let hops = value.split(',').map(|hop| hop.split_once("://").map_or(hop, |(_, rest)| rest));
        let parts: Vec<&str> = value.split(',').chain(hops).collect();
        Some((name.to_owned(), format!("{value}\n{}", parts.join("\n"))))
    };
    args.filter_map(of).collect()
}

/// Whether a text has this flag, and not only a longer one that begins alike.
fn has_word(text: &str, flag: &str) -> bool {
    let continues = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    text.match_indices(flag).any(|(at, _)| !continues(&text[at + flag.len()..]))
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
    fn a_flag_is_told_from_a_longer_one() {
        assert!(has_word("--conns 0: too few", "--conns") && has_word("leave out --conns", "--conns"));
        assert!(!has_word("--close-rate 5: no", "--close"));
    }

    #[test]
    fn a_variable_that_an_arg_got_from_an_empty_string_is_still_known() {
        assert!(of_flags(&crate::cli::command()).len() > 60);
    }
}
