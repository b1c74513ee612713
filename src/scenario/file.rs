//! A scenario file: what stands in it, what it means, and where it is wrong.
//!
//! Every error names the file, the line and the column, and shows the line with a mark (as rustc does); a key that does
//! not exist is answered with the nearest one that does.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::threshold::Threshold;
use crate::bytes::Kind;
use crate::config::{ConfigError, LoadArgs, RunArgs, ServeArgs};
use crate::plan::Profile;

/// A scenario as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "echo-tester scenario")]
pub struct ScenarioFile {
    /// What it is about, in a few words
    name: String,
    /// A stable address such as 4.1
    #[serde(default)]
    id: String,
    /// What it proves, which defects it has caught, what to look at when it fails
    #[serde(default)]
    about: String,
    /// It moves gigabytes or takes minutes: it is skipped without --long
    #[serde(default)]
    long: bool,
    /// The bundled server; without this table a --target is needed
    server: Option<ServeArgs>,
    /// The seed, the workers …
    #[serde(default)]
    run: RunArgs,
    /// The load groups, which run at the same time
    load: Vec<LoadArgs>,
    /// What must come out
    #[serde(default)]
    expect: Expect,
}

/// What must come out, as it is written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// pass, fail or inconclusive [default: pass; fail with findings]
    verdict: Option<Expected>,
    /// Kinds of finding, each of which must be seen
    #[serde(default)]
    findings: Vec<Kind>,
    /// Such as 'others.rtt.p99 < 1s', 'verified_bytes > 0'
    #[serde(default)]
    thresholds: Vec<String>,
}

/// The verdict that a scenario must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Everything right.
    Pass,
    /// Findings.
    Fail,
    /// Nothing that could be verified.
    Inconclusive,
}

impl Expected {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Expected::Pass => "pass",
            Expected::Fail => "fail",
            Expected::Inconclusive => "inconclusive",
        }
    }
}

/// A scenario, resolved.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from: a path, or the name of an embedded file.
    pub path: String,
    /// A stable address; may be empty.
    pub id: String,
    /// What it is about.
    pub name: String,
    /// What it proves and what to look at when it fails; may be empty.
    pub about: String,
    /// It is run only when asked for.
    pub long: bool,
    /// The bundled server; `None`: the user's own.
    pub server: Option<ServeArgs>,
    /// The seed, the workers …
    pub run: RunArgs,
    /// The load groups.
    pub loads: Vec<Profile>,
    /// The verdict that must come out.
    pub verdict: Expected,
    /// Kinds of finding, each of which must be seen.
    pub findings: Vec<Kind>,
    /// What the figures must keep to.
    pub thresholds: Vec<Threshold>,
}

