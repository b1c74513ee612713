//! What a suite is about to run: its first line, and the list of `--dry-run`. Nothing runs here.

use super::case::{CaseArgs, why_skipped};
use super::needs::{self, NeededServer};
use crate::config::ServerSpec;
use crate::judge::outcome::CaseOutcome;
use crate::report::suite::CaseReport;
use crate::scenario::Scenario;
use crate::server::models;
use crate::units::counted;

/// How many servers the first line names.
const MAX_NAMED: usize = 6;

/// What is tested: `44 cases against 127.0.0.1:9000`.
pub(super) fn opening(cases: &[&Scenario], targets: &[String], direct: Option<&str>) -> String {
    let count = counted(cases.len() as u64, "case");
    match (targets, direct) {
        ([], _) => {
            let mut servers: Vec<String> = Vec::new();
            for server in cases.iter().map(|case| server_of(case, None)) {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
            let whose = if cases.len() == 1 { "a server that is started for it" } else { "a server of its own each" };
            format!("{count} against {whose}: {}", named(&servers))
        }
        ([proxy], Some(backend)) => format!("{count} through the proxy {proxy}, and straight at its backend {backend}"),
        ([target], None) => format!("{count} against {target}"),
        (several, _) => format!("{count} against each of {} servers: {}", several.len(), named(several)),
    }
}

fn named(servers: &[String]) -> String {
    let shown = servers[..servers.len().min(MAX_NAMED)].join(", ");
    match servers.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The server of a case, in a few words.
fn server_of(case: &Scenario, target: Option<&str>) -> String {
    match (target, &case.server) {
        (Some(target), _) => target.to_owned(),
        (None, None) => "no server".to_owned(),
        (None, Some(ServerSpec::Command(command))) => command.program().to_owned(),
        (None, Some(server)) if server.is_faulty() => "bundled, with faults".to_owned(),
        (None, Some(ServerSpec::Bundled(server))) => {
            let name = server.model.as_deref().unwrap_or("auto");
            format!("bundled {}", models::find(name).map_or(name, |model| model.name))
        }
    }
}

/// A case that would run, or would not.
struct PlannedCase<'a> {
    report: &'a CaseReport,
    server: String,
}

/// Marks the cases that would not run with the reason, and returns the list as text. The cases run against each of the
/// targets in turn.
pub(super) fn dry_run(
    cases: &[&Scenario],
    each: &[Option<&str>],
    args: &CaseArgs,
    planned: &mut [CaseReport],
) -> Vec<String> {
    let all = each.iter().flat_map(|target| cases.iter().map(move |case| (*case, *target)));
    for (report, (case, target)) in planned.iter_mut().zip(all.clone()) {
        let server = NeededServer { is_target: target.is_some(), has_pid: args.watch.pid.is_some() };
        if let Some(why) = why_skipped(case, args, target) {
            report.record_no_run(CaseOutcome::Skipped, why);
        } else if let Some(why) = needs::why_unsupported(case, server) {
            report.record_no_run(CaseOutcome::Unsupported, why);
        }
    }
    let rows: Vec<PlannedCase<'_>> = planned
        .iter()
        .zip(all)
        .map(|(report, (case, target))| PlannedCase { report, server: server_of(case, target) })
        .collect();
    let width = rows.iter().map(|row| row.report.name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> = rows.iter().flat_map(|row| row.lines(width)).collect();
    let left_out = rows.iter().filter(|row| !row.report.reasons.is_empty()).count();
    let would = (rows.len() - left_out) as u64;
    lines.push(format!("\n{} would run, {left_out} would not; nothing was run", counted(would, "case")));
    lines
}

impl PlannedCase<'_> {
    /// Its id, grade, name and server; if it would not run, why.
    fn lines(&self, width: usize) -> Vec<String> {
        let PlannedCase { report, server } = self;
        let first = format!("{:<4} {:<6} {:<width$}  {server}", report.id, report.grade.name(), report.name);
        let why = report.reasons.iter().map(|why| format!("     would not run: {why}"));
        std::iter::once(first).chain(why).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Variables;

    fn opening_of(text: &str, targets: &[&str], direct: Option<&str>) -> String {
        let cases = Scenario::read("a.toml", text, &Variables::none(), false).unwrap_or_else(|error| panic!("{error}"));
        let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
        opening(&cases.iter().collect::<Vec<_>>(), &targets, direct)
    }

    #[test]
    fn the_first_line_names_what_is_tested() {
        let models = "name = 'n'\n[server]\nmodels = ['select', 'tokio']\n[[load]]\n";
        let own = "name = 'n'\n[server]\ncommand = ['./mine', '{addr}']\n[[load]]\n";
        let faulty = "name = 'n'\n[server]\nfault = ['flip']\n[[load]]\n";
        for (text, targets, direct, expected) in [
            (models, &[][..], None, "2 cases against a server of its own each: bundled select, bundled tokio"),
            (own, &[], None, "1 case against a server that is started for it: ./mine"),
            (faulty, &[], None, "1 case against a server that is started for it: bundled, with faults"),
            (own, &["a:1"], None, "1 case against a:1"),
            (own, &["a:1", "b:2"], None, "1 case against each of 2 servers: a:1, b:2"),
            (own, &["a:1"], Some("b:2"), "1 case through the proxy a:1, and straight at its backend b:2"),
        ] {
            assert_eq!(opening_of(text, targets, direct), expected);
        }
        let many: Vec<String> = (1..=9).map(|port| format!("a:{port}")).collect();
        assert!(named(&many).ends_with("a:6 and 3 more"), "{}", named(&many));
    }
}
