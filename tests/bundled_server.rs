//! The bundled server that the program starts by itself: what it takes from those who start it.

use std::process::Command;

#[test]
fn it_does_what_the_scenario_says_and_not_what_stands_in_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.toml");
    std::fs::write(&file, "name = 'three'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 3\nmessages = 3\n")
        .expect("the folder can be written");
    let file = file.to_str().expect("a plain path");
    for args in [&["run", file, "-q"][..], &["blast", "--serve", "-q", "--conns=3", "--messages=3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
        // One connection alone, and never the right bytes.
        command.args(args).env("ECHO_TESTER_SERVE_MAX_CONNS", "1").env("ECHO_TESTER_SERVE_BUFFER", "no size");
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}
