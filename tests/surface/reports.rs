//! Results that runs print and write, in every format, redacted.

use crate::program::Serving;
use crate::shell::Folder;
use crate::{redact, snapshot};

/// A load so small that its counts never vary. The tests' faults hit the last byte of a message, so that the server
/// writes each message at once.
const SMALL: &str = "--conns 1 --messages 3 --size 100 --fragment off --seed 7 --workers 1";

/// A case for each outcome.
const CASES: &[(&str, &str)] = &[
    (
        "cases/1-passes.toml",
        "name = 'it passes'\nid = '1.1'\n[server]\nmodel = 'threads'\n[run]\nworkers = 1\n\
         [[load]]\nconns = 1\nmessages = 3\nsize = 100\nfragment = 'off'\n\
         [expect]\nthresholds = ['rtt.count == 3']\n",
    ),
    (
        "cases/2-fails.toml",
        "name = 'it fails: a, b'\nid = '1.2'\nabout = '''\nProves: nothing.\nLook at: the <server>.\n'''\n\
         [server]\nfault = ['flip:at=99']\n[run]\nworkers = 1\n\
         [[load]]\nname = 'only'\nconns = 1\nmessages = 3\nsize = 100\nfragment = 'off'\n",
    ),
    (
        "cases/3-misses.toml",
        "name = 'it misses'\nid = '1.3'\n[server]\nmodel = 'threads'\n[run]\nworkers = 1\n\
         [[load]]\nconns = 1\nmessages = 3\nsize = 100\nfragment = 'off'\n\
         [expect]\nthresholds = ['messages > 1k', 'load.passed == 1']\n",
    ),
    (
        "cases/4-finds.toml",
        "name = 'it finds what it must'\nid = '1.4'\n[server]\nfault = ['flip:n=2,at=99']\n[run]\nworkers = 1\n\
         [[load]]\nconns = 1\nmessages = 1\nsize = 100\nfragment = 'off'\n[expect]\nfindings = ['corrupt']\n",
    ),
    (
        "cases/5-is-skipped.toml",
        "name = 'it is skipped'\nid = '1.5'\n[server]\nmodel = 'iocp'\n[[load]]\nconns = 1\nmessages = 1\n",
    ),
    ("cases/6-is-long.toml", "name = 'it is long'\nid = '1.6'\nlong = true\n[server]\n[[load]]\nconns = 1\n"),
    (
        "cases/7-has-no-server.toml",
        "name = 'it has no server'\nid = '1.7'\n[server]\ncommand = ['sh', '-c', 'echo {addr} is not for me; exit 3']\n\
         [[load]]\nconns = 1\nmessages = 1\n",
    ),
];

/// The session, followed by the content of each file.
fn with_files(said: &str, folder: &Folder, files: &[&str], redact: impl Fn(&str) -> String) -> String {
    let shown = files.iter().map(|name| format!("\n{name}:\n{}", redact(&folder.read(name))));
    format!("{said}{}", shown.collect::<String>())
}

#[test]
fn a_blast_that_passes() {
    let folder = Folder::with(&[]);
    snapshot("blast-passes", &folder.ran(&format!("blast --serve=threads {SMALL}")));
    let said = folder.ran(&format!("blast --serve=threads {SMALL} --json=report.json --output report.txt"));
    snapshot("blast-passes-json", &with_files(&said, &folder, &["report.json"], redact::json));
    snapshot("blast-unverified", &folder.ran(&format!("blast --serve=threads {SMALL} --verify off --quiet")));
    snapshot("blast-quiet", &folder.ran(&format!("blast --serve=threads {SMALL} --quiet")));
}

