//! Targets by a name that has many addresses, none, or another one than a moment ago, and by a name server that is
//! slow, silent or wrong. The names stand in an /etc/hosts of the test, which only its own mount namespace has. Where
//! the system allows no such namespace, the test says so and tests nothing; with `ECHO_TESTER_REQUIRE_NAMESPACES=1`
//! that is a failure.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Command, Output};

use program::text;

#[expect(dead_code, reason = "other tests run the program outside of a namespace")]
mod program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");
/// The exit code of a script that can't be set up here.
const NOT_HERE: i32 = 77;
/// Longer than any script takes, in seconds.
const SCRIPT_TIMEOUT_S: &str = "100";

/// Puts a file of the test in the place of /etc/hosts. Names that are not in it are looked up nowhere.
const SETUP: &str = "ip link set lo up && mount --bind hosts /etc/hosts || exit 77
echo 'hosts: files' >nsswitch && mount --bind nsswitch /etc/nsswitch.conf || exit 77
serve() {
    exec {lines}< <(exec ET serve --bind \"$1\" --quiet --json)
    read -r -u $lines line
}
";

/// Runs a script with these names. `None`: there are no namespaces.
fn with_names(hosts: &str, script: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    std::fs::write(folder.path().join("hosts"), hosts).expect("the folder can be written to");
    let script = format!("{SETUP}{script}").replace("ET ", &format!("{PROGRAM} "));
    let mut command = Command::new("timeout");
    command.args([SCRIPT_TIMEOUT_S, "unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child", "bash", "-c", &script]).current_dir(folder.path());
    let output: Output = command.output().expect("coreutils are installed");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    if said.starts_with("unshare:") || output.status.code() == Some(NOT_HERE) {
        let is_required = std::env::var_os("ECHO_TESTER_REQUIRE_NAMESPACES").is_some_and(|value| value == "1");
        assert!(!is_required, "there are no namespaces here: {said}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: no namespaces here: {said}");
        return None;
    }
    Some(said)
}

/// A name with 50 addresses of the loopback network.
fn fifty() -> String {
    (1..=50).map(|host| format!("127.0.0.{host} many\n")).collect()
}

#[test]
fn each_of_fifty_addresses_gets_its_connections() {
    let all = "serve 0.0.0.0:7001\nET blast many:7001 --conns 100 --messages 3 --quiet --json\necho \"exit $?\"\n";
    let Some(said) = with_names(&fifty(), all) else { return };
    assert!(said.contains("exit 0\n"), "{said}");
    for host in 1..=50 {
        assert!(said.contains(&format!("\"127.0.0.{host}:7001\"")), "127.0.0.{host}: {said}");
    }
    // Only one of the addresses has a server: two of the connections go there.
    let one = "serve 127.0.0.7:7001\nET blast many:7001 --conns 100 --messages 3 --quiet --json\necho \"exit $?\"\n";
    let Some(said) = with_names(&fifty(), one) else { return };
    assert!(said.contains("exit 1\n") && said.contains("\"connect-failed\": 98"), "{said}");
}

#[test]
fn a_name_without_an_address_is_told_with_what_to_do() {
    for command in ["blast nobody:7001", "check nobody:7001", "compare --target a=nobody:7001"] {
        let Some(said) = with_names("127.0.0.1 localhost\n", &format!("ET {command}\necho \"exit $?\"\n")) else {
            return;
        };
        let is_told =
            said.contains("cannot resolve nobody:7001") && said.contains("check the name, or give the address");
        assert!(is_told && said.contains("exit 4\n"), "{command}: {said}");
    }
}

#[test]
fn a_name_that_gets_its_address_while_it_is_waited_for_is_found() {
    // The name is missing, then it has an address without a server, and then that of the server.
    let script = "serve 127.0.0.9:7001
ET blast late:7001 --wait 60s --conns 2 --messages 3 2>said &
until grep -q 'waiting for' said; do sleep 0.05; done
echo '127.0.0.8 late' >>hosts
until ET blast late:7001 --conns 1 2>&1 | grep -q '127.0.0.8'; do sleep 0.05; done
sed 's/127.0.0.8/127.0.0.9/' hosts >new && cat new >hosts
wait $!
echo \"exit $?\"
cat said
";
    let Some(said) = with_names("127.0.0.1 localhost\n", script) else { return };
    assert!(said.contains("exit 0\n") && said.contains("waiting for late:7001"), "{said}");
}

#[test]
fn a_name_that_changes_in_mid_run_keeps_its_connections_where_they_began() {
    // In /proc/net/tcp, a connection to port 7001 that is established.
    let script = "serve 127.0.0.1:7001
ET blast moving:7001 --conns 4 --lifetime 1..5 --reconnect forever --duration 2s --quiet --json >report &
until grep -q ':1B59 01 ' /proc/net/tcp; do sleep 0.05; done
echo '127.0.0.2 moving' >hosts
wait $!
echo \"exit $?\"
cat report
ET blast moving:7001 --conns 1
echo \"then $?\"
";
    let Some(said) = with_names("127.0.0.1 moving\n", script) else { return };
    assert!(said.contains("exit 0\n") && said.contains("\"127.0.0.1:7001\""), "{said}");
    assert!(said.contains("then 4\n"), "the next run asks again, and nobody is there: {said}");
}

/// A name server that answers each question after some seconds (`inf`: never), with an address or with an error, and
/// prints a line when it is ready and one for each question.
const NAME_SERVER: &str = r#"
import socket, sys, threading
delay, works = float(sys.argv[1]), sys.argv[2] == "right"
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    question, asker = server.recvfrom(512)
    print("asked", flush=True)
    end = question.index(0, 12)
    has_address = works and question[end + 1 : end + 3] == bytes([0, 1])
    flags = bytes([0x81, 0x80 if works else 0x82])
    address = bytes([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]) if has_address else b""
    counts = bytes([0, 1, 0, len(address) // 16, 0, 0, 0, 0])
    answer = question[:2] + flags + counts + question[12 : end + 5] + address
    if delay < 60:
        threading.Timer(delay, server.sendto, (answer, asker)).start()
"#;

/// Runs a script whose names come from such a name server. `None`: it can't run here.
fn with_name_server(delay: &str, kind: &str, script: &str) -> Option<String> {
    let setup = format!(
        "echo 'hosts: dns' >nsswitch
echo 'nameserver 127.0.0.1' >resolver && mount --bind resolver /etc/resolv.conf || exit 77
cat >server.py <<'EOF'{NAME_SERVER}EOF
exec {{questions}}< <(exec python3 server.py {delay} {kind})
read -r -u $questions ready || exit 77
"
    );
    with_names("", &format!("{setup}{script}"))
}

#[test]
fn a_name_server_may_be_slow_and_one_that_fails_is_told_with_what_to_do() {
    let blast = "serve 127.0.0.1:7001\nET blast asked.test:7001 --conns 2 --messages 3\necho \"exit $?\"\n";
    let Some(said) = with_name_server("2", "right", blast) else { return };
    assert!(said.contains("exit 0\n") && said.contains("verdict: pass"), "{said}");
    let Some(said) = with_name_server("0", "wrong", blast) else { return };
    assert!(said.contains("exit 4\n") && said.contains("cannot resolve asked.test:7001"), "{said}");
    assert!(said.contains("check the name, or give the address"), "{said}");
}

#[test]
fn ctrl_c_ends_a_program_whose_name_server_is_silent() {
    // With job control a background job heeds SIGINT.
    let script = "set -m
ET blast asked.test:7001 &
read -r -u $questions asked
kill -INT $!
wait $!
echo \"exit $?\"
";
    let Some(said) = with_name_server("inf", "right", script) else { return };
    assert!(said.contains("exit 130\n") && said.contains("interrupted while asked.test:7001 was looked up"), "{said}");
}
