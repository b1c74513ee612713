//! The scenario files that ship: each names its schema and matches it, every fault has a canary that is caught, and the
//! conformance suite fails the servers that it should, case by case.

mod command_line;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use command_line::said;
use echo_tester::scenario::{Scenario, Variables, conformance};
use echo_tester::server::fault::{Fault, FaultKind, kind};
use echo_tester::stream::FindingKind;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Every *.toml under a folder, with its text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("the file is text");
            files.push((path, text));
        }
    }
    files.sort();
    files
}

#[test]
fn the_published_schema_is_that_of_the_program() {
    let published = std::fs::read_to_string(folder().join("scenario.schema.json")).expect("the schema can be read");
    let (_, printed, _) = said(&["schema", "scenario"]);
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("the text is JSON");
    assert_eq!(parsed(&published), parsed(&printed), "replace it with what 'echo-tester schema scenario' prints");
}

#[test]
fn every_file_names_its_schema_and_matches_it() {
    let schema = folder().join("scenario.schema.json").canonicalize().expect("the schema can be read");
    let text = std::fs::read_to_string(&schema).expect("the file is text");
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).expect("the text is JSON"))
        .expect("the schema is valid");
    let files = files(&folder());
    assert!(files.len() > 40, "{}", files.len());
    for (path, text) in files {
        let file = path.display();
        let named = text.lines().next().and_then(|line| line.strip_prefix("#:schema ")).unwrap_or_default();
        let named = path.parent().expect("the file is in a folder").join(named).canonicalize();
        assert_eq!(named.ok().as_ref(), Some(&schema), "{file}: its first line is '#:schema PATH'");
        let value: Value = toml::from_str(&text).expect("the text is TOML");
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{file}");
        let cases = Scenario::read(&file.to_string(), &text, &Variables::none(), false);
        cases.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_schema_allows_variables_and_refuses_what_the_program_refuses() {
    let (_, schema, _) = said(&["schema", "scenario"]);
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).expect("the text is JSON"))
        .expect("the schema is valid");
    let is_valid = |text: &str| validator.is_valid(&toml::from_str::<Value>(text).expect("the text is TOML"));
    let load = "name = 'n'\n[[load]]\n";
    for text in ["conns = '${N:-5}'", "size = '1..${N}'", "close = '${HOW}'", "read = '${HOW:-never}'"] {
        assert!(is_valid(&format!("{load}{text}")), "{text}");
    }
    assert!(is_valid(&format!("{load}[expect]\nverdict = '${{V}}'\nfindings = ['${{F}}']")));
    assert!(is_valid("name = 'n'\nsuite = 'conformance'\n[server]\nmodels = ['epoll']"));
    assert!(is_valid(&format!("{load}[server]\ncommand = ['./s', '{{addr}}']\nenv = {{ A = 'b' }}")));
    for text in ["conns = 'many'", "cons = 5", "[expect]\nverdict = 'well'", "[server]\nmodels = 5"] {
        assert!(!is_valid(&format!("{load}{text}")), "{text}");
    }
}

#[test]
fn every_kind_of_fault_has_a_canary_that_names_what_must_be_found() {
    let mut canaries: BTreeMap<FaultKind, Vec<FindingKind>> = BTreeMap::new();
    for (path, text) in files(&folder().join("canaries")) {
        let value: toml::Table = toml::from_str(&text).expect("the text is TOML");
        let fault = value["server"]["fault"][0]
            .as_str()
            .expect("the canary has a fault")
            .parse::<Fault>()
            .expect("the fault is valid");
        let case = Scenario::parse(&path.display().to_string(), &text).unwrap_or_else(|error| panic!("{error}"));
        assert!(path.ends_with(format!("{}.toml", fault.kind)), "{} is about {}", path.display(), fault.kind);
        canaries.entry(fault.kind).or_default().extend(case.expect.findings);
    }
    for row in kind::FAULT_TABLE {
        assert!(canaries.get(&row.kind).is_some_and(|kinds| !kinds.is_empty()), "{} has no canary", row.name);
    }
}

