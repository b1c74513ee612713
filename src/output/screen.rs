//! Lines at the bottom of a terminal that are redrawn in place, on standard error. Everything else that is printed goes
//! above them.
//!
//! After each drawing the cursor stands at the start of the first of these lines. So the `^C` that a terminal echoes,
//! and whatever else writes there without asking, is overwritten by the next drawing, and one erase from the cursor on
//! leaves nothing behind. A line is overwritten and never blanked first, so that nothing flickers. At Ctrl-C a terminal
//! throws away what it has not shown yet, perhaps the end of a drawing; so each drawing saves the place where it
//! begins, and an erase goes back there first.
//!
//! indicatif is the library for this, and was used before. It leaves the cursor at the right edge of the last line
//! (0.18, `draw_target.rs`), so that `^C` goes to a line of its own and what is drawn next begins a line too low.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use crate::output::secrets;
use crate::sync::lock;

/// Goes back to where the last drawing began, and erases all from there to the end of the screen.
const ERASE: &str = "\u{1b}8\r\u{1b}[J";
/// Erases the rest of a line.
const ERASE_REST: &str = "\u{1b}[K";

/// The lines that are shown now. The process has one terminal, so it has one list.
static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether standard error is a terminal that can be redrawn.
pub(crate) fn is_there() -> bool {
    let is_dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb() && anstyle_query::windows::enable_ansi_colors().unwrap_or(true)
}

/// Shows these lines in place of those that are shown now. Each must be shorter than the terminal is wide.
pub(crate) fn show(lines: Vec<String>) {
    let lines: Vec<String> = lines.iter().map(|line| secrets::without(line).into_owned()).collect();
    let mut shown = lock(&SHOWN);
    if lines.is_empty() {
        erase(&mut shown);
    } else if *shown != lines {
        write(&drawing(&lines, shown.len()));
        *shown = lines;
    }
}

/// Takes the lines away.
pub(crate) fn clear() {
    erase(&mut lock(&SHOWN));
}

/// Takes the lines away at the end of the process, unless somebody is writing at this moment, perhaps to a pipe that
/// nobody reads.
pub(crate) fn clear_at_exit() {
    if let Ok(mut shown) = SHOWN.try_lock() {
        erase(&mut shown);
    }
}

/// Lets `print` write whole lines above the lines that are shown.
pub(crate) fn above<T>(print: impl FnOnce() -> T) -> T {
    let shown = lock(&SHOWN);
    if shown.is_empty() {
        return print();
    }
    write(ERASE);
    let result = print();
    write(&drawing(&shown, 0));
    result
}

fn erase(shown: &mut Vec<String>) {
    if !shown.is_empty() {
        write(ERASE);
        shown.clear();
    }
}

/// What draws these lines over `before` others, and returns to the start of the first.
fn drawing(lines: &[String], before: usize) -> String {
    let below = lines.len().saturating_sub(1);
    let up = if below > 0 { format!("\u{1b}[{below}A") } else { String::new() };
    // At the bottom of the screen, room for more lines moves the place where they begin.
    let room = if lines.len() > before { "\n".repeat(below) + &up } else { String::new() };
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}{ERASE_REST}")).collect();
    format!("\r{room}\u{1b}7{}\u{1b}[J\r{up}", lines.join("\n"))
}

/// Writes in one piece. If the terminal is gone, nobody sees the lines.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_ends_where_it_began() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(drawing(&lines, 2), "\r\u{1b}7one\u{1b}[K\ntwo\u{1b}[K\u{1b}[J\r\u{1b}[1A");
        assert_eq!(drawing(&lines[..1], 2), "\r\u{1b}7one\u{1b}[K\u{1b}[J\r");
        assert!(drawing(&lines, 1).starts_with("\r\n\u{1b}[1A\u{1b}7one"), "it makes room first");
    }
}
