//! Cases that ran against several servers as a grid: a row for each case, a column for each server, and in each cell
//! the outcome, which leads to the case.

use maud::{Markup, html};

use super::parts::{class, of_server};
use crate::report::quantity::UNKNOWN;
use crate::report::suite::{CaseReport, SuiteReport};
use crate::report::text::plain;

/// A case and its name without the server, and the server.
struct Cell<'c> {
    case: (&'c str, &'c str),
    server: &'c str,
    report: &'c CaseReport,
    anchor: &'c str,
}

/// The grid; nothing unless some case ran against several servers.
pub(super) fn render(report: &SuiteReport, anchors: &[String]) -> Markup {
    let cells: Vec<Cell<'_>> =
        report.cases.iter().zip(anchors).filter_map(|(case, anchor)| cell(case, anchor)).collect();
    let servers = distinct(cells.iter().map(|cell| cell.server));
    let cases = distinct(cells.iter().map(|cell| cell.case));
    if servers.len() < 2 {
        return html! {};
    }
    let at = |case: &(&str, &str), server: &str| cells.iter().find(|cell| cell.case == *case && cell.server == server);
    html! {
        h2 { "Cases and servers" }
        div.wide {
            table.grid {
                tr { th { "case" } @for server in &servers { th { (plain(server)) } } }
                @for case in &cases {
                    tr {
                        th { b { (plain(case.0)) } " " (plain(case.1)) }
                        @for server in &servers {
                            @match at(case, server) {
                                Some(cell) => {
                                    td {
                                        a.(class(cell.report.outcome)) href={ "#" (cell.anchor) } {
                                            (cell.report.outcome.name())
                                        }
                                    }
                                }
                                None => { td { (UNKNOWN) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The case at its place; `None` if its name has no server.
fn cell<'c>(report: &'c CaseReport, anchor: &'c str) -> Option<Cell<'c>> {
    let (name, server) = of_server(report)?;
    Some(Cell { case: (&report.id, name), server, report, anchor })
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::outcome::CaseOutcome;
    use crate::report::page::cases::anchors;
    use crate::report::sample;

    #[test]
    fn each_case_has_a_row_each_server_a_column_and_each_cell_leads_to_its_case() {
        use CaseOutcome::{Fail, NotRun, Pass};
        let mut cases = sample::cases(&[Pass, Fail, Pass, NotRun]);
        for (case, (id, server)) in cases.iter_mut().zip([("1", "epoll"), ("2", "epoll"), ("1", "poll"), ("3", "poll")])
        {
            (case.id, case.name) = (id.to_owned(), format!("n{id} [{server}]"));
        }
        let report = SuiteReport::new(cases);
        let page = render(&report, &anchors(&report)).into_string();
        assert_eq!(page.matches("<tr>").count(), 4, "{page}");
        assert_eq!(page.matches("<td>–</td>").count(), 2, "2 did not run with poll, 3 not with epoll: {page}");
        assert!(page.contains("<a class=\"bad\" href=\"#case-2\">FAIL</a>"), "{page}");
    }

    #[test]
    fn cases_against_one_server_need_no_grid() {
        let report = sample::suite();
        assert_eq!(render(&report, &anchors(&report)).into_string(), "");
    }
}