#[test]
fn a_blast_that_fails() {
    let folder = Folder::with(&[]);
    let log = folder.path().join("faults.jsonl");
    let server = Serving::start(&["--fault", "flip:at=99", "--fault-log", log.to_str().expect("the path is UTF-8")]);
    let blast = format!("blast {} {SMALL}", server.address);
    let said = folder.ran(&format!("{blast} --json=r.json --junit r.xml --markdown r.md --html r.html"));
    let (json, xml) = (redact::json(&folder.read("r.json")), redact::text(&folder.read("r.xml")));
    let (markdown, html) = (redact::text(&folder.read("r.md")), redact::text(&folder.read("r.html")));
    let printed = folder.ran(&blast);
    let all_json = folder.ran(&format!("{blast} --json"));
    server.stop();
    assert!(all_json.contains("\"form\"") && all_json.contains("(stderr)\nseed 7"), "{all_json}");
    snapshot("blast-fails", &redact::text(&format!("{printed}\n{said}")));
    snapshot("blast-fails-json", &json);
    snapshot("blast-fails-junit", &xml);
    snapshot("blast-fails-markdown", &markdown);
    snapshot("blast-fails-html", &html.replace("><", ">\n<"));
    snapshot("serve-fault-log", &redact::text(&folder.read("faults.jsonl")));
}

#[test]
fn a_blast_that_times_out() {
    let folder = Folder::with(&[]);
    let line = "blast --serve=threads --conns 1 --size 1 --gap 1h --timeout 300ms --seed 7 --workers 1";
    snapshot("blast-times-out", &folder.ran(line));
}

#[test]
fn plans() {
    let folder = Folder::with(&[]);
    let lines = "blast --dry-run --seed 7 --conns 3 --messages 2 --size 1..100 --fragment 1..40
                 blast --dry-run --seed 7 --conns 3 --messages 2 --size 10 --only-conn 0,2 --gap 1ms..5ms
                 blast --dry-run --seed 0x10 --conns 2 --rate 10 --messages 2 --size edges:10,20 --fragment off
                 blast --dry-run --seed 7 --conns 1 --lifetime 1..4 --reconnect 2 --size log:1..1KiB --close reset
                 blast --dry-run --seed 7 --conns 1 --duration 5s --lifetime 1s..2s --size pick:1,64 --read slow:64KiB/s
                 blast --dry-run --seed 7 --conns 1 --bytes 30 --size each:7..9 --read pause:2s --nagle
                 blast --dry-run --seed 7 --conns 1 --read never --messages 1
                 blast --dry-run --seed 7 --conns 2 --messages 0 --connect-rate 5
                 blast --dry-run --seed 7 --conns 2 --messages 1 --size 1 --ramp 5s --rate 10 --pipeline 2
                 blast --dry-run --seed 7 --conns 2 --messages 1 --size 1 --pipeline unlimited --close keep
                 blast --dry-run --seed 7 --conns 1 --messages 2 --size 10 --json";
    // Only the first ten messages of each plan: a plan without a limit is shown up to its thousandth write.
    let shown = folder.session(lines);
    let lines: Vec<&str> = shown.lines().collect();
    let is_begun =
        |line: &&&str| !line.starts_with("message ") || line.split([' ', ':']).nth(1).is_some_and(|n| n.len() == 1);
    snapshot("blast-dry-run", &lines.iter().filter(is_begun).copied().collect::<Vec<_>>().join("\n"));
}

#[test]
fn cases() {
    let folder = Folder::with(CASES);
    snapshot("run-list", &folder.said("run cases --list"));
    snapshot("run-list-json", &redact::json(&folder.said("run cases --list --json")));
    let said = folder.ran("run cases --seed 7 --json=r.json --junit r.xml --markdown r.md --html r.html");
    snapshot("run", &said);
    snapshot("run-json", &redact::json(&folder.read("r.json")));
    snapshot("run-junit", &redact::text(&folder.read("r.xml")));
    snapshot("run-markdown", &redact::text(&folder.read("r.md")));
    snapshot("run-html", &redact::text(&folder.read("r.html").replace("><", ">\n<")));
    snapshot("run-fail-fast", &folder.ran("run cases --seed 7 --fail-fast --quiet"));
    // One case, because with --jobs each case is shown as it ends.
    snapshot("run-jobs", &folder.ran("run cases --seed 7 --jobs 4 --filter 'it is long'"));
}

