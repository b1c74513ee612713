//! The command line: its declarations, and how flags and environment variables are combined. `config` says what the
//! values mean; `command` does the work.

mod same_file;
mod tips;
mod variables;

use std::ffi::OsString;

use anstream::ColorChoice;
use clap::builder::{PossibleValuesParser, Resettable, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::{
    backend, blast, check, compare, completions, examples, man, merge, models, report, run, schema, serve,
};
use crate::config::TrueOrFalse;
use crate::exit::Exit;
use crate::failure;
use crate::interrupt;
use crate::output::console::{print, say, say_lines, set_colour};
use crate::output::secrets;
use crate::runner::interrupts::interruptible;
use crate::sys::{self, advice};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "echo-tester",
    version = env!("BUILD_VERSION"),
    about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully",
    long_about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully: open many \
                  connections, send random payloads in random fragments, check every echoed byte, and name what is \
                  wrong.\n\n\
                  Each flag has an environment variable: ECHO_TESTER_CONNECT_RATE for --connect-rate, \
                  ECHO_TESTER_SERVE_WORKERS for --workers of 'serve', ECHO_TESTER_BACKEND_TOKEN for --token of \
                  'backend'. The command line wins. The exceptions are --set, \
                  --list, --dry-run and --minimal, and all flags of models, completions, man and schema but --color: \
                  they have no variable.",
    after_help = crate::exit::help(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// When to write in colour: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long, value_name = "WHEN", global = true, env = "ECHO_TESTER_COLOR", hide_env = true, default_value = "auto",
        hide_default_value = true, hide_possible_values = true, value_parser = colour_parser()
    )]
    color: ColorChoice,

    /// The subcommand, with its flags.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open many connections to an echo server, send random fragmented payloads, and check every byte that comes back
    Blast(Box<blast::BlastArgs>),
    /// Run scenario files: each names a server, the loads that run against it at once, and the expected result
    Run(Box<run::RunCommand>),
    /// Run the built-in conformance suite against a server; each case has its own verdict
    Check(Box<check::CheckCommand>),
    /// Run the same load against several servers in interleaved rounds, and compare the results
    Compare(Box<compare::CompareArgs>),
    /// Merge the JSON reports of the processes of one run (blast --shard), and judge the total
    Merge(merge::MergeArgs),
    /// Render an earlier result (--json): as text, an HTML page, Markdown, JUnit XML or CSV
    Report(report::RenderArgs),
    /// Run one bundled echo server until Ctrl-C
    Serve(serve::ServeCommand),
    /// Be the backend of a proxy that can't reach the tester: take its connections here, and carry them to the tester
    Backend(backend::BackendCommand),
    /// List the server models: how each works, its limits, and whether it runs here
    Models(models::ModelsCommand),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
    /// Print the manual page of the program or of a subcommand, or write all pages to a folder
    Man(man::ManArgs),
    /// Print the JSON Schema of a file that this program reads or writes
    Schema(schema::SchemaArgs),
}

/// Catches Ctrl-C, parses the command line, and runs the subcommand. The handler comes first, so that no moment is left
/// in which a signal would end the process without a report.
pub fn run() -> Exit {
    sys::survive_file_size_limit();
    match interrupt::install() {
        Ok(()) => dispatch(parse()),
        Err(error) => fail(&anyhow::Error::new(error).context(format!(
            "installing the handler for Ctrl-C, which has a thread of its own: {}",
            advice::HERE.more_threads
        ))),
    }
}

/// Runs the subcommand. An error is printed to stderr and becomes an exit code.
fn dispatch(cli: Cli) -> Exit {
    set_colour(cli.color);
    let result = match cli.command {
        Command::Blast(args) => interruptible(|| blast::run(*args)),
        Command::Run(command) => interruptible(|| run::run(&command)),
        Command::Check(command) => interruptible(|| check::run(&command)),
        Command::Compare(args) => interruptible(|| compare::run(&args)),
        Command::Merge(args) => merge::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Serve(command) => serve::run(&command),
        Command::Backend(command) => backend::run(&command),
        Command::Models(command) => models::run(&command),
        Command::Completions(args) => completions::run(&args, program()),
        Command::Man(args) => man::run(&args, program()),
        Command::Schema(args) => schema::run(&args),
    };
    result.unwrap_or_else(|error| fail(&error))
}

/// The values of `--color`.
const COLOURS: [(&str, ColorChoice); 3] =
    [("auto", ColorChoice::Auto), ("always", ColorChoice::Always), ("never", ColorChoice::Never)];

fn colour_parser() -> impl TypedValueParser<Value = ColorChoice> {
    PossibleValuesParser::new(COLOURS.map(|(name, _)| name)).map(|given| colour_of(&given).unwrap_or(ColorChoice::Auto))
}

