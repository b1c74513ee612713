//! Errors of the command line: each table is a snapshot of the program's answers and exit codes. `scenario_errors`
//! covers scenario files, and `merging` covers reports.

use regex::Regex;

use crate::program::Serving;
use crate::shell::Folder;
use crate::snapshot;

/// Compares the answers to these command lines with the snapshot of this name.
pub(crate) fn check(name: &str, folder: &Folder, lines: &str) {
    let said = folder.session(lines);
    assert!(!said.contains("(exit code 0)"), "all of these are errors: {said}");
    snapshot(&format!("errors-{name}"), &said);
}

/// Does the same for flags of `blast`, such as `--conns 0`. With `--dry-run` none of them opens a connection.
fn check_flags(name: &str, lines: &str) {
    let lines: Vec<String> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(blast).collect();
    check(name, &Folder::with(&[]), &lines.join("\n"));
}

fn blast(flags: &str) -> String {
    format!("blast --dry-run {flags}")
}

#[test]
fn values_of_units() {
    check_flags(
        "units",
        "--conns ''
         --conns many
         --conns -1
         --conns 5x
         --conns 1.5
         --conns 5.
         --conns 1.2.3
         --conns 99999999999g
         --conns 99999999999999999999999
         --bytes 12XB
         --bytes 16kB
         --bytes 16MB
         --bytes 16GB
         --bytes 16TB
         --bytes 1.5b
         --bytes -5
         --duration ''
         --duration soon
         --duration 5
         --duration 5x
         --duration -5s
         --duration 99999999999999y
         --duration 600y
         --rate 0
         --rate 5/h
         --rate 5x/s
         --rate 0.00000001
         --rate -1
         --rate ''
         --connect-rate fast
         --findings few
         --start-at yesterday
         --start-at 2026-01-31T25:00:00Z
         --seed x
         --seed +5
         --seed 0xzz
         --seed -1
         --seed 99999999999999999999
         --nagle=perhaps
         --fail-fast=perhaps",
    );
}

#[test]
fn values_of_loads() {
    check_flags(
        "loads",
        "--size ''
         --size big
         --size 0
         --size 9..3
         --size 0..3
         --size 1..
         --size ..5
         --size 5x
         --size 2TiB
         --size 1,2
         --size log:5
         --size log:0..5
         --size edges:1
         --size odd:5
         --size pick:
         --size pick:1,,2
         --size each:0
         --fragment on
         --fragment 9..3
         --pipeline 0
         --pipeline some
         --pipeline 4294967295
         --gap 9ms..3ms
         --gap some
         --gap 5
         --read fast
         --read slow:
         --read slow:0
         --read slow:5q/s
         --read slow:5/h
         --read slow:0.3/s
         --read pause:x
         --close shut
         --verify some
         --lifetime 0
         --lifetime 9..3
         --lifetime 99999999999999999999
         --lifetime 5..99999999999g
         --lifetime 0s
         --lifetime 5s..1s
         --lifetime x
         --reconnect sometimes
         --reconnect -1
         --only-conn x
         --only-conn 1,,2
         --shard 1
         --shard 0/0
         --shard 4/4
         --shard x/4
         --shard 0/99999
         --source localhost
         --source 10.0.0.0/33
         --source 10.0.0.0/x
         --source 127.0.0.1/8
         --source fd00::1/120",
    );
}

#[test]
fn values_that_do_not_go_together() {
    check_flags(
        "resolve",
        "--conns 0
         --conns 2g
         --conns 1m --reconnect 9999
         --bytes 0
         --bytes 99TiB
         --duration 0
         --connect-timeout 0
         --stall-timeout 0
         --sndbuf 0
         --sndbuf 3GiB
         --rcvbuf 0
         --rcvbuf 3GiB
         --read never --close half-close
         --read never --close after-echo
         --read never --close together
         --read never --rate 5
         --read after-stall --rate 5
         --connect-rate 5 --ramp 5s
         --connect-rate 5 --duration 5s
         --ramp 10s --duration 5s
         --reconnect forever
         --reconnect 5 --close keep
         --reconnect 5 --close together
         --lifetime 5s --close keep
         --lifetime 5s --close together
         --reconnect 5 --bytes 1TiB
         --reconnect-delay 5s
         --workers 0
         --workers 2000
         --only-conn 1 --shard 0/1
         --shard 0/2
         --timeout 0
         --only-conn 100
         --only-conn 100 --conns 5 --reconnect 2
         --only-conn 2147483648",
    );
}

