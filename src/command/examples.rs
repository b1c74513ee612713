//! Examples of each command, for the end of its help and for its manual page. A test parses every one.

/// An example.
pub struct Example {
    /// What it does.
    pub about: &'static str,
    /// The command line.
    pub line: &'static str,
}

const fn example(about: &'static str, line: &'static str) -> Example {
    Example { about, line }
}

/// The examples of each command; the empty name is the program.
const TABLE: &[(&str, &[Example])] = &[
    (
        "",
        &[
            example("Try it: a bundled server, and 100 connections to it", "echo-tester blast --serve"),
            example("Test a server of your own, case by case", "echo-tester check 127.0.0.1:9000"),
            example("See all flags of a command", "echo-tester help blast"),
        ],
    ),
    (
        "blast",
        &[
            example("A bundled server, and 100 connections to it", "echo-tester blast --serve"),
            example(
                "500 connections to a server of your own",
                "echo-tester blast 127.0.0.1:9000 --conns 500 --messages 20",
            ),
            example(
                "Latency at 10,000 messages per second",
                "echo-tester blast 127.0.0.1:9000 --rate 10k --duration 30s --size 64",
            ),
        ],
    ),
    (
        "run",
        &[
            example("One scenario", "echo-tester run scenarios/quickstart.toml"),
            example(
                "All scenarios of a folder, against a server of your own",
                "echo-tester run scenarios/ --target 127.0.0.1:9000 --json=result.json",
            ),
            example("What would run, without running it", "echo-tester run scenarios/ --dry-run"),
        ],
    ),
    (
        "check",
        &[
            example("A server of your own", "echo-tester check 127.0.0.1:9000"),
            example("A bundled server", "echo-tester check --model auto"),
            example(
                "A proxy, judged by what it makes worse than its backend, with a report for a browser",
                "echo-tester check 127.0.0.1:8080 --direct 127.0.0.1:9000 --html check.html",
            ),
        ],
    ),
    (
        "compare",
        &[
            example("Two bundled models", "echo-tester compare --models epoll,io-uring --conns 100 --size 64"),
            example(
                "A server of your own with a bundled one",
                "echo-tester compare --target mine=127.0.0.1:9000 --models epoll --rounds 5",
            ),
        ],
    ),
    (
        "merge",
        &[
            example("The reports of two processes", "echo-tester merge shard-0.json shard-1.json"),
            example("All reports of a folder, as one", "echo-tester merge reports/ --json=whole.json"),
        ],
    ),
    (
        "report",
        &[
            example("An earlier result as a page for a browser", "echo-tester report result.json --html result.html"),
            example("The same for a CI system", "echo-tester report result.json --junit result.xml"),
        ],
    ),
    (
        "serve",
        &[
            example("The best model of this system, on 127.0.0.1:7777", "echo-tester serve"),
            example(
                "A thread for each connection, on another port",
                "echo-tester serve --model threads --bind 127.0.0.1:9000",
            ),
            example(
                "A server that loses three bytes, to see that they are missed",
                "echo-tester serve --fault drop:at=5,len=3",
            ),
        ],
    ),
    (
        "backend",
        &[
            example(
                "Where the proxy forwards to port 7777; the tester is on 192.0.2.1",
                "echo-tester backend 0.0.0.0:7777 --tester 192.0.2.1:7778 --token tidy-otter-47-lamp",
            ),
            example(
                "For one tester, which runs 'check PROXY --backend 0.0.0.0:7778 --backend-token TOKEN'",
                "echo-tester backend 0.0.0.0:7777 --tester 192.0.2.1:7778 --token tidy-otter-47-lamp --once",
            ),
        ],
    ),
    (
        "models",
        &[
            example("The models, and which of them run here", "echo-tester models"),
            example("How one works: its calls, what they cost, its limit", "echo-tester models epoll"),
            example("The table for a program", "echo-tester models --json"),
        ],
    ),
    (
        "completions",
        &[
            example(
                "For bash, from the next shell on",
                "echo-tester completions bash > ~/.local/share/bash-completion/completions/echo-tester",
            ),
            example(
                "For zsh, where ~/.zfunc is in $fpath before compinit runs",
                "echo-tester completions zsh > ~/.zfunc/_echo-tester",
            ),
            example("For fish", "echo-tester completions fish > ~/.config/fish/completions/echo-tester.fish"),
        ],
    ),
    (
        "man",
        &[
            example("Read a page", "echo-tester man blast | man -l -"),
            example("Install all pages for this user", "echo-tester man --out ~/.local/share/man/man1"),
        ],
    ),
    (
        "schema",
        &[
            example(
                "For an editor that completes the keys of scenarios",
                "echo-tester schema scenario > scenario.schema.json",
            ),
            example("For a program that reads reports", "echo-tester schema suite"),
        ],
    ),
];

/// The examples of a command; the empty name is the program.
pub fn of(command: &str) -> &'static [Example] {
    TABLE.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// The examples of a command as the end of its help.
pub fn help(command: &str) -> String {
    let mut text = "Examples:".to_owned();
    for Example { about, line } in of(command) {
        text.push_str(&format!("\n  {about}:\n      {line}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_two_or_three_examples_of_itself() {
        let program = crate::cli::Cli::command();
        let names = program.get_subcommands().map(|command| command.get_name()).filter(|name| *name != "help");
        for name in std::iter::once("").chain(names) {
            assert!((2..=3).contains(&of(name).len()), "{name}");
            for Example { line, .. } in of(name) {
                assert!(line.starts_with(format!("echo-tester {name}").trim_end()), "{line}");
            }
        }
        assert!(TABLE.iter().all(|(name, _)| name.is_empty() || program.find_subcommand(name).is_some()));
    }
}
