//! The README agrees with the program: tables, scenarios and command lines.

use std::path::Path;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md exists")
}

/// The text between `<!-- NAME -->` and `<!-- /NAME -->`.
fn part(text: &str, name: &str) -> String {
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no <!-- {name} -->"));
    let (part, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap_or_else(|| panic!("no <!-- /{name} -->"));
    part.trim().to_owned()
}

#[test]
fn the_table_of_models_matches_the_program() {
    let wanted = echo_tester::command::models::markdown();
    assert_eq!(part(&readme(), "models"), wanted, "replace it by the output of 'echo-tester models --markdown'");
}

#[test]
fn the_exit_codes_match_the_program() {
    let stated = part(&readme(), "exit-codes");
    let wanted: Vec<String> =
        echo_tester::exit::TABLE.iter().map(|row| format!("| {} | {} |", row.exit.code(), row.about)).collect();
    let rows: Vec<&str> = stated.lines().skip(2).collect();
    assert_eq!(rows, wanted);
}

#[test]
fn the_kinds_of_findings_match_the_program() {
    let stated = part(&readme(), "kinds");
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
    assert_eq!(part(&readme(), "metrics"), wanted, "replace it by this:\n{wanted}\n");
}

#[test]
fn the_program_accepts_every_scenario_in_the_readme() {
    use echo_tester::scenario::{Scenario, Variables};
    let text = readme();
    let scenarios: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for scenario in &scenarios {
        let cases = Scenario::read("README.md", scenario, &Variables::none(), false);
        assert!(cases.is_ok_and(|cases| !cases.is_empty()), "{scenario}");
    }
    assert!(scenarios.len() > 1, "the README contains scenarios");
}

#[test]
fn the_program_accepts_every_command_in_the_readme() {
    use clap::CommandFactory;
    let text = readme();
    let commands = text.lines().map(str::trim_start).filter_map(|line| {
        // A command stands in a shell session or in a step of a CI system.
        let line = ["$ ", "- run: ", "- "].iter().find_map(|before| line.strip_prefix(before)).unwrap_or(line);
        let line = line.split(" #").next().unwrap_or(line).trim_end_matches('&').trim();
        line.strip_prefix("echo-tester ").or_else(|| line.strip_prefix("cargo run --release -- "))
    });
    let mut seen = 0;
    for command in commands {
        let words = command.split(" | ").next().unwrap_or(command).split(" > ").next().unwrap_or(command);
        let words = std::iter::once("echo-tester").chain(words.split_whitespace().map(|word| word.trim_matches('\'')));
        if let Err(error) = echo_tester::cli::Cli::command().try_get_matches_from(words) {
            let help =
                matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
            assert!(help, "{command}: {error}");
        }
        seen += 1;
    }
    assert!(seen > 5, "the README contains commands");
}
