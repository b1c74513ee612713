//! What can be typed: declarations only. What it means stands in `config`, what it does in `cmd`.

use clap::{Parser, Subcommand};

use crate::cmd::{blast, check, compare, completions, man, merge, models, run, schema, serve};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "echo-tester",
    version,
    about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully",
    long_about = "Find out whether a TCP server, proxy, tunnel or network stack carries bytes faithfully: open many \
                  connections, send random payloads in random fragments, check every echoed byte, and name what is \
                  wrong.\n\n\
                  Each flag can be given as an environment variable too: --connect-rate is ECHO_TESTER_CONNECT_RATE.",
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
