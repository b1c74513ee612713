//! The documents agree with the program: tables, scenarios, and every command, which is run as it stands.
#![cfg(unix)]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use documents::{Block, Ran, document, documents};

mod documents;

/// Blocks that run at the same time: most of them wait.
const BLOCKS_AT_A_TIME: usize = 3;

/// The text between `<!-- NAME -->` and `<!-- /NAME -->` of a document.
fn part(path: &str, name: &str) -> String {
    let text = document(path).text;
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no <!-- {name} -->"));
    let (part, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap_or_else(|| panic!("no <!-- /{name} -->"));
    part.trim().to_owned()
}

#[test]
fn the_table_of_models_matches_the_program() {
    let wanted = echo_tester::command::models::markdown();
    let stated = part("docs/models.md", "models");
    assert_eq!(stated, wanted, "replace it by the output of 'echo-tester models --markdown'");
}

#[test]
fn the_readme_names_each_model_and_links_its_page() {
    let text = document("README.md").text;
    for model in echo_tester::server::models::TABLE {
        let row = format!("| [{0}](docs/models/{0}.md) | {1} | ", model.name, model.os);
        assert!(text.contains(&row), "README.md has no row {row}");
    }
}

#[test]
fn the_program_prints_the_page_of_a_model_and_tells_the_nearest_name() {
    let models = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_echo-tester"));
        command.args(["models", name]).output().expect("the program starts")
    };
    for model in echo_tester::server::models::TABLE {
        let output = models(model.name);
        let page = document(&format!("docs/models/{}.md", model.name)).text;
        assert_eq!(String::from_utf8_lossy(&output.stdout), page, "{}", model.name);
    }
    let output = models("epol");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("did you mean epoll?"), "{said}");
}

#[test]
fn each_dependency_has_a_row_that_says_why_it_is_there() {
    let manifest: toml::Table = document("Cargo.toml").text.parse().expect("Cargo.toml is TOML");
    let mut tables: Vec<&toml::Table> = vec![&manifest];
    if let Some(targets) = manifest["target"].as_table() {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let lists = tables.iter().flat_map(|table| ["dependencies", "dev-dependencies"].map(|key| table.get(key)));
    let named = lists.flatten().filter_map(toml::Value::as_table).flat_map(toml::Table::keys);
    let wanted: BTreeSet<&str> = named.map(String::as_str).collect();
    let text = document("docs/dependencies.md").text;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), wanted, "docs/dependencies.md is not Cargo.toml's list");
}

#[test]
fn a_first_look_at_the_readme_takes_no_more_than_200_lines() {
    let lines = document("README.md").text.lines().count();
    assert!(lines <= 200, "README.md has {lines} lines: move a part to docs/");
}

#[test]
fn the_exit_codes_match_the_program() {
    let stated = part("README.md", "exit-codes");
    let wanted: Vec<String> =
        echo_tester::exit::TABLE.iter().map(|row| format!("| {} | {} |", row.exit.code(), row.about)).collect();
    let rows: Vec<&str> = stated.lines().skip(2).collect();
    assert_eq!(rows, wanted);
}

#[test]
fn the_kinds_of_findings_match_the_program() {
    let stated = part("docs/detection.md", "kinds");
    let wanted: Vec<String> = echo_tester::stream::FINDING_KINDS
        .iter()
        .map(|row| format!("| `{}` | {} |", row.name, row.description))
        .collect();
    let rows: Vec<&str> = stated.lines().skip(2).collect();
    assert_eq!(rows, wanted);
}

#[test]
fn the_metrics_of_thresholds_match_the_program() {
    let wanted = echo_tester::judge::metric::markdown();
    assert_eq!(part("docs/scenarios.md", "metrics"), wanted, "replace it by this:\n{wanted}\n");
}

#[test]
fn the_instructions_among_the_claims_are_those_that_were_counted() {
    let counted = document("scripts/cost.txt").text;
    let of = |model: &str| {
        let start = format!("{model} 64 ");
        let number = counted.lines().find_map(|line| line.strip_prefix(&start)).expect("the model was counted");
        echo_tester::units::grouped(number.parse().expect("a number of instructions"))
    };
    let claims = part("docs/models.md", "claims");
    let (epoll, io_uring, tokio) = (of("epoll"), of("io-uring"), of("tokio"));
    let wanted = [
        format!("instructions a message in user space: `epoll` {epoll}, `io-uring` {io_uring} |"),
        format!("instructions a message in user space: {tokio}, where `epoll` takes {epoll} |"),
    ];
    for text in wanted {
        assert!(claims.contains(&text), "docs/models.md does not say: {text}");
    }
}

