//! A scenario file: what stands in it, which cases it means, and where it is wrong.
//!
//! A file is one case, or one for each of its `models`; a `suite` is all cases of the suite for each of them. Every
//! error names the file, the line and the column, and shows the line with a mark (as rustc does); a key that does not
//! exist is answered with the nearest one that does.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::{Step, mark, span_of, with_suggestion};
use super::variables::Environment;
use super::{Variables, conformance};
use crate::config::{ConfigError, ConnList, LoadArgs, RunArgs, ServerSpec, ServerTable, ServerVariant};
use crate::judge::metric;
use crate::judge::threshold::{Threshold, ThresholdError};
use crate::plan::{Profile, Reconnect, Slots, SlotsError};
use crate::stream::FindingKind;

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
    /// Why it can't be right under Wine, where it is skipped for this reason
    skip_under_wine: Option<String>,
    /// The server that each case starts; without this table a --target is needed
    server: Option<ServerTable>,
    /// The seed, the workers …
    #[serde(default)]
    run: RunArgs,
    /// Instead of loads of its own: the cases of 'echo-tester check', against this server
    suite: Option<Suite>,
    /// The load groups, which run at the same time
    #[serde(default)]
    load: Vec<LoadArgs>,
    /// What must come out
    expect: Option<Expect>,
}

/// Cases that come with the program.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Suite {
    /// The conformance suite, as 'echo-tester check' runs it
    Conformance,
}

/// What must come out, as it is written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// pass, fail or inconclusive [default: pass; fail with findings]
    verdict: Option<Expected>,
    /// Kinds of finding, each of which must be seen
    #[serde(default)]
    findings: Vec<FindingKind>,
    /// No other kind of finding may be seen [default: false]
    #[serde(default)]
    only: bool,
    /// What the figures must keep to.
    #[serde(default)]
    #[schemars(description = metric::description())]
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

/// A case: a scenario, resolved, against one server.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from: a path, or the name of an embedded file.
    pub path: String,
    /// A stable address; may be empty.
    pub id: String,
    /// What it is about; with the model, where the file has several.
    pub name: String,
    /// What it proves and what to look at when it fails; may be empty.
    pub about: String,
    /// It is run only when asked for.
    pub long: bool,
    /// Why it is skipped under Wine.
    pub skip_under_wine: Option<String>,
    /// The server; `None`: the user's own.
    pub server: Option<ServerSpec>,
    /// The seed, the workers …
    pub run: RunArgs,
    /// The load groups.
    pub loads: Vec<Profile>,
    /// The verdict that must come out.
    pub verdict: Expected,
    /// Kinds of finding, each of which must be seen.
    pub findings: Vec<FindingKind>,
    /// No other kind may be seen.
    pub only: bool,
    /// What the figures must keep to.
    pub thresholds: Vec<Threshold>,
    /// What environment variables have filled in, without which it would be another.
    pub environment: Environment,
    /// What was written, which for a case of a suite is the suite's file.
    text: Arc<str>,
    /// Where in its file it is named.
    pub(super) named: Named,
}

/// Where a case has its name from.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// The text of the file.
    pub(super) text: Arc<str>,
    /// Where in it.
    pub(super) span: Range<usize>,
}

impl Scenario {
    /// Reads the text of the file `path`, which is one case and has no variables.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &str, text: &str) -> Result<Scenario, String> {
        let mut cases = Scenario::read(path, text, &Variables::none(), false)?;
        match cases.pop().filter(|_| cases.is_empty()) {
            Some(case) => Ok(case),
            None => Err(format!("{path} is several cases")),
        }
    }

    /// Reads the text of the file `path`. A `target` stands for every server of the file, but for one that is faulty on
    /// purpose.
    ///
    /// # Errors
    /// A text for people: file, line, column, the line with a mark, what is wrong and what to write instead.
    pub fn read(path: &str, text: &str, variables: &Variables, target: bool) -> Result<Vec<Scenario>, String> {
        let (document, environment) = variables.read(path, text)?;
        let source = Source { path, text };
        let file = ScenarioFile::deserialize(toml::Deserializer::from(document)).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            source.mark(span, &with_suggestion(error.message()))
        })?;
        let wrong = |table, error| source.wrong(&[Step::Key(table)], &error);
        source.check_names(&file)?;
        file.run.resolve(0, 1).map_err(|error| wrong("run", error))?;
        let variants = file.server.as_ref().map(ServerTable::resolve).transpose();
        let mut variants = variants.map_err(|error| wrong("server", error))?;
        if target {
            // A faulty one is kept, to be skipped with its reason.
            variants = variants.filter(|variants| variants[0].server.is_faulty());
        }
        // The cases of a suite have the same names in every file: its server is what tells them apart.
        let label = file.suite.map(|_| file.name.clone());
        let mut cases = match file.suite {
            None => vec![source.case(file)?],
            Some(suite) => source.suite(suite, &file, variables)?,
        };
        for case in &mut cases {
            case.environment.extend(environment.clone());
        }
        source.check_only_conn(&cases)?;
        let Some(variants) = variants else { return Ok(cases) };
        let against = |variant: &ServerVariant, case: &Scenario| {
            let label = variant.label.map(str::to_owned).or_else(|| label.clone());
            case.clone().against(variant, label.as_deref())
        };
        Ok(variants.iter().flat_map(|variant| cases.iter().map(move |case| against(variant, case))).collect())
    }

    /// The same against this server, which its name says.
    pub(super) fn against(mut self, variant: &ServerVariant, label: Option<&str>) -> Scenario {
        self.server = Some(variant.server.clone());
        if let Some(label) = label {
            self.name = format!("{} [{label}]", self.name);
        }
        self
    }

    /// Whether to run both would be to run one thing twice, if their variables have the same values.
    pub fn is_same_as(&self, other: &Scenario) -> bool {
        let what = |case: &Scenario| (case.text.clone(), case.long);
        what(self) == what(other) && self.server == other.server && self.run == other.run
    }

    /// Whether both are one case, be it against several servers.
    pub(super) fn is_written_as(&self, other: &Scenario) -> bool {
        self.text == other.text
    }

    /// Its id and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }
}

