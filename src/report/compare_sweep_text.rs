//! A sweep as text: for each figure a table with a row for each server and a column for each value of the axis.

use std::fmt::Write as _;

use super::compare::{CompareReport, Contender, SweepAxis};
use super::compare_figures::{Figure, main_figures};
use super::quantity::{UNKNOWN, two_digits};
use super::style::Style;
use super::table::Table;
use super::text::visible;
use crate::judge::difference::{Difference, Ratio};
use crate::judge::outcome::CaseOutcome;

/// Columns between two cells.
const GAP: usize = 2;

/// The tables, as wide as the style permits.
pub(super) fn render(report: &CompareReport, sweep: &SweepAxis, style: Style) -> String {
    let mut text = String::new();
    for figure in main_figures(report.compared_by).filter(|figure| is_known(report, *figure)) {
        let cell = |contender: &Contender| match contender.figure(figure) {
            Some(spread) => figure.quantity().show(spread.median),
            None => missing(contender),
        };
        let _ = writeln!(text, "{}\n{}", title(figure, report), table(report, sweep, style, cell));
        if figure == report.compared_by
            && let Some(basis) = common_basis(report)
        {
            let cell = |contender: &Contender| match contender.ratio {
                Some(ratio) => short_ratio(&ratio),
                None if contender.name == basis => "1".to_owned(),
                None => missing(contender),
            };
            let _ = writeln!(text, "{}\n{}", ratio_title(figure, basis), table(report, sweep, style, cell));
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn is_known(report: &CompareReport, figure: Figure) -> bool {
    report.contenders().any(|(_, contender)| contender.figure(figure).is_some())
}

fn title(figure: Figure, report: &CompareReport) -> String {
    let compared = if figure == report.compared_by { ", by which the servers are compared" } else { "" };
    format!("{}{compared}", figure.title())
}

fn ratio_title(figure: Figure, basis: &str) -> String {
    format!("{}, as a multiple of that of {basis} (≈: no difference shown)", figure.title())
}

/// The server that all others are compared with, if it is the same one at every point and there is another.
fn common_basis(report: &CompareReport) -> Option<&str> {
    let mut names = report.points.iter().filter_map(|point| point.basis(report.compared_by)).map(|basis| &*basis.name);
    let first = names.next()?;
    let has_ratio = report.contenders().any(|(_, contender)| contender.ratio.is_some());
    (has_ratio && names.all(|name| name == first)).then_some(first)
}

/// The ratio in a narrow cell.
fn short_ratio(ratio: &Ratio) -> String {
    let mark = match ratio.difference {
        Difference::Shown => "",
        Difference::NotShown => "≈ ",
        Difference::TooFewRounds => "? ",
    };
    format!("{mark}{}", two_digits(ratio.value))
}

/// What stands for a figure that a server does not have.
fn missing(contender: &Contender) -> String {
    match contender.outcome {
        CaseOutcome::Pass => UNKNOWN.to_owned(),
        _ => contender.outcome_name().to_owned(),
    }
}

/// A table whose columns are the values, divided where it would be too wide.
fn table(report: &CompareReport, sweep: &SweepAxis, style: Style, cell: impl Fn(&Contender) -> String) -> String {
    let names: Vec<&str> = report.names();
    let wide = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0) + GAP;
    let values: Vec<(String, Vec<String>)> = report
        .points
        .iter()
        .map(|point| {
            let cells = names.iter().map(|name| {
                let contender = point.contenders.iter().find(|contender| contender.name == *name);
                contender.map_or_else(String::new, &cell)
            });
            (point.value.clone().unwrap_or_default(), cells.collect())
        })
        .collect();
    let first = wide(&mut names.iter().copied().chain([sweep.axis.as_str()]));
    let widths =
        values.iter().map(|(value, cells)| wide(&mut cells.iter().map(String::as_str).chain([value.as_str()])));
    let mut text = String::new();
    let mut rest = values.as_slice();
    for chunk in chunks(first, &widths.collect::<Vec<_>>(), style.columns()) {
        let (shown, later) = rest.split_at(chunk);
        rest = later;
        let header: Vec<&str> =
            [sweep.axis.as_str()].into_iter().chain(shown.iter().map(|(value, _)| &**value)).collect();
        let rows = names.iter().enumerate().map(|(row, name)| {
            let cells = shown.iter().map(|(_, cells)| cells[row].clone());
            [visible(name)].into_iter().chain(cells).collect()
        });
        let _ = writeln!(text, "{}\n", Table::new(&header, rows.collect()).render(style));
    }
    text.trim_end().to_owned() + "\n"
}

/// How many columns of these widths stand beside the first one, table after table.
fn chunks(first: usize, widths: &[usize], columns: usize) -> Vec<usize> {
    let mut chunks: Vec<usize> = Vec::new();
    let mut used = usize::MAX;
    for width in widths {
        match chunks.last_mut() {
            Some(chunk) if used + width <= columns + GAP => {
                *chunk += 1;
                used += width;
            }
            _ => {
                chunks.push(1);
                used = first + width;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::tests::swept;
    use proptest::prelude::*;

    fn shown(values: &[&str], columns: usize) -> String {
        let report = swept(values);
        let sweep = report.sweep.clone().expect("it is a sweep");
        render(&report, &sweep, Style::new(columns, false))
    }

    #[test]
    fn the_tables_read_like_this() {
        insta::assert_snapshot!(shown(&["10", "100", "1000"], 80));
    }

    #[test]
    fn a_table_that_is_too_wide_is_divided_and_no_value_is_lost() {
        let values = ["10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "10000"];
        let text = shown(&values, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        // One figure is not known, and one has its ratio beside it.
        for value in values {
            let is_header =
                |line: &&str| line.starts_with("conns") && line.split_whitespace().any(|word| word == value);
            assert_eq!(
                text.lines().filter(is_header).count(),
                main_figures(Figure::MessagesPerS).count(),
                "{value} in {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_column_stands_in_one_table_that_fits(
            first in 1usize..20, widths in prop::collection::vec(1usize..15, 0..30)
        ) {
            let chunks = chunks(first, &widths, 80);
            prop_assert_eq!(chunks.iter().sum::<usize>(), widths.len());
            let mut rest = widths.as_slice();
            for chunk in chunks {
                let (shown, later) = rest.split_at(chunk);
                rest = later;
                prop_assert!(chunk > 0 && first + shown.iter().sum::<usize>() <= 80 + GAP);
            }
        }
    }
}
