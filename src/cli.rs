//! What can be typed, and what the environment may say instead. What it means stands in `config`, what it does in
//! `command`.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::{blast, check, compare, completions, man, merge, models, run, schema, serve};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::say;
use crate::server::models::TABLE;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "echo-tester",
    version,
    about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully",
    long_about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully: open many \
                  connections, send random payloads in random fragments, check every echoed byte, and name what is \
                  wrong.\n\n\
                  Flags can be given as environment variables too: --connect-rate is ECHO_TESTER_CONNECT_RATE, and \
                  --workers of 'serve' is ECHO_TESTER_SERVE_WORKERS. What is typed goes before them. --set, --list and \
                  --dry-run are only typed, as are all flags of models, completions, man and schema.",
    after_help = crate::exit::help(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open many connections to an echo server, send random fragmented payloads, and check every byte that comes back
    Blast(Box<blast::BlastArgs>),
    /// Run scenario files: a server, loads that run at the same time, and what is expected of them
    Run(Box<run::RunCommand>),
    /// Run the built-in conformance suite against a server, one verdict a case
    Check(Box<check::CheckCommand>),
    /// Run the same load against several servers, in rounds that take turns, and compare what each reached
    Compare(Box<compare::CompareArgs>),
    /// Add up the JSON reports of the processes of one run (blast --shard), and judge the sum
    Merge(merge::MergeArgs),
    /// Run one bundled echo server until Ctrl-C
    Serve(serve::ServeCommand),
    /// List the server models: how each works, its limits, and whether it runs here
    Models(models::ModelsCommand),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page (of a subcommand), or write all of them into a folder
    Man(man::ManArgs),
    /// Print the JSON Schema of a file that this program writes or reads
    Schema(schema::SchemaArgs),
}

/// Runs what was asked for. Errors go to stderr.
pub fn dispatch(cli: Cli) -> Exit {
    let result = match cli.command {
        Command::Blast(args) => blast::run(*args),
        Command::Run(command) => run::run(&command),
        Command::Check(command) => check::run(&command),
        Command::Compare(args) => compare::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Serve(command) => serve::run(&command),
        Command::Models(command) => models::run(&command),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
        Command::Schema(args) => schema::run(&args),
    };
    result.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        error.downcast_ref::<Failure>().map_or(Exit::Inconclusive, |failure| failure.exit())
    })
}

/// Those of which one goes without the other, by their ids: who types one of them does not want the other.
const RIVALS: &[&str] = &["target", "serve", "model"];

/// What was typed, and what the environment says. Ends the process with what is wrong with it.
pub fn parse() -> Cli {
    try_parse(std::env::args_os().collect()).unwrap_or_else(|error| {
        // Where that can't be printed, the exit code is all that is left.
        let _ = error.print();
        let names = std::env::vars_os().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("ECHO_TESTER_"));
        let names: Vec<String> = names.collect();
        if error.use_stderr() && !names.is_empty() {
            say(&format!("note: the environment has flags too: {}", names.join(", ")));
        }
        std::process::exit(error.exit_code())
    })
}

fn try_parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = match command().try_get_matches_from(&words) {
        Err(error) if error.kind() == ErrorKind::ArgumentConflict => typed_alone(&words, error)?,
        matches => matches?,
    };
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// The declarations, with what is the same for all of them.
fn command() -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let of_all = move |arg: Arg| {
        let arg = match arg.get_action() {
            // 1 and yes, too, which clap takes from no variable by default.
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            // So that -1 is answered with what is wrong with it, and not with 'unexpected argument'.
            ArgAction::Set | ArgAction::Append => arg.allow_negative_numbers(true),
            _ => arg,
        };
        // As a CI system gives what was left out.
        if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg }
    };
    Cli::command().mut_subcommands(move |command| command.mut_args(of_all))
}