#[test]
fn the_program_accepts_every_scenario_in_the_documents() {
    use echo_tester::scenario::{Scenario, Variables};
    let blocks = documents().into_iter().flat_map(|document| document.blocks("toml"));
    let whole: Vec<Block> = blocks.filter(|block| block.remark != "part").collect();
    for block in &whole {
        let cases = Scenario::read("a.toml", &block.text, &Variables::none(), false);
        assert!(cases.is_ok_and(|cases| !cases.is_empty()), "{}:\n{}", block.place, block.text);
    }
    assert!(whole.len() > 1, "the documents contain scenarios");
}

/// Of the blocks that can't be run, too.
#[test]
fn the_program_accepts_every_command_in_the_documents() {
    let mut seen = 0;
    for document in documents() {
        let blocks = ["sh", "yaml"].map(|language| document.blocks(language)).concat();
        for block in blocks {
            for line in block.text.replace("\\\n", " ").lines() {
                seen += usize::from(accepts(&block.place, line));
            }
        }
    }
    assert!(seen > 50, "the documents contain commands: {seen}");
}

/// Whether the line is a command of the program. If it is, the program must accept it.
fn accepts(place: &str, line: &str) -> bool {
    use clap::CommandFactory;
    // In a CI system's file it is a step.
    let line = line.trim_start();
    let line = ["- run: ", "- "].iter().find_map(|before| line.strip_prefix(before)).unwrap_or(line);
    let line = line.replace("$!", "4711"); // The process id of the server before it.
    let words = shlex::split(&line).unwrap_or_else(|| panic!("{place}: a quote is open: {line}"));
    let of_program = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo-tester", rest @ ..] | ["cargo", "run", "--release", "--", rest @ ..] => rest.to_vec(),
        _ => return false,
    };
    let is_end = |word: &&&str| !["&", "|", "<", ">", ";", "&&"].contains(*word) && !word.starts_with('>');
    let words = of_program.iter().take_while(is_end).copied();
    if let Err(error) =
        echo_tester::cli::Cli::command().try_get_matches_from(std::iter::once("echo-tester").chain(words))
    {
        let kind = error.kind();
        let help = matches!(kind, clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
        assert!(help, "{place}: {line}: {error}");
    }
    true
}

#[test]
fn a_block_without_a_known_remark_does_not_slip_through() {
    for block in documents().iter().flat_map(|document| document.blocks("sh")) {
        let is_known = block.remark.is_empty()
            || block.reason_not_to_run().is_some_and(|reason| reason.len() > 5)
            || ["exit=", "needs="].iter().any(|known| block.remark.starts_with(known));
        assert!(is_known, "{}: write 'not-run: REASON', 'exit=CODE' or 'needs=PROGRAM'", block.place);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn every_command_in_the_documents_runs_as_it_stands() {
    let blocks = documents().into_iter().flat_map(|document| document.blocks("sh"));
    let queue: Mutex<VecDeque<Block>> =
        Mutex::new(blocks.filter(|block| block.reason_not_to_run().is_none()).collect());
    let count = queue.lock().expect("nobody panicked").len();
    assert!(count > 20, "the documents contain commands: {count} blocks");
    let (wrong, again) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..BLOCKS_AT_A_TIME {
            scope.spawn(|| {
                while let Some(block) = { queue.lock().expect("nobody panicked").pop_front() } {
                    match block.run() {
                        Ran::AsTold => {}
                        Ran::NotHere(why) => println!("SKIPPED {}: {why}", block.place),
                        Ran::Inconclusive(_) => again.lock().expect("nobody panicked").push(block),
                        Ran::Wrong(what) => wrong.lock().expect("nobody panicked").push(what),
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("nobody panicked");
    // The blocks kept the machine busy for each other. Alone, each of these must be judged.
    for block in again.into_inner().expect("nobody panicked") {
        if let Ran::Inconclusive(what) | Ran::Wrong(what) = block.run() {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "{} of {count} blocks:\n{}", wrong.len(), wrong.join("\n----\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_block_whose_command_fails_or_passes_against_its_remark_is_found() {
    let first_fails = "echo-tester blast 127.0.0.1:9000 --conns 0\ntrue\n";
    let passes = "echo-tester blast 127.0.0.1:9000 --conns 2 --messages 2\n";
    for (remark, text) in [("", first_fails), ("exit=1", passes)] {
        let ran = Block::of(remark, text).run();
        assert!(matches!(ran, Ran::Wrong(_) | Ran::NotHere(_)), "{remark} {text}: {ran:?}");
    }
    let ran = Block::of("", passes).run();
    assert!(matches!(ran, Ran::AsTold | Ran::NotHere(_)), "{ran:?}");
}