#[test]
fn targets() {
    let folder = Folder::with(&[]);
    check(
        "targets",
        &folder,
        "blast ''
         blast :
         blast :7777
         blast 127.0.0.1
         blast 127.0.0.1:
         blast 127.0.0.1:0
         blast 127.0.0.1:70000
         blast 127.0.0.1:http
         blast http://127.0.0.1:80/index
         blast ::1
         blast ::1:7777
         blast fd00::
         blast [::1]
         blast [::1
         blast [x]:7777
         blast [::1]x
         blast 'two words:80'
         blast 127.0.0.1:1 --conns 3 --seed 7 --workers 1
         blast 127.0.0.1:1 --conns 3 --seed 7 --workers 1 --quiet --json=report.json
         blast 127.0.0.1:1 --source fd00::1
         blast [::1]:1 --source 10.0.0.1
         blast --serve --source fd00::1
         check 127.0.0.1
         run --target 127.0.0.1 a.toml
         compare --target 127.0.0.1
         compare --target mine=127.0.0.1",
    );
}

/// No machine has the addresses 192.0.2.x (RFC 5737).
#[test]
fn sources_of_another_machine() {
    let folder = Folder::with(&[]);
    check("sources", &folder, "blast 127.0.0.1:1 --conns 1 --source 192.0.2.1 --seed 7 --workers 1");
}

#[test]
fn words() {
    let folder = Folder::with(&[]);
    check(
        "words",
        &folder,
        "
         blats
         --blast
         blast --no-such-flag
         blast --con 5
         blast --conns
         blast --conns 5 --conns 6
         blast 127.0.0.1:1 127.0.0.1:2
         blast --serve 127.0.0.1:1
         blast --serve threads
         blast --serve=threads 127.0.0.1:1
         blast --serve=nonsense
         blast --serve=epol
         check --model threads 127.0.0.1:1
         run
         merge
         man nonsense
         man blast --out pages
         man --out /dev/null/pages
         completions
         completions tcsh5
         schema
         schema nonsense
         models --json --markdown
         models --nonsense
         help nonsense
         serve extra",
    );
    // The table skips empty lines, so the command line without words has its own snapshot.
    snapshot("errors-no-words", &folder.said(""));
}

#[test]
fn variables() {
    let folder = Folder::with(&[]);
    check(
        "variables",
        &folder,
        "ECHO_TESTER_SIZE=9..3 blast --dry-run
         ECHO_TESTER_CONNS=0 ECHO_TESTER_SEED=5 blast --dry-run
         ECHO_TESTER_QUIET=perhaps check --list
         ECHO_TESTER_SERVE=threads ECHO_TESTER_TARGET=127.0.0.1:1 blast
         ECHO_TESTER_SERVE=nonsense blast
         ECHO_TESTER_SERVE_WORKERS=0 serve
         ECHO_TESTER_SERVE_FAULT=flop serve
         ECHO_TESTER_MODEL=nonsense check",
    );
}

#[test]
fn servers() {
    let folder = Folder::with(&[]);
    check(
        "serve",
        &folder,
        "serve --model epol
         serve --model iocp
         serve --bind ''
         serve --bind nowhere
         serve --bind 127.0.0.1
         serve --bind ::1
         serve --bind localhost
         serve --bind localhost:x
         serve --bind 127.0.0.1:70000
         serve --bind 70000
         serve --bind example.org:80
         serve --bind 192.0.2.1:7777 --max-conns 100
         serve --workers 0
         serve --workers 2000
         serve --buffer 0
         serve --buffer 2GiB
         serve --max-conns 0
         serve --max-conns 2g
         serve --backlog 0
         serve --backlog 3g
         serve --idle-timeout 0
         serve --idle-timeout 5
         serve --drain-timeout x
         serve --reuse-port=perhaps
         serve --seed 5
         serve --fault-log log.txt
         serve --fault flip --model threads
         serve --fault flip --fault-log no/log.txt",
    );
}

#[test]
fn faults() {
    let lines = "nonsense
         ''
         flip:x=1
         flip:n
         flip:n=9
         flip:n=0
         flip:at=5,at=6
         flip:p=0
         flip:p=2
         flip:p=x
         flip:conn=-1
         flip:every=3
         flip:times=0
         drop:len=0
         drop:len=2MiB
         drop:len=16kB
         drop:len=64,every=128
         reorder:len=64,every=256
         no-fin:at=5
         truncate:len=5
         one-at-a-time:n=1
         limit-0
         limit-x
         limit:beyond=drop
         delay:time=5
         fin-without-drain:time=soon
         stale:from=nowhere
         stale:from=buffer,at=5
         stale:mode=move
         crosstalk:mode=shift"
        .lines()
        .map(|fault| format!("serve --fault {}", fault.trim()));
    check("faults", &Folder::with(&[]), &lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_port_that_is_taken() {
    let server = Serving::start(&[]);
    let port = server.address.rsplit_once(':').expect("a free port exists").1.to_owned();
    let said = Folder::with(&[]).said(&format!("serve --bind {}", server.address));
    server.stop();
    snapshot("errors-serve-in-use", &said.replace(&port, "[port]"));
}

#[test]
fn more_connections_than_descriptors() {
    let said = Folder::with(&[]).said("blast 127.0.0.1:1 --conns 10m");
    // The limit, and how to raise it, depend on the machine.
    let most = Regex::new(r"the [\d,]+ that this process|use at most --conns \d+|raise the .*?\)")
        .expect("the pattern is valid");
    let said = most.replace_all(&said, |found: &regex::Captures<'_>| {
        let number = Regex::new(r"\d[\d,]*").expect("the pattern is valid");
        let limit = if found[0].starts_with("raise") { "raise the [limit]".into() } else { found[0].to_owned() };
        number.replace_all(&limit, "[number]").into_owned()
    });
    snapshot("errors-descriptors", &said);
}

#[test]
fn cases_and_comparisons() {
    let folder = Folder::with(&[]);
    check(
        "cases",
        &folder,
        "check --model auto --patience 0
         check --model auto --patience 5
         check --model ''
         check --model nonsense
         check --model threads,nonsense
         check --model threads,threads
         check --model auto --jobs 0
         check --model auto --jobs 65
         check --model auto --jobs -1
         check --model auto --filter nonsense
         check --model auto --filter 1.1 --workers 0
         check --model auto --filter 1.1 --only-conn 500
         check --filter 1.1 --source fd00::1 --seed 7 127.0.0.1:1
         check --model auto --filter 1.1 --shard 0/2
         check --model auto --filter 1.1 --github
         GITHUB_STEP_SUMMARY=no/summary.md check --model auto --filter 1.1 --github
         blast --serve --github
         compare --rounds 0
         compare --models nonsense
         compare --models ''
         compare --models threads,threads
         compare --target 127.0.0.1:1,127.0.0.1:1
         compare --target a=127.0.0.1:1 --target a=127.0.0.1:2
         compare --target =127.0.0.1:1
         compare --models threads --conns 0
         compare --models threads --workers 0",
    );
}

#[test]
fn results_that_cannot_be_written() {
    let scenario = "name = 'a'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 1\n";
    let report = include_str!("fixtures/churn.json");
    let folder = Folder::with(&[("a.toml", scenario), ("report.json", report), ("folder/file", "")]);
    let mut lines = String::new();
    for command in ["blast --serve", "run a.toml", "check --model auto"] {
        for flag in ["--junit no/a", "--markdown no/a", "--html no/a", "--json=no/a", "-o no/a"] {
            lines.push_str(&format!("{command} {flag}\n"));
        }
        for flag in ["--junit -", "--markdown -", "--html -", "--junit folder", "--json=folder", "--html folder/file/a"]
        {
            lines.push_str(&format!("{command} {flag}\n"));
        }
    }
    for line in [
        "check --list --json=no/a",
        "check --list -o no/a",
        "blast --dry-run --json=no/a",
        "blast --dry-run -o no/a",
        "compare --models threads --csv no/a",
        "compare --models threads --csv -",
        "compare --models threads --markdown no/a",
        "compare --models threads --markdown -",
        "compare --models threads --json=no/a",
        "merge report.json --json=no/a",
        "merge report.json -o no/a",
        "merge report.json -o folder",
    ] {
        lines.push_str(&format!("{line}\n"));
    }
    check("results", &folder, &lines);
}