/// The same words without what the environment says of one of two [`RIVALS`], of which the other was typed.
///
/// # Errors
/// Both were typed, or neither was.
fn typed_alone(words: &[OsString], conflict: clap::Error) -> Result<ArgMatches, clap::Error> {
    let typed = |arg: Arg| match RIVALS.contains(&arg.get_id().as_str()) {
        true => arg.env(Resettable::Reset),
        false => arg,
    };
    let mut command = command().mut_subcommands(move |command| command.mut_args(typed));
    let Ok(matches) = command.try_get_matches_from_mut(words) else {
        return Err(with_model(words).map_or(conflict, |tip| command.error(ErrorKind::ArgumentConflict, tip)));
    };
    let is_typed = matches
        .subcommand()
        .is_some_and(|(_, matches)| RIVALS.iter().any(|id| matches.try_contains_id(id).unwrap_or(false)));
    if is_typed { Ok(matches) } else { Err(conflict) }
}

/// What to write instead of `--serve epoll`, which names a target.
fn with_model(words: &[OsString]) -> Option<String> {
    let pairs = words.iter().zip(words.iter().skip(1));
    let mut models = pairs.filter(|(flag, _)| *flag == "--serve").filter_map(|(_, model)| model.to_str());
    let model = models.find(|model| *model == "auto" || TABLE.iter().any(|row| row.name == *model))?;
    Some(format!("the model stands after '=': write --serve={model}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only some command line can mean: what runs nothing, and `--set`, whose variables have names of their own.
    const ONLY_TYPED: &[&str] = &["set", "list", "dry-run"];
    /// Commands that print what they are asked for, of which no flag is a variable.
    const WITHOUT_VARIABLES: &[&str] = &["models", "completions", "man", "schema"];

    #[test]
    fn the_declarations_are_ones_that_clap_takes() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_is_a_variable_but_for_those_that_are_only_typed() {
        let mut seen = 0;
        for of in command().get_subcommands() {
            let args = of.get_arguments().filter(|arg| !arg.is_hide_set());
            for arg in args.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
                let Some(flag) = arg.get_long() else { continue };
                let key = flag.to_uppercase().replace('-', "_");
                let wanted = match of.get_name() {
                    name if WITHOUT_VARIABLES.contains(&name) || ONLY_TYPED.contains(&flag) => None,
                    // Its threads and its seed are others than those of a run against it.
                    "serve" => Some(format!("ECHO_TESTER_SERVE_{key}")),
                    _ => Some(format!("ECHO_TESTER_{key}")),
                };
                let variable = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned);
                assert_eq!(variable, wanted, "--{flag} of {}", of.get_name());
                assert!(arg.is_hide_env_set() || wanted.is_none(), "--{flag} of {}: the rule is enough", of.get_name());
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn what_is_only_typed_and_who_are_rivals_exists_and_is_said() {
        let about = Cli::command().get_long_about().map(ToString::to_string).unwrap_or_default();
        let all: Vec<clap::Command> = command().get_subcommands().cloned().collect();
        let is_there = |of: &dyn Fn(&Arg) -> bool| all.iter().any(|command| command.get_arguments().any(of));
        for flag in ONLY_TYPED {
            assert!(is_there(&|arg| arg.get_long() == Some(flag)) && about.contains(&format!("--{flag}")), "{flag}");
        }
        for id in RIVALS {
            assert!(is_there(&|arg| arg.get_id() == *id), "{id}");
        }
        for name in WITHOUT_VARIABLES {
            assert!(all.iter().any(|command| command.get_name() == *name) && about.contains(name), "{name}");
        }
    }

    fn refusal(words: &[&str]) -> String {
        let words = std::iter::once("echo-tester").chain(words.iter().copied()).map(OsString::from).collect();
        try_parse(words).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_negative_number_is_a_value_that_is_wrong() {
        for words in [["blast", "--conns", "-1"], ["blast", "-c", "-1"], ["check", "--jobs", "-1"]] {
            assert!(refusal(&words).contains("-1 is negative: write 500"), "{}", refusal(&words));
        }
        assert!(refusal(&["blast", "--no-such-flag"]).contains("unexpected argument '--no-such-flag'"));
    }

    #[test]
    fn a_model_without_its_sign_is_told_from_a_target() {
        assert!(refusal(&["blast", "--serve", "threads"]).contains("write --serve=threads"));
        assert!(refusal(&["blast", "--serve", "127.0.0.1:9000"]).contains("cannot be used with"));
    }
}
