//! Errors in scenario files: each text is a file, and the snapshot shows the answer of `run`.

use crate::shell::Folder;
use crate::snapshot;

/// Compares the answers to these files with the snapshot of this name. `--list` is enough: errors in a file are
/// reported before anything runs.
fn check(name: &str, texts: &[&str]) {
    let mut said = String::new();
    for text in texts {
        let folder = Folder::with(&[("a.toml", text)]);
        said.push_str(&format!("{}\n\n", folder.said("run a.toml --list").trim_end()));
    }
    assert!(!said.contains("(exit code 0)"), "all of these are errors: {said}");
    snapshot(&format!("errors-scenario-{name}"), said.trim_end());
}

/// A valid file with extra lines after the name and at the end of its load.
fn with(head: &str, tail: &str) -> String {
    format!("name = 'a'\n{head}\n[[load]]\nconns = 1\n{tail}\n")
}

fn check_heads(name: &str, heads: &[&str]) {
    let texts: Vec<String> = heads.iter().map(|head| with(head, "")).collect();
    check(name, &texts.iter().map(String::as_str).collect::<Vec<_>>());
}

fn check_tails(name: &str, tails: &[&str]) {
    let texts: Vec<String> = tails.iter().map(|tail| with("[server]\nmodel = 'auto'", tail)).collect();
    check(name, &texts.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn files() {
    check(
        "files",
        &[
            "",
            "name = ",
            "name = 'a'\nname = 'b'",
            "name = 5",
            "name = ''\n[[load]]",
            "name = \"a\\nb\"\n[[load]]",
            "name = 'a'\nid = \"1\\t1\"\n[[load]]",
            "name = 'a'",
            "name = 'a'\n[[load]]",
            "name = 'a'\nnames = 'b'\n[[load]]",
            "name = 'a'\nsuite = 'conformity'",
            "name = 'a'\nsuite = 'conformance'\n[server]\n[[load]]",
            "name = 'a'\nsuite = 'conformance'\n[server]\n[expect]",
            "name = 'a'\nsuite = 'conformance'\nid = '1.1'\n[server]",
            "name = 'a'\nsuite = 'conformance'\n[server]\n[run]\nonly_conn = '50'",
            "name = 'a'\nlong = 'yes'\n[[load]]",
            "name = 'a'\n[load]\nconns = 1",
            "name = 'a'\n[[load]]\nmessages = ${N}",
            "name = 'a'\n[[load]]\nmessages = 1,000",
            "name = 'a'\n[[load]]\nsize = 16KiB",
            "name = 'a'\nserver = 'auto'\n[[load]]",
            "name = 'a'\n[[server]]\n[[load]]",
            "name = 'a'\n[other]\n[[load]]",
        ],
    );
}

#[test]
fn servers() {
    check_heads(
        "servers",
        &[
            "[server]\nmodle = 'auto'",
            "[server]\nmodel = 'epol'",
            "[server]\ntarget = '127.0.0.1:9'",
            "[server]\nconns = 5",
            "[server]\nmodel = 5",
            "[server]\nmodels = 5",
            "[server]\nmodels = []",
            "[server]\nmodels = 'threads,nonsense'",
            "[server]\nmodels = ['threads', 'threads']",
            "[server]\nmodel = 'threads'\nmodels = 'all'",
            "[server]\nmodels = 'all'\nfault = ['flip']",
            "[server]\nmodel = 'threads'\nfault = ['flip']",
            "[server]\nfault = ['flop']",
            "[server]\nfault = 'flip'",
            "[server]\nbind = '127.0.0.1:7777'",
            "[server]\nworkers = 0",
            "[server]\nbuffer = '16kB'",
            "[server]\nidle_timeout = 0",
            "[server]\nseed = 5",
            "[server]\nfault_log = 'log.txt'",
            "[server]\nenv = { A = 'b' }",
            "[server]\ncwd = 'folder'",
            "[server]\nready_timeout = '5s'",
            "[server]\nstop_timeout = '5s'",
            "[server]\ncommand = []",
            "[server]\ncommand = ['', '{addr}']",
            "[server]\ncommand = ['program']",
            "[server]\ncommand = 'program {addr}'",
            "[server]\ncommand = ['program', '{addr}']\nmodel = 'auto'",
            "[server]\ncommand = ['program', '{addr}']\nworkers = 2",
        ],
    );
}

#[test]
fn runs() {
    check_heads(
        "runs",
        &[
            "[server]\n[run]\nsede = 5",
            "[server]\n[run]\nseed = 'x'",
            "[server]\n[run]\nworkers = 0",
            "[server]\n[run]\ntimeout = 0",
            "[server]\n[run]\ntimeout = 5",
            "[server]\n[run]\nshard = '4/4'",
            "[server]\n[run]\nshard = '0/2'",
            "[server]\n[run]\nonly_conn = '5'",
            "[server]\n[run]\nonly_conn = '0'\nshard = '0/1'",
            "[server]\n[run]\nstart_at = 'noon'",
            "[server]\n[run]\nsource = 'localhost'",
            "[server]\n[run]\nfindings = -1",
        ],
    );
}

#[test]
fn loads() {
    check_tails(
        "loads",
        &[
            "mesages = 5",
            "messages = 'many'",
            "messages = -5",
            "messages = 1.5",
            "messages = true",
            "size = '9..3'",
            "size = 0",
            "fragment = 'on'",
            "duration = 5",
            "rate = 0",
            "pipeline = 0",
            "read = 'fast'",
            "close = 'shut'",
            "lifetime = 'x'",
            "reconnect = 'sometimes'",
            "nagle = 'perhaps'",
            "bytes = 0",
            "read = 'never'\nclose = 'half-close'",
            "ramp = '5s'\nduration = '5s'\nconnect_rate = 5",
            "reconnect = 'forever'",
            "reconnect_delay = '5s'",
            "name = 'x'\n[[load]]\nname = 'x'",
            "[[load]]\nconns = 0",
            "[[load]]\nconns = '16m'\n[[load]]\nconns = '16m'",
            "reconnect = '3g'",
        ],
    );
}

#[test]
fn expectations() {
    check_tails(
        "expectations",
        &[
            "[expect]\nverdicts = 'pass'",
            "[expect]\nverdict = 'good'",
            "[expect]\nverdict = 'pass'\nfindings = ['lost']",
            "[expect]\nfindings = ['losst']",
            "[expect]\nonly = true",
            "[expect]\nthresholds = 'rtt.p99 < 5ms'",
            "[expect]\nthresholds = ['']",
            "[expect]\nthresholds = ['rtt.p99']",
            "[expect]\nthresholds = ['< 5ms']",
            "[expect]\nthresholds = ['rtt.p99 < ']",
            "[expect]\nthresholds = ['rtt.p99 < 5']",
            "[expect]\nthresholds = ['rtt.p99 < 5MiB']",
            "[expect]\nthresholds = ['rtt.p99 < 5s/0']",
            "[expect]\nthresholds = ['rtt.p101 < 5ms']",
            "[expect]\nthresholds = ['rtt < 5ms']",
            "[expect]\nthresholds = ['rtd.p99 < 5ms']",
            "[expect]\nthresholds = ['findings.losst == 0']",
            "[expect]\nthresholds = ['passed > 5ms']",
            "[expect]\nthresholds = ['throughput > 5ms']",
            "[expect]\nthresholds = ['message_rate > fast']",
            "[expect]\nthresholds = ['verified_bytes > 16MB']",
            "[expect]\nthresholds = ['other.rtt.p99 < 5ms']",
            "[expect]\nthresholds = ['load.client.cpu < 5s']",
        ],
    );
}

#[test]
fn variables() {
    let good = with("[server]\nmodel = '${MODEL:-auto}'", "messages = '${MESSAGES:-1}'");
    let files: &[(&str, &str)] = &[
        ("good.toml", &good),
        ("unset.toml", &with("[server]\nmodel = '${MODEL}'", "")),
        ("open.toml", &with("[server]\nmodel = '${MODEL'", "")),
        ("digit.toml", &with("[server]\nmodel = '${1}'", "")),
        ("none.toml", &with("[server]", "")),
    ];
    let lines = "run unset.toml --list
                 run open.toml --list
                 run digit.toml --list
                 run good.toml --list --set MODEL
                 run good.toml --list --set 1=5
                 run good.toml --list --set MESAGES=5
                 run good.toml --list --set OTHER=5
                 run none.toml --list --set OTHER=5
                 run good.toml --list --set MODEL=nonsense
                 MESSAGES=many run good.toml --list";
    snapshot("errors-scenario-variables", &Folder::with(files).session(lines));
}

#[test]
fn paths_and_names() {
    let good = with("id = '1.1'\n[server]", "");
    let files: &[(&str, &str)] = &[
        ("good.toml", &good),
        ("copy.toml", &format!("# The same name.\n{good}")),
        ("id.toml", &good.replace("'a'", "'b'")),
        ("serverless.toml", &with("", "")),
        ("conn.toml", &with("[server]\n[run]\nseed = 1\nonly_conn = '0'", "")),
        ("folder/readme.txt", ""),
    ];
    let folder = Folder::with(files);
    std::fs::write(folder.path().join("latin.toml"), b"name = '\xe4'").expect("the file is writable");
    let lines = "run none.toml
                 run folder
                 run latin.toml
                 run serverless.toml
                 run good.toml copy.toml
                 run good.toml id.toml
                 run good.toml good.toml --list
                 run good.toml --filter nonsense
                 run good.toml --only-conn 5
                 run conn.toml --shard 0/2
                 run good.toml --jobs 0
                 run good.toml --timeout 0";
    snapshot("errors-scenario-paths", &folder.session(lines));
}
