//! From the text of a scenario file to its cases.
//!
//! A file is one case, or one for each of its `models`; a `suite` is all cases of the suite for each of them. Every
//! error shows its place in the file; an unknown key is answered with the nearest one that exists.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::case::Scenario;
use super::conformance;
use super::error::ScenarioError;
use super::file::{ExpectTable, ScenarioFile, Suite};
use super::file_reader::FileReader;
use super::plain_words;
use super::process_texts::ProcessTexts;
use super::toml_path::KeyStep;
use super::two_sides;
use super::variables::{Environment, Variables};
use crate::config::{ConnList, LoadArgs, Outage, ServerConditions, ServerTable, ServerVariant};
use crate::judge::expectation::{Expectations, ExpectedVerdict};
use crate::judge::measured::of_backend;
use crate::judge::property::ReportedMetric;
use crate::judge::threshold::Threshold;
use crate::plan::{Profile, Reconnect, Slots, SlotsError};
use crate::units::ParseError;

impl Scenario {
    /// Reads the text of the file `path`, which is one case and has no variables.
    ///
    /// # Errors
    /// As [`read`](Self::read); and the file is several cases.
    pub fn parse(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let mut cases = Scenario::read(path, text, &Variables::none(), false)?;
        match cases.pop().filter(|_| cases.is_empty()) {
            Some(case) => Ok(case),
            None => Err(FileReader { path, text }.error(0..0, "the file is several cases")),
        }
    }

