//! What is secret stands in no output and no file of a run, whatever shows it: the command line of a server, what the
//! server prints, an error, a title, a command to run it again.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use program::text;

#[expect(dead_code, reason = "other tests run the program without variables")]
mod program;

/// With characters that JSON, XML and shells write otherwise.
const SECRET: &str = "s3same\"&<open>";
const PIN: &str = "47110815";

/// Runs a scenario with secrets and every kind of report. Returns all that was written, by place.
fn outputs(folder: &Path, scenario: &str, flags: &[&str]) -> Vec<(String, String)> {
    std::fs::write(folder.join("case.toml"), scenario).expect("the folder can be written to");
    let files = ["json", "junit", "markdown", "html"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.current_dir(folder).args(["run", "case.toml"]).args(flags);
    command.args(files.iter().map(|format| format!("--{format}={format}.out")));
    command.env("DB_PASSWORD", SECRET).env("PIN", PIN).env("SIZE", "64");
    let output = command.output().expect("the program starts");
    let mut all = vec![("stdout".to_owned(), text(&output.stdout)), ("stderr".to_owned(), text(&output.stderr))];
    let file =
        |format: &&str| Some((format.to_string(), std::fs::read_to_string(folder.join(format!("{format}.out"))).ok()?));
    all.extend(files.iter().filter_map(file));
    all
}

/// Whether a text has a secret, or the part of it that no escaping changes.
fn has_secret(text: &str) -> bool {
    text.contains("s3same") || text.contains(PIN)
}

#[cfg(unix)]
#[test]
fn the_value_of_a_secret_stands_nowhere_and_its_name_does() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let scenario = "name = 'of ${PIN}'\nabout = 'with ${DB_PASSWORD}, ${SIZE} bytes'\n\
        [server]\ncommand = ['sh', '-c', 'echo \"got $0 for {addr}\"; exit 3', '${DB_PASSWORD}']\n\
        [[load]]\nname = 'load'\nsize = '${SIZE}'\n";
    let all = outputs(folder.path(), scenario, &["--secret", "PIN"]);
    assert_eq!(all.len(), 6, "every kind of report is written: {all:?}");
    for (place, text) in &all {
        assert!(!has_secret(text), "{place}: {text}");
    }
    let json = &all[2].1;
    assert!(json.contains("got ${DB_PASSWORD} for") && json.contains("of ${PIN}"), "{json}");
    let replay = "--set DB_PASSWORD=\\\"$DB_PASSWORD\\\" --set PIN=\\\"$PIN\\\" --set SIZE=64 --secret PIN";
    assert!(json.contains(replay), "{json}");
}

#[test]
fn an_error_about_a_secret_does_not_tell_it() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let all = outputs(folder.path(), "name = 'n'\n[[load]]\nsize = '${DB_PASSWORD}'\n", &[]);
    let said = &all[1].1;
    assert!(said.contains("${DB_PASSWORD}") && !has_secret(said), "{said}");
    let scenario = "name = 'n'\n[server]\n[[load]]\nmessages = 1\n";
    let all = outputs(folder.path(), scenario, &["--secret", "NOWHERE"]);
    assert!(all[1].1.contains("--secret NOWHERE: no file uses it, and it is not in the environment"), "{}", all[1].1);
}

/// A server inherits the environment, and may print it, as dumps of a crash do.
#[cfg(unix)]
#[test]
fn a_secret_of_the_environment_that_no_file_uses_is_hidden_too() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let scenario = "name = 'n'\n[server]\ncommand = ['sh', '-c', 'env; echo {addr}; exit 3']\n[[load]]\n";
    for (place, text) in outputs(folder.path(), scenario, &["--secret", "PIN"]) {
        assert!(!has_secret(&text), "{place}: {text}");
        assert!(
            place != "json" || text.contains("DB_PASSWORD=${DB_PASSWORD}") && text.contains("PIN=${PIN}"),
            "{text}"
        );
    }
}

/// Reports are read by programs: whatever a secret is, their form stays.
#[cfg(unix)]
#[test]
fn a_secret_that_is_a_word_of_the_reports_leaves_them_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    for word in ["true", "null", "case", "pass", "verdict", "testsuite", "    "] {
        let scenario = "name = 'x'\nabout = '${A_TOKEN}'\n[server]\n[[load]]\nmessages = 1\n";
        std::fs::write(folder.path().join("case.toml"), scenario).expect("the folder can be written to");
        let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
        command.current_dir(folder.path()).env("A_TOKEN", word);
        let output = command.args(["run", "case.toml", "--json", "-q"]).output().expect("the program starts");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!((&report["cases"][0]["outcome"], &report["state"]), (&"pass".into(), &"complete".into()), "{word}");
    }
}

/// What the program says to a wrong proxy, which is typed or set in the environment.
fn said_to_proxy(args: &[&str], variable: Option<&str>) -> String {
    let mut command = program::program(&[&["blast", "127.0.0.1:9", "-q"], args].concat());
    let output = command.envs(variable.map(|value| ("ECHO_TESTER_VIA", value))).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_password_of_a_mistyped_proxy_is_not_repeated_wherever_it_was_given() {
    for proxy in [
        "socks5://joe:hunter2same",
        "joe:hunter2same@127.0.0.1:1",
        "socks5//joe:hunter2same@127.0.0.1:1",
        "socks5://127.0.0.1:1,socks5://joe:hunter2same",
        "joe:hunter2same",
    ] {
        let typed = said_to_proxy(&["--via", proxy], None);
        assert!(typed.contains("--via") && !typed.contains("hunter2"), "{proxy}: {typed}");
        let set = said_to_proxy(&[], Some(proxy));
        assert!(set.contains("ECHO_TESTER_VIA=***") && !set.contains("hunter2"), "{proxy}: {set}");
    }
    // It looks like no password, but who knows.
    let set = said_to_proxy(&[], Some("socks5://hunter2same"));
    assert!(!set.contains("hunter2"), "{set}");
}

/// Answers each connection like a web server that refuses it, until the test ends. Returns the address.
fn refusing_server(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection comes");
            std::thread::spawn(move || {
                // The client may end the connection at any time.
                let _ = connection.write_all(answer.as_bytes());
                let _ = connection.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut connection, &mut std::io::sink());
            });
        }
    });
    address
}

#[test]
fn the_beginning_of_a_secret_is_hidden_where_the_rest_is_cut_off() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let address = refusing_server("HTTP/1.1 403 hunter2secretvalue denied\r\n\r\n");
    let case = "name = 'n'\n[[load]]\nconns = 1\nmessages = 1\n";
    std::fs::write(folder.path().join("case.toml"), case).expect("the folder can be written to");
    let args = ["run", "case.toml", "--target", &address, "-q", "--json=a.json", "--html", "a.html"];
    let mut command = program::program(&args);
    let output = command.current_dir(folder.path()).env("A_TOKEN", "hunter2secretvalue").output();
    let output = output.expect("the program starts");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("the report is written");
    for (place, said) in [("text", text(&output.stdout)), ("JSON", read("a.json")), ("HTML", read("a.html"))] {
        assert!(said.contains("${A_TOKEN}…") && !said.contains("hunt"), "{place}: {said}");
    }
}
