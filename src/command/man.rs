//! `man [SUBCOMMAND]`, `man --out DIR`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::examples::{self, Example};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::console::print;
use crate::output::files;

/// The flags of `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Print the page of this subcommand [default: the page of the program]
    subcommand: Option<String>,
    /// Write all pages to this folder instead: echo-tester.1, echo-tester-blast.1 …
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand")]
    out: Option<PathBuf>,
}

/// Prints a page of this command line, or writes all pages.
///
/// # Errors
/// There is no such subcommand, or the folder or standard output cannot be written.
pub fn run(args: &ManArgs, command: Command) -> anyhow::Result<Exit> {
    // The pages of 'help blast' and so on would say nothing that the others do not.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let pages: Vec<Page> = std::iter::once(Page::of_program(&command))
        .chain(command.get_subcommands().filter(|below| !below.is_hide_set()).map(Page::of_subcommand))
        .collect();
    if let Some(folder) = &args.out {
        let unwritable = |error: io::Error| {
            let remedy = "name a folder that can be written";
            Failure::usage(format!("--out {}: {error}: {remedy}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(unwritable)?;
        for page in &pages {
            files::write("out", &folder.join(format!("{}.1", page.title)), page.render(&pages)?.trim_end())?;
        }
        return Ok(Exit::Pass);
    }
    let wanted = args.subcommand.as_deref().unwrap_or_default();
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        return Err(Failure::usage(format!("there is no subcommand '{wanted}': 'echo-tester help' lists them")));
    };
    print(page.render(&pages)?.trim_end())?;
    Ok(Exit::Pass)
}

/// A manual page.
struct Page {
    /// The subcommand; empty for the program.
    name: String,
    /// `echo-tester-blast`.
    title: String,
    command: Command,
}

impl Page {
    fn of_program(command: &Command) -> Page {
        Page { name: String::new(), title: command.get_name().to_owned(), command: command.clone() }
    }

    fn of_subcommand(command: &Command) -> Page {
        let (name, title) = (command.get_name().to_owned(), format!("echo-tester-{}", command.get_name()));
        Page { name, command: command.clone().display_name(&title), title }
    }

    fn render(&self, all: &[Page]) -> io::Result<String> {
        let source = format!("echo-tester {}", env!("CARGO_PKG_VERSION"));
        let man = Man::new(self.command.clone()).title(self.title.to_uppercase()).source(source);
        let mut text = Vec::new();
        man.date(DATE).manual("echo-tester manual").render_sections(&self.command, &mut text)?;
        let mut roff = Roff::new();
        exit_status(&mut roff);
        environment(&mut roff, &self.command);
        examples(&mut roff, examples::of(&self.name));
        see_also(&mut roff, self, all);
        roff.to_writer(&mut text)?;
        Ok(portable(&String::from_utf8_lossy(&text)))
    }
}

/// The day on which the sections that are written here, and not taken from the flags, changed last.
const DATE: &str = "2026-11-28";

trait Sections {
    fn render_sections(&self, command: &Command, text: &mut Vec<u8>) -> io::Result<()>;
}

impl Sections for Man {
    /// The sections that follow from the command line alone.
    fn render_sections(&self, command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
        self.render_title(text)?;
        self.render_name_section(text)?;
        self.render_synopsis_section(text)?;
        self.render_description_section(text)?;
        self.render_options_section(text)?;
        if command.has_subcommands() {
            self.render_subcommands_section(text)?;
        }
        Ok(())
    }
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for row in exit::TABLE {
        entry(roff, &row.exit.code().to_string(), row.about);
    }
}

/// The variables of all flags.
fn environment(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["ENVIRONMENT"]);
    let variables = command.get_arguments().filter_map(|arg| Some((arg.get_env()?.to_str()?, arg)));
    let mut seen = 0;
    for (name, arg) in variables.filter(|(_, arg)| !arg.is_hide_set()) {
        let flag = arg.get_long().map_or_else(|| "the argument".to_owned(), |long| format!("--{long}"));
        entry(roff, name, &format!("stands for {flag}, which wins"));
        seen += 1;
    }
    if command.has_subcommands() {
        let rule = "the variable of the flag --FLAG, in upper case and with _ for -; those of serve begin with \
                    ECHO_TESTER_SERVE_";
        entry(roff, "ECHO_TESTER_FLAG", rule);
    } else if seen == 0 {
        roff.text([roman("No flag of this command has a variable.")]);
    }
    entry(roff, "NO_COLOR", "no colours, if it is set and not empty");
}

fn examples(roff: &mut Roff, examples: &[Example]) {
    roff.control("SH", ["EXAMPLES"]);
    for (i, Example { about, line }) in examples.iter().enumerate() {
        if i > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(format!("{about}:"))]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        roff.text([roman(*line)]);
        roff.control("fi", []);
        roff.control("RE", []);
    }
}

fn see_also(roff: &mut Roff, page: &Page, all: &[Page]) {
    roff.control("SH", ["SEE ALSO"]);
    let others: Vec<&Page> = all.iter().filter(|other| other.title != page.title).collect();
    let names = others.iter().enumerate().flat_map(|(i, other)| {
        let end = if i + 1 < others.len() { "(1), " } else { "(1)" };
        [bold(other.title.as_str()), roman(end)]
    });
    roff.text(names.collect::<Vec<Inline>>());
}

/// A word, and what it means.
fn entry(roff: &mut Roff, word: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(word)]);
    roff.text([roman(meaning)]);
}

/// A page that every roff reads as it is: letters beyond ASCII by their numbers, no space at the end of a line, and no
/// line break beside a paragraph, which has one.
fn portable(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let is_space = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|line| matches!(*line, "" | ".sp"));
    let is_idle = |at: usize| lines[at] == ".br" && (is_space(at.checked_sub(1)) || is_space(Some(at + 1)));
    let mut text = String::new();
    for (_, line) in lines.iter().enumerate().filter(|(at, _)| !is_idle(*at)) {
        for letter in line.trim_end().chars() {
            match letter.is_ascii() {
                true => text.push(letter),
                false => text.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
            }
        }
        text.push('\n');
    }
    text
}
