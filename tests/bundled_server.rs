//! The server that `run` and `blast --serve` start: which options it takes, and from where.

use std::process::Command;

#[test]
fn its_options_come_from_the_scenario_and_not_from_the_environment() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("case.toml");
    std::fs::write(&file, "name = 'three'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 3\nmessages = 3\n")
        .expect("the folder can be written");
    let file = file.to_str().expect("the path is Unicode");
    for args in [&["run", file, "-q"][..], &["blast", "--serve", "-q", "--conns=3", "--messages=3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
        // With these the server would refuse all connections but one, or not start.
        command.args(args).env("ECHO_TESTER_SERVE_MAX_CONNS", "1").env("ECHO_TESTER_SERVE_BUFFER", "no size");
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}
