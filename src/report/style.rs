//! How a text is written: in colour or plain, and how wide. Each renderer gets it as a value, so that the same result
//! looks the same wherever it is rendered; `output::console` knows what a terminal shows.

use anstyle::{AnsiColor, Style as Ansi};

use crate::judge::outcome::CaseOutcome;
use crate::judge::verdict::Verdict;

/// Columns of a text for a file or a pipe, and the most of one for a terminal: longer lines are hard to read.
pub const MAX_COLUMNS: usize = 100;
/// A terminal that is narrower gets lines of this length, which it breaks itself.
const MIN_COLUMNS: usize = 40;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    columns: usize,
    is_coloured: bool,
}

/// What a word means, which its colour shows too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All is well.
    Good,
    /// The server, or what stands before it, is at fault.
    Bad,
    /// Nobody is at fault, or it is not known who.
    Doubtful,
    /// A kind of finding.
    Kind,
    /// It is read only by those who look for it.
    Quiet,
    /// It is looked for.
    Strong,
}

impl Style {
    /// For files, documents and everything else that is not a terminal.
    pub const PLAIN: Style = Style { columns: MAX_COLUMNS, is_coloured: false };

    /// For a screen of this width.
    pub fn new(columns: usize, is_coloured: bool) -> Style {
        Style { columns: columns.clamp(MIN_COLUMNS, MAX_COLUMNS), is_coloured }
    }

    /// The columns of a line.
    pub fn columns(self) -> usize {
        self.columns
    }

    /// The style of a text that is indented by this many columns afterwards.
    pub fn indented(self, columns: usize) -> Style {
        Style { columns: self.columns.saturating_sub(columns).max(MIN_COLUMNS / 2), ..self }
    }

    /// The text in the colour of its role.
    pub fn paint(self, role: Role, text: &str) -> String {
        if !self.is_coloured || text.is_empty() {
            return text.to_owned();
        }
        let style = match role {
            Role::Good => AnsiColor::Green.on_default().bold(),
            Role::Bad => AnsiColor::Red.on_default().bold(),
            Role::Doubtful => AnsiColor::Yellow.on_default().bold(),
            Role::Kind => AnsiColor::Red.on_default(),
            Role::Quiet => Ansi::new().dimmed(),
            Role::Strong => Ansi::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

impl From<CaseOutcome> for Role {
    fn from(outcome: CaseOutcome) -> Role {
        match outcome {
            CaseOutcome::Pass => Role::Good,
            CaseOutcome::Fail | CaseOutcome::Stale => Role::Bad,
            CaseOutcome::ThresholdMissed | CaseOutcome::Weak | CaseOutcome::Inconclusive | CaseOutcome::Interrupted => {
                Role::Doubtful
            }
            CaseOutcome::Info
            | CaseOutcome::Known
            | CaseOutcome::Expected
            | CaseOutcome::BackendsOwn
            | CaseOutcome::Skipped
            | CaseOutcome::Unsupported
            | CaseOutcome::NotRun => Role::Quiet,
        }
    }
}

impl From<Verdict> for Role {
    fn from(verdict: Verdict) -> Role {
        Role::from(CaseOutcome::from(verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_has_no_colour_and_a_coloured_one_ends_it() {
        assert_eq!(Style::PLAIN.paint(Role::Bad, "fail"), "fail");
        let text = Style::new(80, true).paint(Role::Bad, "fail");
        assert!(text.starts_with('\u{1b}') && text.ends_with("\u{1b}[0m") && text.contains("fail"), "{text:?}");
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "fail");
        assert_eq!(Style::new(80, true).paint(Role::Bad, ""), "");
    }

    #[test]
    fn a_line_is_neither_wider_than_can_be_read_nor_too_narrow_for_a_word() {
        assert_eq!([20, 80, 160].map(|columns| Style::new(columns, false).columns()), [40, 80, 100]);
        assert_eq!(Style::new(80, false).indented(4).columns(), 76);
    }
}
