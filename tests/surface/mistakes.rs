//! Mistakes that newcomers make: words of other programs, values in another notation, files that cannot be used. Each
//! answer says what to write instead. A table here is a snapshot, as in `errors`.

use crate::errors::check;
use crate::shell::Folder;
use crate::{redact, snapshot};

#[test]
fn words_of_other_programs() {
    check(
        "foreign-words",
        &Folder::with(&[]),
        "blast 9000
         blast ::1:9000
         blast --target 127.0.0.1:9000
         blast --model epoll
         blast --serve libevent
         blast --serve=libevent
         blast --serve --json out.json
         check 127.0.0.1:9000 --json out.json
         blast -- --serve
         blast '[::1:9000'
         blast --version
         blast --pid -1
         blast --quiet=1
         blast --connections 5
         blast --threads 4
         blast --time 5s
         check
         check --dry-run
         check --list --dry-run
         check --serve
         check --target=127.0.0.1:9000
         compare 127.0.0.1:9000
         compare epoll
         compare --model epoll
         serve 127.0.0.1:5000
         serve 5000
         serve epoll
         serve --port 5000
         serve --port=5000
         serve -p 5000
         serve --port
         serve --bind ::1:5000
         serve --serve=epoll",
    );
}

#[test]
fn values_in_another_notation() {
    check(
        "notation",
        &Folder::with(&[]),
        "blast --dry-run --size 1-16KiB
         blast --dry-run --size log:1-1MiB
         blast --dry-run --gap 1-5ms
         blast --dry-run --lifetime 1-20
         blast --dry-run --source-port 20000-20100
         blast --serve --size 5 KiB
         blast --serve --conns 5 500
         blast --dry-run --conns 1,000
         blast --dry-run --gap 5..2ms
         blast --dry-run --duration -5s
         blast --dry-run --duration '10 parsecs'
         blast --dry-run -d -5s
         check --model auto --patience -.5s",
    );
}

#[test]
fn flags_that_make_no_sense_together() {
    check(
        "together",
        &Folder::with(&[]),
        "blast --junit a.xml --html a.xml
         blast --json=a.json -o ./a.json
         check --model auto --json=a.json --write-baseline a.json
         compare --models threads --csv a.csv --markdown a.csv
         compare --models threads --shard 0/2 --seed 1
         compare --models threads,tokio --only-conn 5
         compare --models ''
         check --model all,epoll
         check 127.0.0.1:9 127.0.0.1:9
         blast --dry-run --insecure
         serve --workers 100000
         compare --models threads --start-at 2026-01-31T12:00:00Z",
    );
}

#[test]
fn files_that_cannot_be_used() {
    let scenario = "name = 'a'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 1\n";
    let files = [
        ("a.toml", scenario),
        ("nameless.toml", &scenario["name = 'a'\n".len()..]),
        ("report.json", include_str!("fixtures/churn.json")),
        ("folder/empty.txt", "# no target\n"),
    ];
    let folder = Folder::with(&files);
    std::fs::write(folder.path().join("latin1.toml"), b"name = '\xe4'\n").expect("the folder is writable");
    check(
        "unusable-files",
        &folder,
        "run absent.toml
         run latin1.toml
         run nameless.toml
         run a.toml --html /dev/full
         check --model auto --filter 1.1 --junit /dev/full
         check --targets absent.txt
         check --targets latin1.toml
         check --targets folder
         check --targets folder/empty.txt
         check 127.0.0.1:1 --baseline absent.toml
         check 127.0.0.1:1 --baseline latin1.toml
         merge absent.json
         merge latin1.toml
         merge folder
         merge report.json -o /dev/full",
    );
}

#[test]
fn a_source_of_another_machine_is_blamed_with_the_address_that_was_tried() {
    let said = Folder::with(&[]).ran("blast --serve=threads --source 192.0.2.1 --conns 1 --seed 7 --workers 1");
    snapshot("errors-source-and-serve", &said);
    assert!(!said.contains(":7777"), "{said}");
}

#[test]
fn what_is_doubtful_is_told_and_does_not_stop_the_run() {
    let folder = Folder::with(&[]);
    let plan = "blast --dry-run --conns 1 --messages 1 --seed 7 --size 5 --fragment off";
    let variables = "ECHO_TESTER_CONN=5 ECHO_TESTER_XYZZY=1 ECHO_TESTER_REQUIRE_WINE=1 ECHO_TESTER_EMPTY=";
    snapshot("errors-unknown-variables", &folder.said(&format!("{variables} {plan}")));
    let late = folder.said("run absent.toml --start-at 2020-01-01T00:00:00Z");
    assert!(!late.contains("warning"), "the file is the mistake: {late}");
    let late = redact::text(&folder.said("blast 127.0.0.1:1 --conns 1 --start-at 2020-01-01T00:00:00Z"));
    assert!(late.contains("warning: --start-at ") && late.contains("ago, so this starts at once"), "{late}");
    assert!(late.contains("nothing listens on"), "it ran: {late}");
}