    /// Reads the text of the file `path`. A `target` takes the place of every server of the file, except one that is
    /// faulty on purpose.
    ///
    /// # Errors
    /// The problem, its place, and what to write instead.
    pub fn read(path: &str, text: &str, variables: &Variables, target: bool) -> Result<Vec<Scenario>, ScenarioError> {
        let (document, environment) = variables.read(path, text)?;
        let reader = FileReader { path, text };
        let texts = ProcessTexts::of(document.get_ref());
        let file = ScenarioFile::deserialize(toml::Deserializer::from(document)).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            reader.error(span.clone(), &plain_words::of_content(error.message(), text, span))
        })?;
        let file = file.with_readiness();
        let in_table = |table, error| reader.config_error(&[KeyStep::Key(table)], &error);
        reader.check_names(&file)?;
        file.run.resolve(0, 1).map_err(|error| in_table("run", error))?;
        let conditions = file.server.as_ref().map(ServerTable::conditions).transpose();
        let conditions = conditions.map_err(|error| in_table("server", error))?.unwrap_or_default();
        let variants = file.server.as_ref().map(ServerTable::resolve).transpose();
        let mut variants = variants.map_err(|error| in_table("server", error))?;
        let processes = reader.processes(&file, &texts)?;
        if target {
            // A faulty server stays, so that its case is skipped with that reason.
            variants = variants.filter(|variants| variants[0].server.is_faulty());
        }
        let programs = file.programs.clone();
        // The cases of a suite have the same names in every file: the name of the file tells them apart.
        let label = file.suite.map(|_| file.name.clone());
        let mut cases = match file.suite {
            None => vec![reader.case(file)?],
            Some(suite) => reader.suite(suite, &file, variables)?,
        };
        for case in &mut cases {
            case.environment.extend(environment.clone());
            case.conditions = case.conditions.or(conditions);
            case.processes.clone_from(&processes);
            case.programs.clone_from(&programs);
        }
        reader.check_only_conn(&cases)?;
        let Some(variants) = variants else { return Ok(cases) };
        Ok(against_each(&variants, &cases, label.as_deref()))
    }

    /// The conformance suite: its cases in the order in which they run, each against the bundled default.
    ///
    /// # Errors
    /// A variable makes no sense where it is used. Without variables there is no error: a test reads every file.
    pub fn conformance(variables: &Variables) -> Result<Vec<Scenario>, ScenarioError> {
        let read = |(name, text): &(&str, &str)| Scenario::read(name, text, variables, false);
        Ok(conformance::FILES.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The suite for proxies between two ends that are ours, in the order in which its cases run.
    ///
    /// # Errors
    /// As [`conformance`](Self::conformance).
    pub fn two_sides(variables: &Variables) -> Result<Vec<Scenario>, ScenarioError> {
        let read = |(name, text): &(&str, &str)| Scenario::read(name, text, variables, true);
        Ok(two_sides::FILES.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The conformance suite against each of these servers.
    ///
    /// # Errors
    /// As [`conformance`](Self::conformance).
    pub fn conformance_against(
        variants: &[ServerVariant],
        variables: &Variables,
    ) -> Result<Vec<Scenario>, ScenarioError> {
        Ok(against_each(variants, &Scenario::conformance(variables)?, None))
    }
}

/// All cases for each server. A server without a label of its own takes `label`.
fn against_each(variants: &[ServerVariant], cases: &[Scenario], label: Option<&str>) -> Vec<Scenario> {
    let against = |variant: &ServerVariant, case: &Scenario| case.clone().against(variant, variant.label.or(label));
    variants.iter().flat_map(|variant| cases.iter().map(move |case| against(variant, case))).collect()
}

impl FileReader<'_> {
    /// Reports and CI systems know a case by its name and its id, and show each on one line.
    fn check_names(self, file: &ScenarioFile) -> Result<(), ScenarioError> {
        if file.name.trim().is_empty() {
            let problem = "without a name no report can tell the case from others: write one";
            return Err(self.error_at(&[KeyStep::Key("name")], problem));
        }
        for (key, text) in [("name", &file.name), ("id", &file.id)] {
            if text.chars().any(char::is_control) {
                let problem = "it has a line break or another control character: leave it out";
                return Err(self.error_at(&[KeyStep::Key(key)], problem));
            }
        }
        Ok(())
    }

    /// The case of a file that has loads of its own, without its server.
    fn case(self, file: ScenarioFile) -> Result<Scenario, ScenarioError> {
        let loads = self.loads(&file.load, file.backend.is_some())?;
        let outage = self.outage(&file, &loads)?;
        let report = self.reported(&file.report, &loads)?;
        let expect = self.expectations(file.expect.unwrap_or_default(), &loads)?;
        let expect = Expectations { grade: file.grade.unwrap_or_default(), report, ..expect };
        Ok(Scenario {
            path: self.path.to_owned(),
            id: file.id,
            name: file.name,
            about: file.about,
            long: file.long,
            needs: file.needs,
            skip_under_wine: file.skip_under_wine,
            server: None,
            processes: Vec::new(),
            programs: BTreeMap::new(),
            conditions: ServerConditions::default(),
            backend: file.backend.as_ref().map(|backend| backend.listen),
            backend_token: file.backend.and_then(|backend| backend.token),
            outage,
            run: file.run,
            loads,
            expect,
            environment: Environment::new(),
            source: self.text.into(),
            name_location: self.location("name"),
        })
    }

    fn outage(self, file: &ScenarioFile, loads: &[Profile]) -> Result<Option<Outage>, ScenarioError> {
        let Some(outage) = &file.outage else { return Ok(None) };
        let table = [KeyStep::Key("outage")];
        if !loads.iter().all(|load| load.flow.has_two_sides()) {
            let problem = "only a backend of ours can be down: add [backend], or a flow such as both to each [[load]]";
            return Err(self.error_at(&table, problem));
        }
        outage.resolve().map(Some).map_err(|error| self.config_error(&table, &error))
    }

    fn expectations(self, expect: ExpectTable, loads: &[Profile]) -> Result<Expectations, ScenarioError> {
        let thresholds = self.thresholds(&expect.thresholds, loads)?;
        let default_verdict = if expect.findings.is_empty() { ExpectedVerdict::Pass } else { ExpectedVerdict::Fail };
        let verdict = expect.verdict.unwrap_or(default_verdict);
        if verdict != ExpectedVerdict::Fail && !expect.findings.is_empty() {
            let problem = "a run with findings fails: write verdict = \"fail\", or leave it out";
            return Err(self.error_at(&[KeyStep::Key("expect"), KeyStep::Key("verdict")], problem));
        }
        if expect.only && expect.findings.is_empty() {
            let problem = "no other kind than which? add findings = [\"lost\"]; a run that must pass has none anyway";
            return Err(self.error_at(&[KeyStep::Key("expect"), KeyStep::Key("only")], problem));
        }
        let (findings, no_other_findings) = (expect.findings, expect.only);
        Ok(Expectations { verdict, findings, no_other_findings, thresholds, ..Expectations::default() })
    }

    fn loads(self, written: &[LoadArgs], has_backend: bool) -> Result<Vec<Profile>, ScenarioError> {
        if written.is_empty() {
            return Err(self.error_at(&[KeyStep::Key("load")], "needs at least one [[load]]"));
        }
        let mut loads: Vec<Profile> = Vec::new();
        for (i, load) in written.iter().enumerate() {
            let table = [KeyStep::Key("load"), KeyStep::Index(i)];
            let name = if written.len() == 1 { "load".to_owned() } else { format!("load{}", i + 1) };
            let load = if has_backend { load.with_backend() } else { load.clone() };
            let profile = load.resolve(&name).map_err(|error| self.config_error(&table, &error))?;
            if loads.iter().any(|other| other.name == profile.name) {
                let steps = [&table[..], &[KeyStep::Key("name")]].concat();
                return Err(self.error_at(&steps, "another [[load]] has this name: give each its own"));
            }
            loads.push(profile);
        }
        if let Some(other) = loads.iter().position(|load| load.speaks_first != loads[0].speaks_first) {
            let steps = [KeyStep::Key("load"), KeyStep::Index(other), KeyStep::Key("speaks_first")];
            let problem = "a backend speaks first on all of its connections, or on none: give each [[load]] the same";
            return Err(self.error_at(&steps, problem));
        }
        self.check_ids(&loads)?;
        Ok(loads)
    }

    /// Whether one run has enough connection ids for these loads.
    fn check_ids(self, loads: &[Profile]) -> Result<(), ScenarioError> {
        let Err(error) = Slots::new(loads) else { return Ok(()) };
        let (load, key) = match error {
            SlotsError::TooManyReconnects { times, .. } => {
                let culprit = Reconnect::Times(times);
                (loads.iter().position(|load| load.reconnect == culprit), "reconnect")
            }
            _ => ((0..loads.len()).find(|last| Slots::new(&loads[..=*last]).is_err()), "conns"),
        };
        let steps = [KeyStep::Key("load"), KeyStep::Index(load.unwrap_or(0)), KeyStep::Key(key)];
        Err(self.error_at(&steps, &error.to_string()))
    }

    /// Whether every case has the connections that `only_conn` names.
    fn check_only_conn(self, cases: &[Scenario]) -> Result<(), ScenarioError> {
        for case in cases {
            let Some(ConnList(only)) = &case.run.only_conn else { continue };
            let found =
                Slots::new(&case.loads).and_then(|slots| only.iter().try_for_each(|conn| slots.of(*conn).map(drop)));
            found.map_err(|error| {
                let problem = format!("in '{}': {error}", case.title());
                self.error_at(&[KeyStep::Key("run"), KeyStep::Key("only_conn")], &problem)
            })?;
        }
        Ok(())
    }

    fn thresholds(self, written: &[String], loads: &[Profile]) -> Result<Vec<Threshold>, ScenarioError> {
        let mut thresholds = Vec::new();
        for (i, threshold) in written.iter().enumerate() {
            let steps = [KeyStep::Key("expect"), KeyStep::Key("thresholds"), KeyStep::Index(i)];
            let threshold: Threshold =
                threshold.parse().map_err(|error: ParseError| self.error_at(&steps, &error.to_string()))?;
            self.check_group(threshold.group(), loads, &steps)?;
            thresholds.push(threshold);
        }
        Ok(thresholds)
    }

    fn reported(self, written: &[String], loads: &[Profile]) -> Result<Vec<ReportedMetric>, ScenarioError> {
        let mut metrics = Vec::new();
        for (i, metric) in written.iter().enumerate() {
            let steps = [KeyStep::Key("report"), KeyStep::Index(i)];
            let metric: ReportedMetric =
                metric.parse().map_err(|error: ParseError| self.error_at(&steps, &error.to_string()))?;
            self.check_group(metric.group(), loads, &steps)?;
            metrics.push(metric);
        }
        Ok(metrics)
    }

    /// Whether there is a load of this name.
    fn check_group(self, group: Option<&str>, loads: &[Profile], steps: &[KeyStep<'_>]) -> Result<(), ScenarioError> {
        let halves = loads.iter().filter(|load| load.flow.has_two_sides()).map(|load| of_backend(&load.name));
        let names: Vec<String> = loads.iter().map(|load| load.name.clone()).chain(halves).collect();
        let Some(group) = group.filter(|group| names.iter().all(|name| name != *group)) else { return Ok(()) };
        let problem = format!("there is no load '{group}': there is {}", names.join(", "));
        Err(self.error_at(steps, &problem))
    }

    /// The cases of a file that names a suite, without its server.
    fn suite(self, suite: Suite, file: &ScenarioFile, variables: &Variables) -> Result<Vec<Scenario>, ScenarioError> {
        let written = [
            ("load", !file.load.is_empty()),
            ("expect", file.expect.is_some()),
            ("id", !file.id.is_empty()),
            ("grade", file.grade.is_some()),
            ("needs", !file.needs.is_empty()),
            ("report", !file.report.is_empty()),
            ("outage", file.outage.is_some()),
        ];
        if let Some((key, _)) = written.into_iter().find(|(_, is_written)| *is_written) {
            let problem = format!("the cases of the suite bring this with them: leave out either {key} or suite");
            return Err(self.error_at(&[KeyStep::Key(key)], &problem));
        }
        let (cases, backend) = match suite {
            Suite::Conformance => (Scenario::conformance(variables)?, None),
            Suite::TwoSides => (Scenario::two_sides(variables)?, Some(file.backend.clone().unwrap_or_default())),
        };
        let of_suite = |case: Scenario| Scenario {
            path: self.path.to_owned(),
            server: None,
            backend: backend.as_ref().map(|backend| backend.listen),
            backend_token: backend.as_ref().and_then(|backend| backend.token.clone()),
            long: case.long || file.long,
            skip_under_wine: file.skip_under_wine.clone(),
            run: file.run.clone(),
            name_location: self.location("suite"),
            ..case
        };
        Ok(cases.into_iter().map(of_suite).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerSpec;

    fn error(text: &str) -> String {
        Scenario::parse("a.toml", text).expect_err(text).to_string()
    }

    #[test]
    fn an_absent_key_takes_its_default() {
        let scenario = Scenario::parse("a.toml", "name = 'n'\nid = '1.1'\n[[load]]\n").expect("the scenario is valid");
        assert_eq!(
            (scenario.title().as_str(), scenario.expect.verdict, scenario.long),
            ("1.1 n", ExpectedVerdict::Pass, false)
        );
        assert!(scenario.server.is_none() && scenario.expect.thresholds.is_empty());
        assert_eq!(scenario.loads[0].name, "load");
        let canary = Scenario::parse("a.toml", "name = 'n'\n[[load]]\n[expect]\nfindings = ['lost']");
        assert_eq!(canary.expect("the scenario is valid").expect.verdict, ExpectedVerdict::Fail);
    }

    #[test]
    fn an_error_shows_its_place_and_what_to_write() {
        for (text, place, remedy, marked) in [
            ("name = 'n'\n[[load]]\ncons = 5\n", "--> a.toml:3:1\n", "did you mean `conns`?", "  | ^^^^"),
            ("name = 'n'\n[[load]]\nconns = 0\n", "--> a.toml:3:9\n", "must be at least 1", "  |         ^"),
            ("name = 'n'\n[[load]]\nsize = '12XB'\n", "--> a.toml:3:8\n", "12XB", "^^^^^^"),
            ("name = 'n'\n[server]\nmodel = 'epol'\n[[load]]\n", "--> a.toml:3:9\n", "did you mean epoll?", "^^^^^^"),
            ("name = 'n'\n[server]\nbind = '7777'\n[[load]]\n", "--> a.toml:3:8\n", "leave it out", "^"),
            ("name = 'n'\n[[load]]\n[expect]\nthresholds = ['rtt.p998 < 5ms']", "--> a.toml:4:15\n", "rtt.p9", "^"),
            (
                "name = 'n'\n[[load]]\n[expect]\nthresholds = ['x.errors == 0']",
                "--> a.toml:4:15\n",
                "there is load",
                "^",
            ),
            (
                "name = 'n'\n[[load]]\n[expect]\nverdict = 'pass'\nfindings = ['lost']",
                "--> a.toml:4:11\n",
                "\"fail\"",
                "^",
            ),
            ("name = 'n'\n[[load]]\n[expect]\nonly = true", "--> a.toml:4:8\n", "add findings", "^^^^"),
            ("name = 'n'\n[[load]]\n[expect]\nfindings = ['lots']", "--> a.toml:4:13\n", "did you mean `lost`?", "^"),
            (
                "name = 'n'\n[server]\nworkers = 2\ncommand = ['a', '{addr}']\n[[load]]",
                "--> a.toml:3:11\n",
                "leave out",
                "^",
            ),
            ("name = 'n'\n[server]\nmodels = ['select', 'epol']\n[[load]]", "--> a.toml:3:21\n", "mean epoll?", "^"),
            (
                "name = 'n'\n[server]\ncommands = []\n[[load]]",
                "--> a.toml:3:1\n",
                "did you mean `command`?",
                "^^^^^^^^",
            ),
            ("name = 'n'\nsuite = 'conformance'\n[[load]]", "--> a.toml:3:1\n", "either load or suite", "^"),
            ("name = 'n'\nsuite = 'conform'", "--> a.toml:2:9\n", "did you mean `conformance`?", "^^^^^^^^^"),
            ("name = 'n'\n[[load]]\nconns = '${N}'", "--> a.toml:3:10\n", "--set N=", "^^^^"),
            ("name = 'n'\n[[load]]\nconns = '${N:-x}'", "--> a.toml:3:9\n", "x", "^^^^^^^^^"),
            ("name = 'n\n", "--> a.toml:1:", "", "^"),
            ("name = 'n'\ngrade = 'shall'\n[[load]]", "--> a.toml:2:9\n", "`should`", "^^^^^^^"),
            ("name = 'n'\nneeds = ['ipv4']\n[[load]]", "--> a.toml:2:10\n", "did you mean `ipv6`?", "^^^^^^"),
            ("name = 'n'\nreport = ['rtt.p5O']\n[[load]]", "--> a.toml:2:11\n", "did you mean rtt.p50?", "^^^^"),
            ("name = 'n'\nreport = ['x.errors']\n[[load]]", "--> a.toml:2:11\n", "there is load", "^^^^"),
            ("name = 'n'\nsuite = 'conformance'\ngrade = 'info'", "--> a.toml:3:9\n", "either grade or suite", "^"),
            ("name = ' '\n[[load]]", "--> a.toml:1:8\n", "without a name", "^^^"),
            ("name = 'n'\nid = \"1\\n\"\n[[load]]", "--> a.toml:2:6\n", "line break", "^"),
            ("name = 'n'\n[[load]]\nconns = '16m'\n[[load]]\nconns = '1m'", "--> a.toml:5:9\n", "several runs", "^^^^"),
            (
                "name = 'n'\n[[load]]\nconns = 1000\nreconnect = '20m'",
                "--> a.toml:4:13\n",
                "at most 2147355 times",
                "^^^^^",
            ),
            ("name = 'n'\n[run]\nonly_conn = 5\n[[load]]\nconns = 5", "--> a.toml:3:13\n", "no connection 5", "^"),
            ("name = 'n'\nsuite = 'conformance'\n[run]\nonly_conn = 5", "--> a.toml:4:13\n", "'1.2 every", "^"),
            ("name = 'n'\nload = []", "--> a.toml:2:8\n", "[[load]]", "^"),
            (
                "name = 'n'\n[backend]\n[[load]]\n[[load]]\nspeaks_first = 'server'",
                "--> a.toml:5:16\n",
                "give each [[load]] the same",
                "^^^^^^^^",
            ),
            ("name = 'n'\n[[load]]\n[outage]\nhow = 'refuse'\nlasts = '1s'", "--> a.toml:3:1\n", "add [backend]", "^"),
            (
                "name = 'n'\n[backend]\n[[load]]\n[outage]\nhow = 'refuse'\nlasts = 0",
                "--> a.toml:6:9\n",
                "such as 2s",
                "^",
            ),
            (
                "name = 'n'\n[backend]\n[[load]]\n[outage]\nhow = 'refused'\nlasts = '1s'",
                "--> a.toml:5:7\n",
                "`refuse`",
                "^",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(place) && error.contains(remedy) && error.contains(marked), "{text}\n{error}");
        }
    }

    fn titles(cases: &[Scenario]) -> Vec<String> {
        cases.iter().map(Scenario::title).collect()
    }

    fn read(text: &str, target: bool) -> Vec<Scenario> {
        Scenario::read("a.toml", text, &Variables::none(), target).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn several_models_are_one_case_each_with_the_model_in_the_title() {
        let text = "name = 'n'\nid = '4.1'\n[server]\nmodels = ['epoll', 'io-uring']\n[[load]]\n";
        assert_eq!(titles(&read(text, false)), ["4.1 n [epoll]", "4.1 n [io-uring]"]);
        assert_eq!(titles(&read(text, true)), ["4.1 n"], "a target is one server");
        assert!(Scenario::parse("a.toml", text).is_err());
    }

    #[test]
    fn a_suite_is_all_of_its_cases_for_each_model() {
        let text = "name = 'n'\nsuite = 'conformance'\n[server]\nmodels = ['select', 'tokio']\n[run]\nseed = 5\n";
        let cases = read(text, false);
        let suite = Scenario::conformance(&Variables::none()).expect("the embedded files are valid");
        assert_eq!(cases.len(), 2 * suite.len());
        assert_eq!(cases[0].title(), format!("{} [select]", suite[0].title()));
        assert!(cases.iter().all(|case| case.path == "a.toml" && case.run.seed.is_some() && !case.about.is_empty()));
        assert_eq!(titles(&read(text, true)), titles(&suite));
        let command = "name = 'mine'\nsuite = 'conformance'\nlong = true\n[server]\ncommand = ['a', '{addr}']";
        let cases = read(command, false);
        let of_mine = |case: &Scenario| format!("{} [mine]", case.title());
        assert_eq!(
            titles(&cases),
            suite.iter().map(of_mine).collect::<Vec<_>>(),
            "another file may have the same suite"
        );
        assert!(cases.iter().all(|case| case.long && matches!(case.server, Some(ServerSpec::Command(_)))));
    }

    #[test]
    fn the_same_case_is_recognized_in_another_file() {
        let suite = Scenario::conformance(&Variables::none()).expect("the embedded files are valid");
        let models = "name = 'n'\nsuite = 'conformance'\n[server]\nmodels = ['auto', 'threads']\n";
        let cases = read(models, false);
        let known = |case: &&Scenario| suite.iter().any(|other| case.is_same_as(other));
        assert_eq!(cases.iter().filter(known).count(), suite.len(), "the cases of auto are those of the suite itself");
        let two_sides = read("name = 'n'\nsuite = 'two-sides'\n[server]\ncommand = ['p', '{addr}']", false);
        assert_eq!(two_sides.len(), two_sides::FILES.len());
        assert!(two_sides.iter().all(|case| case.has_two_sides() && case.backend.is_some() && case.server.is_some()));
        let with_seed = read(&format!("{models}[run]\nseed = 1"), false);
        assert_eq!(with_seed.iter().filter(known).count(), 0);
    }
}