#[test]
fn every_canary_is_caught_and_named() {
    let (code, out, err) = said(&["run", "scenarios/canaries", "-q", "--jobs", "8"]);
    assert_eq!(code, 0, "{out}{err}");
    let canaries = kind::FAULT_TABLE.len();
    assert!(out.contains(&format!("{canaries} cases: {canaries} passed")), "{out}");
}

/// Each proxy does what its file says, where it is installed. Elsewhere its case says what to install.
#[test]
#[cfg(unix)]
fn every_proxy_that_is_installed_does_what_its_file_says() {
    let files = files(&folder().join("proxies"));
    assert!(files.len() >= 6, "{}", files.len());
    for (path, _) in files {
        let (code, out, err) = said(&["run", path.to_str().expect("the path is UTF-8"), "-q", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let case = &report["cases"][0];
        let reasons = case["reasons"].to_string();
        let is_missing = case["outcome"] == "skipped" && reasons.contains("is not installed: ");
        assert!(is_missing || (code == 0 && case["outcome"] == "pass"), "{}: {case}", path.display());
    }
}

#[test]
fn every_model_of_this_system_closes_as_the_suite_says() {
    let (code, out, err) = said(&["run", "scenarios/models.toml", "-q", "--jobs", "4", "--filter", "half-close"]);
    assert_eq!(code, 0, "{out}{err}");
    let models = echo_tester::server::models::TABLE.iter().filter(|model| model.run.is_some());
    for model in models {
        for case in ["3.2  half-close, all bytes, then EOF", "3.3  half-close behind a large unread backlog"] {
            assert!(out.contains(&format!("{case} [{}]", model.name)), "{case} {}\n{out}", model.name);
        }
    }
}

#[test]
fn the_cases_are_those_of_the_requested_models() {
    let list = |args: &[&str]| said(&[args, &["--list"]].concat());
    let (code, out, err) =
        list(&["run", "scenarios/models.toml", "--set", "MODELS=threads,select", "--filter", "4.1 "]);
    assert_eq!(code, 0, "{err}");
    let titles: Vec<&str> = out.lines().filter_map(|line| line.split("  scenarios").next()).map(str::trim).collect();
    let title = "4.1  must   a silent connection delays nobody";
    assert_eq!(titles, [format!("{title} [threads]"), format!("{title} [select]")]);
    let (_, out, _) = list(&["check", "--model", "threads,select", "--filter", "4.1 "]);
    assert!(out.contains(&format!("{title} [threads]")) && out.lines().count() == 2, "{out}");
    let (_, out, _) = list(&["check", "--model", "select", "--filter", "4.1 "]);
    assert!(out.starts_with(&format!("{title}  ")), "a single model is not part of the name: {out}");
    let (code, _, err) = list(&["check", "--model", "epol"]);
    assert!(code == 2 && err.contains("--model epol") && err.contains("did you mean epoll?"), "{err}");
}

#[test]
fn a_case_that_two_files_share_runs_once() {
    let both = ["run", "scenarios/conformance", "scenarios/models.toml", "--list"];
    let (code, out, err) = said(&[&both[..], &["--set", "MODELS=auto,threads"]].concat());
    assert_eq!(code, 0, "{err}");
    let cases = conformance::FILES.len();
    assert_eq!(out.lines().count(), 2 * cases, "those of auto, and those of threads");
    let shared = format!("{cases} of {} cases of scenarios/models.toml are in earlier files too", 2 * cases);
    // The note is as long as two lines.
    let note = err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(note.contains(&shared), "{err}");
    let (_, out, _) = said(&[&both[..], &["--target", "127.0.0.1:9"]].concat());
    assert_eq!(out.lines().count(), cases, "a target is one server: {out}");
}

/// The ids of the cases of the suite that do not pass against a server with this fault. Many run at a time, since a
/// case that fails waits for its stall timeout. But times mean something only if a case runs alone, so a case that
/// missed a threshold, or in which time was in doubt, runs once more.
fn failed_by(fault: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("suite.toml");
    let text = format!("name = 'proof'\nsuite = 'conformance'\n[server]\nfault = ['{fault}']\n");
    std::fs::write(&file, text).expect("the folder is writable");
    let not_passed = |args: &[&str]| -> Vec<(String, bool)> {
        let (_, out, err) = said(&[&["run", file.to_str().expect("the path is UTF-8"), "-q", "--json"], args].concat());
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let cases = report["cases"].as_array().expect("cases is a list").iter();
        let good = ["pass", "skipped", "info", "unsupported"];
        let failed = cases.filter(|case| !good.iter().any(|good| case["outcome"] == *good));
        let id = |case: &Value| case["id"].as_str().expect("an id is text").to_owned();
        // With 8 cases at a time, thresholds are missed and time is in doubt.
        let is_of_time = |case: &Value| case["outcome"] == "threshold-missed" || case["outcome"] == "inconclusive";
        failed.map(|case| (id(case), is_of_time(case))).collect()
    };
    let is_confirmed =
        |(id, is_of_time): &(String, bool)| !is_of_time || !not_passed(&["--filter", &format!("{id} ")]).is_empty();
    not_passed(&["--jobs", "8"]).into_iter().filter(is_confirmed).map(|(id, _)| id).collect()
}

/// The server fails these cases, and others only where that depends on speed.
fn assert_failed_by(fault: &str, must: &[&str], may: &[&str]) {
    let failed = failed_by(fault);
    let by_speed: Vec<&String> = failed.iter().filter(|id| !must.contains(&id.as_str())).collect();
    assert_eq!(failed.len() - by_speed.len(), must.len(), "{failed:?}");
    assert!(by_speed.iter().all(|id| may.contains(&id.as_str())), "{failed:?}");
}

#[test]
fn a_server_that_serves_one_at_a_time_fails_where_others_must_not_wait() {
    // 3.6, 6.1, 6.3: slow connections keep the others from being served. 4.1, 4.2: so do connections that are
    // silent or do not read. 5.1, 5.2: the connections must be served at once. In the others each connection ends soon:
    // waiting in line is slow, but every byte comes, unless there are very many.
    let must = ["3.6", "4.1", "4.2", "5.1", "5.2", "6.1", "6.3"];
    let may = [
        "1.2", "2.4", "2.5", "3.4", "3.7", "3.8", "3.9", "4.3", "4.4", "5.5", "5.6", "8.1", "9.1", "9.2", "9.3", "9.4",
        "9.5", "9.6", "9.7",
    ];
    assert_failed_by("one-at-a-time", &must, &may);
}

#[test]
fn a_server_that_serves_64_fails_where_there_are_more() {
    // 5.3, 5.4 and 9.1 hold that many connections too, but each only until its echo: whether 65 meet depends on speed.
    // The same goes for connections that ended a moment ago in 3.7, 3.9, 5.6 and 9.2. All others have at most 64.
    assert_failed_by("limit-64", &["5.1", "5.2", "5.5"], &["3.7", "3.9", "5.3", "5.4", "5.6", "9.1", "9.2"]);
}

#[test]
fn a_server_that_lets_connection_65_wait_fails_where_65_are_served_at_once() {
    // In 5.4 and 5.5 there are more too, and how long the last ones wait depends on speed.
    assert_failed_by("limit:n=64,beyond=queue", &["5.1", "5.2"], &["5.4", "5.5"]);
}

#[test]
fn a_pool_of_32_fails_where_32_silent_connections_occupy_it() {
    // In the others the rest waits for the first 32 to end, which is soon unless everything is slow.
    let may = ["3.7", "3.9", "4.3", "4.4", "5.3", "5.4", "5.5", "5.6", "9.1", "9.2"];
    assert_failed_by("limit:n=32,beyond=queue", &["4.1", "5.1", "5.2"], &may);
}

#[test]
fn a_server_that_never_sends_its_fin_fails_where_the_client_waits_for_it() {
    // Half-close, then every byte, then EOF. In all other cases the client closes once it has its echo. But the sockets
    // without a FIN stay open, which 10.3 notices, and 5.6, where they may become too many.
    assert_failed_by("no-fin", &["3.2", "3.3", "3.7", "3.8", "3.9", "9.2", "9.7", "10.3"], &["5.6"]);
}