/// A file as it is read.
#[derive(Clone, Copy)]
struct Source<'s> {
    path: &'s str,
    text: &'s str,
}

impl Source<'_> {
    fn mark(self, span: Range<usize>, problem: &str) -> String {
        mark(self.path, self.text, span, problem)
    }

    /// What is wrong with the value there.
    fn at(self, steps: &[Step<'_>], problem: &str) -> String {
        self.mark(span_of(self.text, steps), problem)
    }

    /// What is wrong with a key of a table.
    fn wrong(self, table: &[Step<'_>], error: &ConfigError) -> String {
        self.at(&[table, &[Step::Key(error.key)]].concat(), &format!("{}: {}", error.key, error.message()))
    }

    /// Reports and CI systems know a case by its name, and show it in a line.
    fn check_names(self, file: &ScenarioFile) -> Result<(), String> {
        if file.name.trim().is_empty() {
            return Err(self.at(&[Step::Key("name")], "without a name no report can tell it from others: write one"));
        }
        for (key, text) in [("name", &file.name), ("id", &file.id)] {
            if text.chars().any(char::is_control) {
                return Err(
                    self.at(&[Step::Key(key)], "it has a line break or another control character: leave it out")
                );
            }
        }
        Ok(())
    }

    /// Where what a case has its name from stands.
    fn named(self, key: &str) -> Named {
        Named { text: self.text.into(), span: span_of(self.text, &[Step::Key(key)]) }
    }

    /// The case of a file that has loads of its own, without its server.
    fn case(self, file: ScenarioFile) -> Result<Scenario, String> {
        let expect = file.expect.unwrap_or_default();
        let loads = self.loads(&file.load)?;
        let thresholds = self.thresholds(&expect.thresholds, &loads)?;
        let default_verdict = if expect.findings.is_empty() { Expected::Pass } else { Expected::Fail };
        let verdict = expect.verdict.unwrap_or(default_verdict);
        if verdict != Expected::Fail && !expect.findings.is_empty() {
            let problem = "a run with findings fails: write verdict = \"fail\", or leave it out";
            return Err(self.at(&[Step::Key("expect"), Step::Key("verdict")], problem));
        }
        if expect.only && expect.findings.is_empty() {
            let problem = "no other kind than which? add findings = [\"lost\"]; a run that must pass has none anyway";
            return Err(self.at(&[Step::Key("expect"), Step::Key("only")], problem));
        }
        Ok(Scenario {
            path: self.path.to_owned(),
            id: file.id,
            name: file.name,
            about: file.about,
            long: file.long,
            skip_under_wine: file.skip_under_wine.clone(),
            server: None,
            run: file.run,
            loads,
            verdict,
            findings: expect.findings,
            only: expect.only,
            thresholds,
            environment: Environment::new(),
            text: self.text.into(),
            named: self.named("name"),
        })
    }

    fn loads(self, written: &[LoadArgs]) -> Result<Vec<Profile>, String> {
        if written.is_empty() {
            return Err(self.at(&[Step::Key("load")], "without a [[load]] nothing is tested: add one"));
        }
        let mut loads: Vec<Profile> = Vec::new();
        for (i, load) in written.iter().enumerate() {
            let table = [Step::Key("load"), Step::Index(i)];
            let name = if written.len() == 1 { "load".to_owned() } else { format!("load{}", i + 1) };
            let profile = load.resolve(&name).map_err(|error| self.wrong(&table, &error))?;
            if loads.iter().any(|other| other.name == profile.name) {
                let steps = [&table[..], &[Step::Key("name")]].concat();
                return Err(self.at(&steps, "another [[load]] has this name: give each its own"));
            }
            loads.push(profile);
        }
        Slots::new(&loads).map_err(|error| {
            let (at, key) = match error {
                SlotsError::TooManyReconnects { times, .. } => {
                    let wanted = Reconnect::Times(times);
                    (loads.iter().position(|load| load.reconnect == wanted), "reconnect")
                }
                _ => ((0..loads.len()).find(|last| Slots::new(&loads[..=*last]).is_err()), "conns"),
            };
            self.at(&[Step::Key("load"), Step::Index(at.unwrap_or(0)), Step::Key(key)], &error.to_string())
        })?;
        Ok(loads)
    }

    /// Whether the connections that alone are to run are some of each case.
    fn check_only_conn(self, cases: &[Scenario]) -> Result<(), String> {
        for case in cases {
            let Some(ConnList(only)) = &case.run.only_conn else { continue };
            let there =
                Slots::new(&case.loads).and_then(|slots| only.iter().try_for_each(|conn| slots.of(*conn).map(drop)));
            there.map_err(|error| {
                let problem = format!("in '{}': {error}", case.title());
                self.at(&[Step::Key("run"), Step::Key("only_conn")], &problem)
            })?;
        }
        Ok(())
    }

    fn thresholds(self, written: &[String], loads: &[Profile]) -> Result<Vec<Threshold>, String> {
        let mut thresholds = Vec::new();
        for (i, threshold) in written.iter().enumerate() {
            let here = [Step::Key("expect"), Step::Key("thresholds"), Step::Index(i)];
            let threshold: Threshold =
                threshold.parse().map_err(|error: ThresholdError| self.at(&here, &error.to_string()))?;
            if let Some(group) = threshold.group().filter(|group| loads.iter().all(|load| load.name != **group)) {
                let names: Vec<&str> = loads.iter().map(|load| load.name.as_str()).collect();
                return Err(self.at(&here, &format!("there is no load '{group}': there is {}", names.join(", "))));
            }
            thresholds.push(threshold);
        }
        Ok(thresholds)
    }

    /// The cases of a file that names a suite, without its server.
    fn suite(self, suite: Suite, file: &ScenarioFile, variables: &Variables) -> Result<Vec<Scenario>, String> {
        let written = [("load", !file.load.is_empty()), ("expect", file.expect.is_some()), ("id", !file.id.is_empty())];
        if let Some((key, _)) = written.into_iter().find(|(_, is_written)| *is_written) {
            let problem = format!("the cases of the suite bring this with them: leave out either {key} or suite");
            return Err(self.at(&[Step::Key(key)], &problem));
        }
        let Suite::Conformance = suite;
        let of_suite = |case: Scenario| Scenario {
            path: self.path.to_owned(),
            server: None,
            long: case.long || file.long,
            skip_under_wine: file.skip_under_wine.clone(),
            run: file.run.clone(),
            named: self.named("suite"),
            ..case
        };
        Ok(conformance::cases(variables)?.into_iter().map(of_suite).collect())
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
            ("name = 'n'\n[[load]]\nconns = 0\n", "a.toml:3:9: ", "conns: must be at least 1", "  |         ^"),
            ("name = 'n'\n[[load]]\nsize = '12XB'\n", "a.toml:3:8: ", "12XB", "^^^^^^"),
            ("name = 'n'\n[server]\nmodel = 'epol'\n[[load]]\n", "a.toml:3:9: ", "did you mean epoll?", "^^^^^^"),
            ("name = 'n'\n[server]\nbind = '7777'\n[[load]]\n", "a.toml:3:8: ", "leave it out", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nthresholds = ['rtt.p998 < 5ms']", "a.toml:4:15: ", "rtt.p9", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nthresholds = ['x.errors == 0']", "a.toml:4:15: ", "there is load", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nverdict = 'pass'\nfindings = ['lost']", "a.toml:4:11: ", "\"fail\"", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nonly = true", "a.toml:4:8: ", "add findings", "^^^^"),
            ("name = 'n'\n[[load]]\n[expect]\nfindings = ['lots']", "a.toml:4:13: ", "did you mean `lost`?", "^"),
            (
                "name = 'n'\n[server]\nworkers = 2\ncommand = ['a', '{addr}']\n[[load]]",
                "a.toml:3:11: ",
                "leave out",
                "^",
            ),
            ("name = 'n'\n[server]\nmodels = ['select', 'epol']\n[[load]]", "a.toml:3:10: ", "mean epoll?", "^"),
            ("name = 'n'\n[server]\ncommands = []\n[[load]]", "a.toml:3:1: ", "did you mean `command`?", "^^^^^^^^"),
            ("name = 'n'\nsuite = 'conformance'\n[[load]]", "a.toml:3:1: ", "either load or suite", "^"),
            ("name = 'n'\nsuite = 'conform'", "a.toml:2:9: ", "did you mean `conformance`?", "^^^^^^^^^"),
            ("name = 'n'\n[[load]]\nconns = '${N}'", "a.toml:3:10: ", "--set N=", "^^^^"),
            ("name = 'n'\n[[load]]\nconns = '${N:-x}'", "a.toml:3:9: ", "x", "^^^^^^^^^"),
            ("name = 'n\n", "a.toml:1:", "", "^"),
            ("name = ' '\n[[load]]", "a.toml:1:8: ", "without a name", "^^^"),
            ("name = 'n'\nid = \"1\\n\"\n[[load]]", "a.toml:2:6: ", "line break", "^"),
            ("name = 'n'\n[[load]]\nconns = '16m'\n[[load]]\nconns = '1m'", "a.toml:5:9: ", "run several", "^^^^"),
            (
                "name = 'n'\n[[load]]\nconns = 1000\nreconnect = '20m'",
                "a.toml:4:13: ",
                "at most 2147355 times",
                "^^^^^",
            ),
            ("name = 'n'\n[run]\nonly_conn = 5\n[[load]]\nconns = 5", "a.toml:3:13: ", "no connection 5", "^"),
            ("name = 'n'\nsuite = 'conformance'\n[run]\nonly_conn = 5", "a.toml:4:13: ", "'1.2 every", "^"),
            ("name = 'n'\nload = []", "a.toml:2:8: ", "[[load]]", "^"),
        ] {
            let error = wrong(text);
            assert!(error.starts_with(place) && error.contains(remedy) && error.contains(marked), "{text}\n{error}");
        }
    }

    fn titles(cases: &[Scenario]) -> Vec<String> {
        cases.iter().map(Scenario::title).collect()
    }

    fn read(text: &str, target: bool) -> Vec<Scenario> {
        Scenario::read("a.toml", text, &Variables::none(), target).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn several_models_are_a_case_each_with_the_model_in_its_title() {
        let text = "name = 'n'\nid = '4.1'\n[server]\nmodels = ['epoll', 'io-uring']\n[[load]]\n";
        assert_eq!(titles(&read(text, false)), ["4.1 n [epoll]", "4.1 n [io-uring]"]);
        assert_eq!(titles(&read(text, true)), ["4.1 n"], "a target is one server");
        assert!(Scenario::parse("a.toml", text).is_err());
    }

    #[test]
    fn a_suite_is_all_of_its_cases_for_each_model() {
        let text = "name = 'n'\nsuite = 'conformance'\n[server]\nmodels = ['select', 'tokio']\n[run]\nseed = 5\n";
        let cases = read(text, false);
        let suite = conformance::cases(&Variables::none()).expect("they are well");
        assert_eq!(cases.len(), 2 * suite.len());
        assert_eq!(cases[0].title(), format!("{} [select]", suite[0].title()));
        assert!(cases.iter().all(|case| case.path == "a.toml" && case.run.seed.is_some() && !case.about.is_empty()));
        assert_eq!(titles(&read(text, true)), titles(&suite));
        let command = "name = 'mine'\nsuite = 'conformance'\nlong = true\n[server]\ncommand = ['a', '{addr}']";
        let cases = read(command, false);
        let of_mine = |case: &Scenario| format!("{} [mine]", case.title());
        assert_eq!(titles(&cases), suite.iter().map(of_mine).collect::<Vec<_>>(), "another file has the same suite");
        assert!(cases.iter().all(|case| case.long && matches!(case.server, Some(ServerSpec::Command(_)))));
    }

    #[test]
    fn the_same_case_is_known_in_another_file() {
        let suite = conformance::cases(&Variables::none()).expect("they are well");
        let models = "name = 'n'\nsuite = 'conformance'\n[server]\nmodels = ['auto', 'threads']\n";
        let cases = read(models, false);
        let known = |case: &&Scenario| suite.iter().any(|other| case.is_same_as(other));
        assert_eq!(cases.iter().filter(known).count(), suite.len(), "those of auto are the suite's own");
        let with_seed = read(&format!("{models}[run]\nseed = 1"), false);
        assert_eq!(with_seed.iter().filter(known).count(), 0);
    }
}
