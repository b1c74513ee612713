//! The style guide as a test: what no lint of rustc or clippy can check, checked over the files of the repository.
//!
//! A rule is a function from one file to complaints ([`rules`]), and stands in one table with a text that breaks it
//! and one that keeps it, so that no rule can go blind unnoticed. It must not become a linter for taste: a rule stands
//! here only when breaking it has a cost that its sentence names.

mod code;
mod layers;
mod rules;
mod structure;

use std::fs;
use std::path::Path;

use rules::{Complaint, RULES};
use structure::Tree;
use walkdir::{DirEntry, WalkDir};

/// One text file of the repository.
pub(crate) struct SourceFile {
    /// From the top of the repository, with `/` on every system.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders at the top that are not the repository's: cargo's output, and git's own files.
const NOT_OURS: &[&str] = &["target", ".git"];

/// Every text file of the repository. A file that is not UTF-8 is not a text.
fn repository() -> Vec<SourceFile> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_ours = |entry: &DirEntry| entry.depth() != 1 || !NOT_OURS.iter().any(|name| entry.file_name() == *name);
    let mut files = Vec::new();
    for entry in WalkDir::new(top).sort_by_file_name().into_iter().filter_entry(is_ours) {
        let entry = entry.expect("the repository can be read");
        if entry.file_type().is_file()
            && let Ok(text) = String::from_utf8(fs::read(entry.path()).expect("a file can be read"))
        {
            let inside = entry.path().strip_prefix(top).expect("the walk starts at the top");
            let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
            files.push(SourceFile { path: parts.join("/"), text });
        }
    }
    files
}

#[test]
fn every_file_keeps_every_rule() {
    let mut report = String::new();
    for file in repository() {
        for rule in RULES {
            for Complaint { line, what } in (rule.check)(&file) {
                report.push_str(&format!("\n{}:{line}: {what}\n    rule: {}", file.path, rule.sentence));
            }
        }
    }
    assert!(report.is_empty(), "{report}\n");
}

#[test]
fn every_rule_complains_about_the_text_that_breaks_it_and_at_the_right_line() {
    for rule in RULES {
        for (path, text, line) in rule.breaks {
            let file = SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
            let lines: Vec<usize> = (rule.check)(&file).into_iter().map(|complaint| complaint.line).collect();
            assert_eq!(lines, [*line], "{}: in {path}:\n{text}", rule.sentence);
        }
    }
}

#[test]
fn no_rule_complains_about_the_text_that_keeps_it() {
    for rule in RULES {
        for (path, text) in rule.keeps {
            let file = SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
            let complaints: Vec<String> = (rule.check)(&file).into_iter().map(|complaint| complaint.what).collect();
            assert!(complaints.is_empty(), "{}: {complaints:?} in {path}:\n{text}", rule.sentence);
        }
    }
}

#[test]
fn every_rule_has_a_text_that_breaks_it_and_one_that_keeps_it() {
    for rule in RULES {
        assert!(!rule.breaks.is_empty() && !rule.keeps.is_empty(), "unproved: {}", rule.sentence);
    }
}

#[test]
fn the_walk_sees_sources_tests_workflows_and_scripts() {
    let files = repository();
    for path in [
        "src/lib.rs",
        "src/plan/mod.rs",
        "src/target/mod.rs",
        "tests/tidy/main.rs",
        ".github/workflows/ci.yml",
        ".ci/run",
    ] {
        assert!(files.iter().any(|file| file.path == path), "{path} was not seen");
    }
    assert!(!files.iter().any(|file| file.path.starts_with("target/")), "the walk went into cargo's output");
}

const MAX_FUNCTION_LINES: usize = 60;
const MAX_TEST_NAME: usize = 80;

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let tree = Tree::of(&repository());
    let imports = tree.imports();
    let circles = structure::circles(&imports);
    let shown: Vec<String> = circles.iter().map(|circle| structure::arrows(circle, &imports)).collect();
    assert_none(&shown);
}

#[test]
fn every_permission_of_the_table_of_layers_is_used() {
    assert_none(&structure::unused_permissions(&Tree::of(&repository())));
}

#[test]
fn a_type_name_stands_in_one_file() {
    assert_none(&structure::homonyms(&Tree::of(&repository()), structure::SHARED_NAMES));
}

#[test]
fn a_function_fits_a_screen() {
    assert_none(&structure::long_functions(&Tree::of(&repository()), MAX_FUNCTION_LINES));
}

#[test]
fn every_file_that_a_document_names_is_there() {
    assert_none(&structure::missing_files(&repository()));
}

#[test]
fn a_test_has_the_name_of_a_sentence() {
    assert_none(&structure::long_test_names(&repository(), MAX_TEST_NAME));
}