/// Cases that do not run, or run only in part, because of flags.
#[test]
fn cases_in_part() {
    let endless = "name = 'it is endless'\nid = '1.8'\n[server]\nmodel = 'threads'\n[run]\nworkers = 1\n\
                   [[load]]\nconns = 1\nsize = 1\nduration = '1h'\ngap = '1h'\n";
    let folder = Folder::with(&[CASES, &[("cases/8-is-endless.toml", endless)]].concat());
    let server = Serving::start(&[]);
    let said = [
        folder.ran("run cases --seed 7 --filter 1.3 --only-conn 0"),
        folder.ran("run cases --seed 7 --filter 1.8 --timeout 300ms"),
        folder.ran(&format!("run cases --seed 7 --filter 1.2 --target {}", server.address)),
        folder.ran(&format!("run cases --seed 7 --filter 1.1 --target {}", server.address)),
        folder.ran(&format!("run cases --seed 7 --filter 1.3 --quiet --long --target {}", server.address)),
    ];
    server.stop();
    snapshot("run-in-part", &said.join("\n"));
}

/// Errors of a user's own server that accepts no connection.
#[test]
fn cases_whose_server_does_not_start() {
    let case = |id: &str, server: &str| {
        format!("name = 'case {id}'\nid = '{id}'\n[server]\n{server}\n[[load]]\nconns = 1\nmessages = 1\n")
    };
    let texts = [
        case("1", "command = ['./nonsense', '{addr}']"),
        case("2", "command = ['sh', '-c', 'exit 3', '{addr}']"),
        case("3", "command = ['sh', '-c', 'exec sleep 60', '{addr}']\nready_timeout = '200ms'"),
        case("4", "command = ['sh', '-c', 'echo Address already in use; exit 1', '{addr}']"),
        case("5", "command = ['true', '{addr}']\ncwd = 'nowhere'"),
    ];
    let names = ["1.toml", "2.toml", "3.toml", "4.toml", "5.toml"];
    let files: Vec<(&str, &str)> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
    snapshot("run-no-server", &Folder::with(&files).ran("run . --seed 7"));
}

#[test]
fn cases_on_github() {
    let folder = Folder::with(&[CASES, &[("summary.md", "before\n")]].concat());
    let said = folder.ran("GITHUB_STEP_SUMMARY=summary.md run cases --seed 7 --github --quiet");
    snapshot("run-github", &with_files(&said, &folder, &["summary.md"], redact::text));
}

#[test]
fn the_suite() {
    let folder = Folder::with(&[]);
    snapshot("check-list", &folder.said("check --list"));
    snapshot("check-list-json", &redact::json(&folder.said("check --list --json")));
    let said = folder.ran("check --filter 1.1 --seed 7 --model threads,select");
    let dead = folder.ran("check --filter 1.1 --seed 7 --patience 1s --workers 1 127.0.0.1:1");
    snapshot("check", &format!("{said}\n{dead}"));
}

#[test]
fn comparisons() {
    let folder = Folder::with(&[]);
    // System calls are counted in runs of their own, where the system permits that.
    let is_certain = |line: &&str| !line.contains("counting the system calls of");
    let tables = |text: &str| {
        let certain: Vec<&str> = text.split('\n').filter(is_certain).collect();
        redact::tables(&certain.join("\n"), "threads|poll")
    };
    let line = format!("compare --models threads,poll,iocp --rounds 2 {SMALL}");
    snapshot("compare", &tables(&folder.ran(&line)));
    folder.said(&format!("{line} --quiet --json=r.json --csv r.csv --markdown r.md"));
    snapshot("compare-json", &redact::comparison(&folder.read("r.json")));
    snapshot("compare-csv", &redact::csv(&folder.read("r.csv")));
    snapshot("compare-markdown", &tables(&folder.read("r.md")));
    let line =
        format!("compare --models threads,poll --rounds 1 --sweep size=1,100 {SMALL}").replace("--size 100 ", "");
    // Whether the memory of one connection can be told from noise is a matter of chance.
    let uncertain = ["memory a connection", "system calls a message"];
    let all = tables(&folder.ran(&line));
    let certain = all.split("\n\n").filter(|block| !uncertain.iter().any(|head| block.starts_with(head)));
    snapshot("compare-sweep", &certain.collect::<Vec<_>>().join("\n\n"));
}