fn colour_of(name: &str) -> Option<ColorChoice> {
    COLOURS.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice)
}

/// The colour that a command line asks for which cannot be parsed: its error has a colour too.
fn colour_before_parsing(words: &[OsString]) -> Option<ColorChoice> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let typed = words.iter().find_map(|word| word.strip_prefix("--color="));
    let typed = typed.or_else(|| words.windows(2).find(|pair| pair[0] == "--color").map(|pair| pair[1]));
    let variable = || std::env::var("ECHO_TESTER_COLOR").ok();
    colour_of(&typed.map(str::to_owned).or_else(variable)?)
}

/// Prints an error that ends the program, and returns its exit code.
fn fail(error: &anyhow::Error) -> Exit {
    let words: Vec<OsString> = std::env::args_os().collect();
    let said = format!("error: {}", tips::as_typed(&format!("{error:#}"), &words));
    say(&said);
    variables::blamed(&Cli::command(), &words, &said).iter().for_each(|note| say(note));
    failure::exit_of(error)
}

/// Ids of arguments that exclude each other. If one of them is typed, it overrides the variable of another.
const EXCLUSIVE_ARGS: &[&str] = &["target", "targets", "targets_file", "direct", "serve", "model"];

/// Parses the command line and the environment. If they are invalid, prints why and ends the process with exit code 2;
/// `--help` and `--version` end it with 0.
fn parse() -> Cli {
    let words: Vec<OsString> = std::env::args_os().collect();
    set_colour(colour_before_parsing(&words).unwrap_or(ColorChoice::Auto));
    let cli = try_parse(&words).unwrap_or_else(|mut error| {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                if let Err(lost) = print(error.render().ansi().to_string().trim_end()) {
                    std::process::exit(fail(&lost).code().into());
                }
            }
            // On standard error. If it cannot be printed, the exit code still tells.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => drop(error.print()),
            _ => refuse(&mut error, &words),
        }
        warn_of_variables();
        std::process::exit(error.exit_code())
    });
    warn_of_variables();
    cli
}

/// Prints why the command line is refused, and which variables may be to blame.
fn refuse(error: &mut clap::Error, words: &[OsString]) {
    tips::shorten_usage(error);
    tips::hide_password(error);
    secrets::hide(variables::secret(&Cli::command()));
    say_lines(&error.render().ansi().to_string());
    let blamed = variables::blamed(&Cli::command(), words, &error.to_string());
    let names = variables::set_for_flags(&Cli::command());
    match blamed.is_empty() {
        true if names.is_empty() => {}
        true => say(&format!("note: flags are also set in the environment: {}", names.join(", "))),
        false => blamed.iter().for_each(|note| say(note)),
    }
}

fn warn_of_variables() {
    if let Some(warning) = variables::warning(&Cli::command()) {
        say(&warning);
    }
}

fn try_parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    if let Some(refusal) = tips::file_without_equals(words).or_else(|| tips::unit_apart(words)) {
        return Err(clap::Error::raw(ErrorKind::ArgumentConflict, format!("{refusal}\n")));
    }
    let matches = match command().try_get_matches_from(words) {
        Err(error) => corrected(words, error)?,
        Ok(matches) => matches,
    };
    if let Some(refusal) = matches.subcommand().and_then(|(_, matches)| same_file::refusal(matches)) {
        return Err(clap::Error::raw(ErrorKind::ArgumentConflict, format!("{refusal}\n")));
    }
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// The arguments after all, if only a variable stood in the way.
///
/// # Errors
/// The error, with a tip if one is known.
fn corrected(words: &[OsString], mut error: clap::Error) -> Result<ArgMatches, clap::Error> {
    match error.kind() {
        ErrorKind::ArgumentConflict => without_overridden_variables(words, error),
        ErrorKind::UnknownArgument => {
            let joined = tips::with_negative_values(words);
            match joined.and_then(|joined| command().try_get_matches_from(joined).err()) {
                Some(about_value) if about_value.kind() == ErrorKind::ValueValidation => Err(about_value),
                _ => {
                    tips::add(&mut error, words);
                    Err(error)
                }
            }
        }
        _ => Err(error),
    }
}

/// The declarations, with examples at the end of each help.
fn program() -> clap::Command {
    let program = Cli::command().mut_subcommands(|command| {
        let examples = examples::help(command.get_name());
        command.after_long_help(examples)
    });
    let ends = format!("{}\n\n{}", crate::exit::help(), examples::help(""));
    program.after_long_help(ends)
}

/// The declarations, with the settings that all arguments share.
fn command() -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let with_shared_settings = move |arg: Arg| {
        let arg = match arg.get_action() {
            // By default clap takes only true and false from a variable; 1 and yes are common too.
            ArgAction::SetTrue => arg.value_parser(TrueOrFalse),
            _ => arg,
        };
        // CI systems set a variable to the empty string when its value was left out.
        if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg }
    };
    program().mut_args(with_shared_settings).mut_subcommands(move |command| command.mut_args(with_shared_settings))
}

