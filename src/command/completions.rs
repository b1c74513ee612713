//! `completions SHELL`.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output::console::print;
use crate::server::models::TABLE;

/// The flags of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the completions of this command line.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs, command: Command) -> anyhow::Result<Exit> {
    let mut command = command.mut_subcommands(|command| command.mut_args(with_models));
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "echo-tester", &mut text);
    let mut script = String::from_utf8_lossy(&text).into_owned();
    match args.shell {
        Shell::Bash => script = with_one_name(&script),
        Shell::Fish => script.push_str(&words_for_fish(&command)),
        _ => {}
    }
    print(script.trim_end())?;
    Ok(Exit::Pass)
}

/// An argument that takes a model, with the names of the models for its words. The program itself takes lists of them
/// and more, and has better errors than clap's.
fn with_models(arg: Arg) -> Arg {
    let takes_a_model = ["model", "models", "serve"].iter().any(|long| arg.get_long() == Some(long))
        || (arg.is_positional() && arg.get_id() == "name");
    if takes_a_model { arg.value_parser(PossibleValuesParser::new(TABLE.iter().map(|model| model.name))) } else { arg }
}

/// The script for bash with the same name for the program everywhere. `clap_complete` 4.6 writes a hyphen as `__`,
/// takes that for the border of a subcommand elsewhere, and then completes no flag of any subcommand. Where it no
/// longer does, this changes nothing.
fn with_one_name(script: &str) -> String {
    script.replace("echo__subcmd__tester", "echo__tester")
}

/// What `clap_complete` leaves out for fish: the words that an argument without a flag may be.
fn words_for_fish(program: &Command) -> String {
    let mut lines = String::new();
    for command in program.get_subcommands() {
        for arg in command.get_positionals() {
            let words: Vec<String> = arg.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
            if !words.is_empty() {
                let (name, words) = (command.get_name(), words.join(" "));
                lines.push_str(&format!(
                    "complete -c echo-tester -n \"__fish_seen_subcommand_from {name}\" -f -a \"{words}\"\n"
                ));
            }
        }
    }
    lines
}
