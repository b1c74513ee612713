//! `models`: the table of server models, and which of them run here. `models NAME`: the page of one.

use clap::Args;
use serde::Serialize;

use super::model_page::page;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::{print, stdout_style};
use crate::report::style::{Role, Style};
use crate::report::text::wrapped;
use crate::server::models::{AUTO, Model, TABLE, find};

/// Titles of the columns.
const OS: &str = "OS";
const PATTERN: &str = "pattern";
const ABOUT: &str = "how it works";
const LIMIT: &str = "limit, and how ours avoids it";

/// The flags of `models`.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelsCommand {
    /// Print the page of this model: its calls, what they cost, its limit, when to choose it
    #[arg(conflicts_with_all = ["json", "markdown"])]
    name: Option<String>,
    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,
    /// Print the table in Markdown, as in docs/models.md: it does not say what runs here
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// One model, as `--json` prints it.
#[derive(Serialize)]
struct ModelRow {
    name: &'static str,
    pattern: String,
    os: String,
    about: &'static str,
    limit: &'static str,
    /// Whether the model uses `--workers`.
    workers: bool,
    /// Whether `auto` chooses it on this system.
    auto: bool,
    available: bool,
    why_not: Option<String>,
}

impl ModelRow {
    fn of(model: &Model) -> ModelRow {
        let why_not = model.why_not();
        ModelRow {
            name: model.name,
            pattern: model.pattern.to_string(),
            os: model.os.to_string(),
            about: model.about,
            limit: model.limit,
            workers: model.workers,
            auto: model.name == AUTO,
            available: why_not.is_none(),
            why_not,
        }
    }
}

/// Lists the models, or prints the page of one.
///
/// # Errors
/// There is no model of this name, or standard output cannot be written.
pub fn run(command: &ModelsCommand) -> anyhow::Result<Exit> {
    if let Some(name) = &command.name {
        let model = find(name).map_err(Failure::usage)?;
        print(page(model.name))?;
        return Ok(Exit::Pass);
    }
    let rows: Vec<ModelRow> = TABLE.iter().map(ModelRow::of).collect();
    let text = match command {
        ModelsCommand { json: true, .. } => serde_json::to_string_pretty(&rows)?,
        ModelsCommand { markdown: true, .. } => markdown(),
        _ => cards(&rows, stdout_style()),
    };
    print(&text)?;
    Ok(Exit::Pass)
}

/// The table of docs/models.md, which is the same on every system. A test compares the two.
pub fn markdown() -> String {
    let row = |model: &Model| {
        let Model { name, os, pattern, about, limit, .. } = model;
        format!("| `{name}` | {os} | {pattern} | {about} | {limit} |\n")
    };
    let rows: String = TABLE.iter().map(row).collect();
    let head = format!("| model | {OS} | {PATTERN} | {ABOUT} | {LIMIT} |\n| --- | --- | --- | --- | --- |\n");
    format!("{head}{}", rows.trim_end())
}

/// Two lines for each model and more: what it is and whether it runs here, and below how it works and its limit.
fn cards(rows: &[ModelRow], style: Style) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let card = |row: &ModelRow| {
        let (role, here) = match &row.why_not {
            None if row.auto => (Role::Good, "runs here, and is 'auto'".to_owned()),
            None => (Role::Good, "runs here".to_owned()),
            Some(why_not) => (Role::Quiet, format!("does not run here: {why_not}")),
        };
        let name = style.paint(Role::Strong, &format!("{:<width$}", row.name));
        let head = wrapped(&format!("{name}  {} · {} · {}", row.pattern, row.os, style.paint(role, &here)), style);
        let workers = if row.workers { "; takes --workers" } else { "" };
        let indented = |text: &str| format!("  {}", wrapped(text, style.indented(2)).replace('\n', "\n  ").trim_end());
        let limit = indented(&format!("limit: {}", row.limit));
        format!("{head}{}\n{limit}", indented(&format!("{}{workers}", row.about)))
    };
    rows.iter().map(card).collect::<Vec<_>>().join("\n\n")
}