/// Parses the words again without the variables of [`EXCLUSIVE_ARGS`], so that an argument that was typed overrides the
/// variable that it conflicts with.
///
/// # Errors
/// The conflict remains: both were typed, or neither was.
fn without_overridden_variables(words: &[OsString], mut conflict: clap::Error) -> Result<ArgMatches, clap::Error> {
    let without_variable = |arg: Arg| match EXCLUSIVE_ARGS.contains(&arg.get_id().as_str()) {
        true => arg.env(Resettable::Reset),
        false => arg,
    };
    let command = command().mut_subcommands(move |command| command.mut_args(without_variable));
    let Ok(matches) = command.try_get_matches_from(words) else {
        let stray = || stray_target(words).map(|word| format!("'{word}' was taken for the target"));
        if let Some(tip) = tips::serve_without_equals(words).or_else(stray) {
            tips::set(&mut conflict, tip);
        }
        return Err(conflict);
    };
    let is_typed = matches
        .subcommand()
        .is_some_and(|(_, matches)| EXCLUSIVE_ARGS.iter().any(|id| matches.try_contains_id(id).unwrap_or(false)));
    if is_typed { Ok(matches) } else { Err(conflict) }
}

/// The last word that was taken for a target and is none, because it has no port. Without it there is no conflict.
fn stray_target(words: &[OsString]) -> Option<String> {
    let is_stray = |&i: &usize| {
        let word = words[i].to_string_lossy();
        let rest: Vec<&OsString> = words.iter().enumerate().filter(|(n, _)| *n != i).map(|(_, word)| word).collect();
        // What stands behind a flag is its value.
        let is_value = words[i - 1].to_string_lossy().starts_with('-');
        !is_value && !word.starts_with('-') && !word.contains(':') && command().try_get_matches_from(rest).is_ok()
    };
    words.get(1).filter(|command| *command == "blast" || *command == "check")?;
    (2..words.len()).rev().find(is_stray).map(|i| words[i].to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags that make no sense as a variable: those that run nothing, and `--set`, which itself replaces variables.
    const FLAGS_WITHOUT_VARIABLE: &[&str] = &["set", "list", "dry-run", "minimal"];
    /// Commands that only print something. None of their flags has a variable.
    const COMMANDS_WITHOUT_VARIABLES: &[&str] = &["models", "completions", "man", "schema"];

    #[test]
    fn clap_accepts_the_declarations() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_except_those_listed_as_without() {
        let mut seen = 0;
        for command in command().get_subcommands() {
            let args = command.get_arguments().filter(|arg| !arg.is_hide_set());
            for arg in args.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
                let Some(flag) = arg.get_long() else { continue };
                let key = flag.to_uppercase().replace('-', "_");
                let expected = match command.get_name() {
                    name if COMMANDS_WITHOUT_VARIABLES.contains(&name) || FLAGS_WITHOUT_VARIABLE.contains(&flag) => {
                        None
                    }
                    // A server has its own workers and its own seed, apart from those of a run against it.
                    "serve" => Some(format!("ECHO_TESTER_SERVE_{key}")),
                    // So the token of both sides has one variable: that of --backend-token.
                    "backend" => Some(format!("ECHO_TESTER_BACKEND_{key}")),
                    _ => Some(format!("ECHO_TESTER_{key}")),
                };
                let variable = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned);
                let about = format!("--{flag} of {}", command.get_name());
                assert_eq!(variable, expected, "{about}");
                assert!(arg.is_hide_env_set() || expected.is_none(), "{about}: the help states the rule once");
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn the_exceptions_exist_and_the_help_names_them() {
        let about = Cli::command().get_long_about().map(ToString::to_string).unwrap_or_default();
        let all: Vec<clap::Command> = command().get_subcommands().cloned().collect();
        let exists =
            |is_wanted: &dyn Fn(&Arg) -> bool| all.iter().any(|command| command.get_arguments().any(is_wanted));
        for flag in FLAGS_WITHOUT_VARIABLE {
            assert!(exists(&|arg| arg.get_long() == Some(flag)) && about.contains(&format!("--{flag}")), "{flag}");
        }
        for id in EXCLUSIVE_ARGS {
            assert!(exists(&|arg| arg.get_id() == *id), "{id}");
        }
        for name in COMMANDS_WITHOUT_VARIABLES {
            assert!(all.iter().any(|command| command.get_name() == *name) && about.contains(name), "{name}");
        }
    }

    #[test]
    fn every_flag_that_names_a_file_to_write_is_known_as_one() {
        let mut seen = 0;
        for command in command().get_subcommands() {
            let is_file = |arg: &&Arg| arg.get_value_names().is_some_and(|names| names[0].contains("FILE"));
            for id in command.get_arguments().filter(is_file).map(|arg| arg.get_id().as_str()) {
                let lists = [same_file::WRITTEN, same_file::READ].map(|list| list.contains(&id));
                assert_eq!(lists.iter().filter(|is_there| **is_there).count(), 1, "{id} of {}", command.get_name());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn two_results_in_one_file_are_refused() {
        for flags in [["--junit", "a.x", "--html", "a.x"], ["--json=./a.x", "--html", "a.x", "-q"]] {
            let said = refusal(&[&["blast"], &flags[..]].concat());
            assert!(said.contains("name the same file, ") && said.contains(": give each its own"), "{said}");
        }
        for (flags, by) in [
            (["--baseline", "a.toml", "--junit", "a.toml"], "which --baseline reads"),
            (["--targets", "a.txt", "--html", "./a.txt"], "which --targets reads"),
            (["--ca", "a.pem", "--markdown", "a.pem"], "which --ca reads"),
        ] {
            let said = refusal(&[&["check"], &flags[..]].concat());
            assert!(said.contains("would replace ") && said.contains(by), "{said}");
        }
        let said = refusal(&["run", "a.toml", "--html", "a.toml"]);
        assert!(said.contains("--html would replace a.toml, which this command reads"), "{said}");
        let both = ["echo-tester", "check", "127.0.0.1:9", "--baseline", "a.toml", "--write-baseline", "a.toml"];
        assert!(try_parse(&both.map(OsString::from)).is_ok(), "the list is read, and then written again");
        let mut fine = vec![["--junit", "a.x", "--html", "b.x"]];
        if cfg!(unix) {
            fine.push(["--junit", "/dev/null", "--html", "/dev/null"]);
        }
        for flags in fine {
            let words = [&["echo-tester", "blast"], &flags[..]].concat();
            assert!(try_parse(&words.iter().map(OsString::from).collect::<Vec<_>>()).is_ok(), "{flags:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn two_results_in_one_file_are_refused_whatever_links_lead_there() {
        let folder = tempfile::tempdir().expect("a temporary folder is made");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).expect("a link is made");
        link("a.json", "b.json");
        link("b.json", "c.json");
        link(".", "same");
        for other in ["b.json", "c.json", "same/a.json", "same/c.json"] {
            let said = refusal(&["check", &format!("--json={}", path("a.json")), "--html", &path(other)]);
            assert!(said.contains("name the same file, "), "{other}: {said}");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        let names = command().get_subcommands().map(|command| command.get_name().to_owned()).collect::<Vec<_>>();
        for example in names.iter().map(String::as_str).chain([""]).flat_map(examples::of) {
            let line = example.line.split(['>', '|']).next().unwrap_or_default();
            let words = shlex::split(line).expect("the quotes match");
            if words[1] != "help" {
                let parsed = try_parse(&words.into_iter().map(OsString::from).collect::<Vec<_>>());
                assert!(parsed.is_ok(), "{}: {}", example.line, parsed.expect_err("it is refused"));
            }
        }
    }

    fn refusal(words: &[&str]) -> String {
        let words: Vec<OsString> =
            std::iter::once("echo-tester").chain(words.iter().copied()).map(OsString::from).collect();
        try_parse(&words).expect_err("the command line is refused").to_string()
    }

    #[test]
    fn a_negative_number_is_refused_as_a_value_and_not_as_an_argument() {
        for words in [["blast", "--conns", "-1"], ["blast", "-c", "-1"], ["check", "--jobs", "-1"]] {
            assert!(refusal(&words).contains("-1 is negative: write 500"), "{}", refusal(&words));
        }
        assert!(refusal(&["blast", "--duration", "-5s"]).contains("-5s is negative: write 10s"));
        assert!(refusal(&["blast", "--no-such-flag"]).contains("unexpected argument '--no-such-flag'"));
    }

    #[test]
    fn a_model_after_serve_without_equals_gets_a_tip() {
        assert!(refusal(&["blast", "--serve", "threads"]).contains("write --serve=threads"));
        assert!(refusal(&["blast", "--serve", "libevent"]).contains("the model goes after '=', and there is no model"));
        assert!(refusal(&["blast", "--serve", "127.0.0.1:9000"]).contains("cannot be used with"));
    }

    #[test]
    fn a_file_after_json_without_equals_gets_a_tip() {
        for line in ["check 127.0.0.1:9000 --json out.json", "blast --json out.json --serve", "compare --json out.json"]
        {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(refusal(&words).contains("write --json=out.json"), "{line}");
        }
        let parsed = try_parse(&["echo-tester", "merge", "--json", "a.json", "b.json"].map(OsString::from));
        assert!(parsed.is_ok(), "both files are inputs");
    }
}