impl Scenario {
    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// A text for people: file, line, column, the line with a mark, what is wrong and what to write instead.
    pub fn parse(path: &str, text: &str) -> Result<Scenario, String> {
        let place = |span: Range<usize>, problem: &str| mark(path, text, span, problem);
        let file: ScenarioFile = toml::from_str(text)
            .map_err(|error| place(error.span().unwrap_or(0..0), &with_suggestion(error.message())))?;
        let at = |steps: &[Step<'_>]| span_of(text, steps);
        let wrong = |table: &[Step<'_>], error: &ConfigError| {
            let steps = [table, &[Step::Key(error.key)]].concat();
            place(at(&steps), &format!("{}: {}", error.problem, error.remedy))
        };
        file.run.resolve(0, 1).map_err(|error| wrong(&[Step::Key("run")], &error))?;
        if let Some(server) = &file.server {
            server.resolve(1).map_err(|error| wrong(&[Step::Key("server")], &error))?;
            if server.bind.is_some() {
                let key = at(&[Step::Key("server"), Step::Key("bind")]);
                return Err(place(key, "the server of a scenario takes a free port of 127.0.0.1: leave this out"));
            }
        }
        if file.load.is_empty() {
            return Err(place(at(&[Step::Key("load")]), "without a [[load]] nothing is tested"));
        }
        let mut loads: Vec<Profile> = Vec::new();
        for (i, load) in file.load.iter().enumerate() {
            let table = [Step::Key("load"), Step::Index(i)];
            let name = if file.load.len() == 1 { "load".to_owned() } else { format!("load{}", i + 1) };
            let profile = load.resolve(&name).map_err(|error| wrong(&table, &error))?;
            if loads.iter().any(|other| other.name == profile.name) {
                let steps = [&table[..], &[Step::Key("name")]].concat();
                return Err(place(at(&steps), "another [[load]] has this name: give each its own"));
            }
            loads.push(profile);
        }
        let mut thresholds = Vec::new();
        for (i, threshold) in file.expect.thresholds.iter().enumerate() {
            let here = || at(&[Step::Key("expect"), Step::Key("thresholds"), Step::Index(i)]);
            let threshold: Threshold = threshold
                .parse()
                .map_err(|error: super::threshold::ThresholdError| place(here(), &error.to_string()))?;
            if let Some(group) = threshold.group().filter(|group| loads.iter().all(|load| load.name != **group)) {
                let names: Vec<&str> = loads.iter().map(|load| load.name.as_str()).collect();
                return Err(place(here(), &format!("there is no load '{group}': there is {}", names.join(", "))));
            }
            thresholds.push(threshold);
        }
        let default_verdict = if file.expect.findings.is_empty() { Expected::Pass } else { Expected::Fail };
        let verdict = file.expect.verdict.unwrap_or(default_verdict);
        if verdict != Expected::Fail && !file.expect.findings.is_empty() {
            let problem = "a run with findings fails: write verdict = \"fail\", or leave it out";
            return Err(place(at(&[Step::Key("expect"), Step::Key("verdict")]), problem));
        }
        Ok(Scenario {
            path: path.to_owned(),
            id: file.id,
            name: file.name,
            about: file.about,
            long: file.long,
            server: file.server,
            run: file.run,
            loads,
            verdict,
            findings: file.expect.findings,
            thresholds,
        })
    }

    /// Its id and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }
}

/// One step into a TOML document.
#[derive(Clone, Copy)]
enum Step<'s> {
    Key(&'s str),
    Index(usize),
}

/// Where a value stands; what does not exist is answered with the place of what should hold it.
fn span_of(text: &str, steps: &[Step<'_>]) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else { return 0..0 };
    let mut span = 0..0;
    let mut table = Some(document.get_ref());
    let mut value: Option<&DeValue<'_>> = None;
    for step in steps {
        let next = match step {
            Step::Key(key) => table.and_then(|table| table.get(*key)),
            Step::Index(i) => value.and_then(|value| value.get(*i)),
        };
        let Some(next) = next else { break };
        span = next.span();
        value = Some(next.get_ref());
        table = next.get_ref().as_table();
    }
    span
}

/// The place, the line with a mark under it, and what is wrong with it.
fn mark(path: &str, text: &str, span: Range<usize>, problem: &str) -> String {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let end = text.floor_char_boundary(span.end.clamp(start, (line_start + line.len()).max(start)));
    let width = text[start..end].chars().count().max(1);
    let margin = " ".repeat(number.to_string().len());
    let mark = format!("{}{}", " ".repeat(column), "^".repeat(width));
    format!("{path}:{number}:{}: {problem}\n{margin} |\n{number} | {line}\n{margin} | {mark}", column + 1)
}

/// serde names the wrong word first and then all right ones, each in backticks: the nearest is what was meant.
fn with_suggestion(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let (Some(wrong), true) = (words.next(), message.starts_with("unknown")) else { return message.to_owned() };
    let likeness = |word: &str| strsim::jaro_winkler(wrong, word);
    let nearest = words.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|word| likeness(word) > 0.7) {
        Some(nearest) => {
            format!("{}: did you mean `{nearest}`?", message.split(", expected").next().unwrap_or(message))
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Scenario::parse("a.toml", text).expect_err(text)
    }

    #[test]
    fn what_is_absent_takes_its_default() {
        let scenario = Scenario::parse("a.toml", "name = 'n'\nid = '1.1'\n[[load]]\n").expect("it is well");
        assert_eq!((scenario.title().as_str(), scenario.verdict, scenario.long), ("1.1 n", Expected::Pass, false));
        assert!(scenario.server.is_none() && scenario.thresholds.is_empty());
        assert_eq!(scenario.loads[0].name, "load");
        let canary = Scenario::parse("a.toml", "name = 'n'\n[[load]]\n[expect]\nfindings = ['lost']");
        assert_eq!(canary.expect("it is well").verdict, Expected::Fail);
    }

    #[test]
    fn an_error_shows_its_place_and_what_to_write() {
        for (text, place, remedy, marked) in [
            ("name = 'n'\n[[load]]\ncons = 5\n", "a.toml:3:1: ", "did you mean `conns`?", "  | ^^^^"),
            ("name = 'n'\n[[load]]\nconns = 0\n", "a.toml:3:9: ", "the least is 1", "  |         ^"),
            ("name = 'n'\n[[load]]\nsize = '12XB'\n", "a.toml:3:8: ", "12XB", "^^^^^^"),
            ("name = 'n'\n[server]\nmodel = 'epol'\n[[load]]\n", "a.toml:3:9: ", "did you mean epoll?", "^^^^^^"),
            ("name = 'n'\n[server]\nbind = '7777'\n[[load]]\n", "a.toml:3:8: ", "leave this out", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nthresholds = ['rtt.p98 < 5ms']", "a.toml:4:15: ", "rtt.p9", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nthresholds = ['x.errors == 0']", "a.toml:4:15: ", "there is load", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nverdict = 'pass'\nfindings = ['lost']", "a.toml:4:11: ", "\"fail\"", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nfindings = ['lots']", "a.toml:4:13: ", "did you mean `lost`?", "^"),
            ("name = 'n\n", "a.toml:1:", "", "^"),
            ("name = 'n'\nload = []", "a.toml:2:8: ", "[[load]]", "^"),
        ] {
            let error = wrong(text);
            assert!(error.starts_with(place) && error.contains(remedy) && error.contains(marked), "{text}\n{error}");
        }
    }
}
