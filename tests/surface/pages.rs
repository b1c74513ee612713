//! What the program says about itself: help, manual pages, completions, schemas, models.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use echo_tester::cli::Cli;
use regex::Regex;

use crate::program::said;
use crate::shell::Folder;
use crate::{each, redact, snapshot};

/// Every command as its words, which are none for the program itself.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &Command, words: &[String], all: &mut Vec<Vec<String>>) {
        all.push(words.to_vec());
        for below in command.get_subcommands() {
            walk(below, &[words, &[below.get_name().to_owned()]].concat(), all);
        }
    }
    let mut all = Vec::new();
    walk(&Cli::command(), &[], &mut all);
    assert!(all.len() > 10, "the walk sees the subcommands");
    all
}

/// The name of a page: `help`, `help-blast` …
fn page_name(kind: &str, words: &[String]) -> String {
    [&[kind.to_owned()], words].concat().join("-")
}

#[test]
fn help() {
    let folder = Folder::with(&[]);
    each(commands(), |words| {
        let pages = ["-h", "--help"]
            .map(|flag| folder.said([words.as_slice(), &[flag.to_owned()]].concat().join(" ").as_str()));
        snapshot(&page_name("help", words), &pages.join("\n"));
    });
}

#[test]
fn version() {
    let folder = Folder::with(&[]);
    assert_eq!(folder.ran("-V"), folder.ran("--version").replace("--version", "-V"));
    snapshot("version", &folder.ran("--version"));
}

#[test]
fn manual_pages() {
    each(commands(), |words| {
        let (code, page, err) = said(&[&["man"], &words.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
        assert_eq!((code, err.as_str()), (0, ""));
        snapshot(&page_name("man", words), &redact::versionless(&page));
    });
}

#[test]
fn the_files_of_the_manual_are_its_pages() {
    let folder = Folder::with(&[]);
    snapshot("man-out", &folder.said("man --out pages"));
    let entries = std::fs::read_dir(folder.path().join("pages")).expect("the folder exists");
    let written: BTreeSet<String> = entries
        .map(|entry| entry.expect("the folder is readable").file_name().to_string_lossy().into_owned())
        .collect();
    let mut missing: Vec<String> = commands().iter().map(|words| page_name("echo-tester", words) + ".1").collect();
    missing.retain(|name| !written.contains(name));
    assert_eq!(missing, Vec::<String>::new(), "in {written:?}");
    assert_eq!(written.len(), commands().len(), "and no others: {written:?}");
    for tool in [&["groff", "-man", "-Tutf8", "-ww", "-z"][..], &["mandoc", "-T", "lint", "-W", "warning"]] {
        for page in &written {
            let mut checker = std::process::Command::new(tool[0]);
            match checker.args(&tool[1..]).arg(folder.path().join("pages").join(page)).output() {
                Err(error) => println!("SKIPPED: {page} by {}: {error}", tool[0]),
                Ok(output) => {
                    let said = [output.stdout, output.stderr].concat();
                    assert_eq!(String::from_utf8_lossy(&said), "", "{tool:?}");
                }
            }
        }
    }
}

/// Their texts come from the help, which has snapshots, so it is enough that they contain every flag.
#[test]
fn completions_know_every_flag_of_every_command() {
    let program = Cli::command();
    let commands = program.get_subcommands();
    let flags = commands.flat_map(|command| {
        let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
        visible.filter_map(|arg| arg.get_long()).chain([command.get_name()]).map(str::to_owned)
    });
    let words: BTreeSet<String> = flags.collect();
    each(["bash", "zsh", "fish", "powershell", "elvish"], |shell| {
        let (code, script, err) = said(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        let missing: Vec<&String> = words.iter().filter(|word| !script.contains(word.as_str())).collect();
        assert!(missing.is_empty(), "{shell} does not know {missing:?}");
    });
}

#[test]
fn schemas() {
    let command = Cli::command();
    let schema = command.find_subcommand("schema").expect("the subcommand exists");
    let document = schema.get_arguments().find(|arg| arg.get_id() == "document").expect("the argument exists");
    let documents = document.get_possible_values();
    let names: Vec<&str> = documents.iter().map(|document| document.get_name()).collect();
    assert!(names.len() > 3);
    each(names, |name| {
        let (code, schema, err) = said(&["schema", name]);
        assert_eq!((code, err.as_str()), (0, ""));
        snapshot(&format!("schema-{name}"), &schema);
    });
}

#[test]
fn models() {
    let (_, json, _) = said(&["models", "--json"]);
    let (_, markdown, _) = said(&["models", "--markdown"]);
    let here = Regex::new(r#"("(available|auto|why_not)": ).*?(,?)\n"#).expect("the pattern is valid");
    snapshot("models-json", &here.replace_all(&json, "$1[here]$3\n"));
    snapshot("models-markdown", &markdown);
    // If a model does not run on this kernel, the reason changes the widths of the columns.
    let missing = echo_tester::server::models::TABLE.iter().filter_map(|model| model.why_not());
    let missing: Vec<String> = missing.filter(|why| !why.starts_with("needs ")).collect();
    if missing.is_empty() {
        snapshot("models", &said(&["models"]).1);
    } else {
        println!("SKIPPED: the table of models, because some of them do not run here: {missing:?}");
    }
}
