//! `models`: the table of server models, and which of them run here. `models NAME`: the page of one.

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::model_page::page;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::print;
use crate::server::models::{AUTO, Model, TABLE, find};

/// Width of the table if standard output is not a terminal.
const DEFAULT_WIDTH_COLUMNS: u16 = 120;
/// Titles of the columns that both tables have.
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
    /// Print the table in Markdown, as in the README: it does not say what runs here
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
        _ => table(&rows).trim_fmt(),
    };
    print(&text)?;
    Ok(Exit::Pass)
}

/// The table of the README, which is the same on every system. A test compares the README with it.
pub fn markdown() -> String {
    let row = |model: &Model| {
        let Model { name, os, pattern, about, limit, .. } = model;
        format!("| `{name}` | {os} | {pattern} | {about} | {limit} |\n")
    };
    let rows: String = TABLE.iter().map(row).collect();
    let head = format!("| model | {OS} | {PATTERN} | {ABOUT} | {LIMIT} |\n| --- | --- | --- | --- | --- |\n");
    format!("{head}{}", rows.trim_end())
}

fn table(rows: &[ModelRow]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(terminal_size::terminal_size().map_or(DEFAULT_WIDTH_COLUMNS, |(width, _)| width.0));
    table.set_header(["model", "here", OS, PATTERN, ABOUT, LIMIT]);
    table.add_rows(rows.iter().map(|row| {
        let here = match &row.why_not {
            None if row.auto => "yes (auto)".to_owned(),
            None => "yes".to_owned(),
            Some(why_not) => format!("no: {why_not}"),
        };
        let workers = if row.workers { "; takes --workers" } else { "" };
        let about = format!("{}{workers}", row.about);
        [row.name.to_owned(), here, row.os.clone(), row.pattern.clone(), about, row.limit.to_owned()]
    }));
    table
}
