//! Servers that a scenario starts by a command: how they learn their port, and how they are awaited, watched and
//! stopped. The servers are this program itself, or shell scripts around it that go wrong on purpose.

mod command_line;

use command_line::said;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");
/// A load of two connections.
const LOAD: &str = "[[load]]\nconns = 2\nmessages = 3\n";

/// A folder with a scenario file.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    /// A scenario with this `[server]` table and these loads.
    fn new(server: &str, load: &str) -> Case {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let text = format!("name = 'commanded'\n[server]\n{server}\n{load}");
        std::fs::write(folder.path().join("case.toml"), text).expect("the file is writable");
        Case { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("the path is UTF-8").to_owned()
    }

    fn run(&self, flags: &[&str]) -> (i32, String, String) {
        said(&[&["run", &self.path("case.toml"), "-q"], flags].concat())
    }

    /// Runs the scenario; returns the exit code and the only case of the JSON report.
    fn report(&self) -> (i32, Value) {
        let (code, out, err) = self.run(&["--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        (code, report["cases"][0].clone())
    }
}

fn reasons(case: &Value) -> String {
    case["reasons"].to_string()
}

#[test]
fn a_users_own_server_is_started_on_a_free_port_and_its_output_is_kept() {
    let (code, case) = Case::new(&format!("command = ['{PROGRAM}', 'serve', '--bind', '{{addr}}']"), LOAD).report();
    assert_eq!((code, &case["outcome"]), (0, &"pass".into()), "{}", reasons(&case));
    let output = case["server_output"].to_string();
    let target = case["run"]["targets"][0].as_str().expect("the address is a string");
    assert!(output.contains(&format!("listening on {target}")), "{output}");
    assert_eq!(case["run"]["server"], Value::Null, "only a bundled server reports counters");
    assert_eq!(
        case["checks"].as_array().and_then(|checks| checks.last()),
        Some(&serde_json::json!({
            "name": "server", "expected": "running to the end", "actual": "running to the end", "outcome": "pass",
        }))
    );
}

#[test]
fn environment_variables_can_pass_the_address_to_the_server() {
    let server = format!("command = ['{PROGRAM}', 'serve']\nenv = {{ ECHO_TESTER_SERVE_BIND = '{{host}}:{{port}}' }}");
    let (code, case) = Case::new(&server, LOAD).report();
    assert_eq!(code, 0, "{}", reasons(&case));
}

#[test]
fn the_whole_suite_runs_against_a_command() {
    let suite = format!("command = ['{PROGRAM}', 'serve', '--quiet', '--bind', '{{addr}}']");
    let text = format!("name = 'mine'\nsuite = 'conformance'\n[server]\n{suite}\n");
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let file = folder.path().join("suite.toml");
    std::fs::write(&file, text).expect("the file is writable");
    let (code, out, err) =
        said(&["run", file.to_str().expect("the path is UTF-8"), "-q", "--filter", "1.", "--jobs", "3"]);
    assert!(code == 0 && out.contains("6 passed, 1 skipped"), "{out}{err}");
}

#[test]
fn a_server_that_ends_before_it_is_ready_is_exit_4_with_its_status_and_output() {
    let server = format!("command = ['{PROGRAM}', 'serve', '--bind', '{{addr}}', '--workers', '0']");
    let (code, case) = Case::new(&server, LOAD).report();
    assert_eq!((code, &case["outcome"]), (4, &"inconclusive".into()));
    let reasons = reasons(&case);
    for part in ["ended before it took connections on 127.0.0.1:", ": 2)", "it said:", "must be at least 1"] {
        assert!(reasons.contains(part), "{reasons}");
    }
    assert!(case["server_output"].to_string().contains("must be at least 1"));
}

#[test]
fn a_server_that_never_accepts_is_exit_4_with_the_last_connect_error() {
    // It listens, but on another port.
    let server = format!(
        "command = ['{PROGRAM}', 'serve', '--bind', '127.0.0.1:0', '--max-conns', '{{port}}']\nready_timeout = '300ms'"
    );
    let (code, case) = Case::new(&server, LOAD).report();
    let reasons = reasons(&case);
    assert_eq!(code, 4);
    for part in ["took no connection on 127.0.0.1:", "within 300ms (until then: ", "refused", "longer ready_timeout"] {
        assert!(reasons.contains(part), "{reasons}");
    }
}

#[test]
fn a_program_that_does_not_exist_is_exit_4() {
    let (code, out, _) = Case::new("command = ['./no-such-server', '{addr}']", LOAD).run(&[]);
    assert!(code == 4 && out.contains("starting './no-such-server'") && out.contains("check the program"), "{out}");
}

#[test]
fn a_command_that_never_mentions_its_address_is_exit_2() {
    let (code, _, err) = Case::new("command = ['./server', '9000']", LOAD).run(&[]);
    assert!(
        code == 2
            && err.contains("error: it does not say where to listen: write {addr}")
            && err.contains("case.toml:3:11"),
        "{err}"
    );
}

#[test]
fn a_target_on_the_command_line_overrides_the_command() {
    let case = Case::new("command = ['./no-such-server', '{addr}']", LOAD);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port exists")
        .to_string();
    let (code, out, _) = case.run(&["--target", &free]);
    assert!(code == 4 && out.contains("nothing listens on"), "{out}");
}

/// A server that crashes on purpose: this test program, started again to run the ignored test `server`.
mod crashing {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// The variable with the address of the server.
    const ADDRESS: &str = "CRASHING_SERVER_ADDRESS";
    /// The variable that says whether the server aborts, or only stops accepting.
    const ABORTS: &str = "CRASHING_SERVER_ABORTS";

    /// Echoes until the connection ends; returns whether anything was echoed.
    fn echo(mut stream: TcpStream) -> bool {
        let (mut buffer, mut total) = ([0; 4096], 0);
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).expect("the client reads");
            total += n;
        }
        total > 0
    }

    /// Serves one connection after the other, until the first one that has sent something ends.
    #[test]
    #[ignore = "it is a server that other tests start"]
    fn server() {
        let Ok(address) = std::env::var(ADDRESS) else { return };
        let listener = TcpListener::bind(address).expect("the port is free");
        let is_last = |stream: std::io::Result<TcpStream>| echo(stream.expect("a client connects"));
        assert!(listener.incoming().any(is_last));
        // sleep: the crash must come after the run's last close, so that a check at that moment would miss it.
        std::thread::sleep(Duration::from_millis(5));
        if std::env::var(ABORTS).is_ok_and(|aborts| aborts == "yes") {
            std::process::abort();
        }
        drop(listener);
        loop {
            std::thread::park();
        }
    }

    /// Runs a case against it in which every byte is right; returns the reasons for its failure.
    fn reasons_of_case(aborts: &str) -> String {
        let program = std::env::current_exe().expect("the test's own path is known").display().to_string();
        let server = format!(
            "command = ['{program}', '--exact', 'crashing::server', '--ignored', '--nocapture']\n\
             env = {{ {ADDRESS} = '{{addr}}', {ABORTS} = '{aborts}' }}\nready = 'connect'"
        );
        let load = "[[load]]\nconns = 1\nmessages = 3\nconnect_timeout = '400ms'\nstall_timeout = '400ms'\n";
        let (code, case) = Case::new(&server, load).report();
        assert_eq!((code, &case["outcome"]), (1, &"fail".into()), "{}", reasons(&case));
        assert_eq!(case["run"]["verdict"]["outcome"], "pass");
        reasons(&case)
    }

    #[test]
    fn a_server_that_dies_after_the_last_close_fails_the_case() {
        let reasons = reasons_of_case("yes");
        for part in ["server: expected running to the end, got exited during the run", "it said: ", "running 1 test"] {
            assert!(reasons.contains(part), "{reasons}");
        }
    }

    #[test]
    fn a_server_that_stops_accepting_after_the_last_close_fails_the_case() {
        let reasons = reasons_of_case("no");
        let part = "server: expected running to the end, got taking no connection (";
        assert!(reasons.contains(part) && reasons.contains("for 400ms"), "{reasons}");
    }
}

/// Scripts for /bin/sh, which get the address as $1. The shell's own $$ must be written $$$$ in a scenario.
#[cfg(unix)]
mod scripts {
    use super::*;

    fn script(text: &str, more: &str) -> String {
        let serve = format!("'{PROGRAM}' serve --quiet --bind \"$1\"");
        let text = text.replace("SERVE", &serve);
        format!("command = ['sh', '-c', \"\"\"{}\"\"\", 'sh', '{{addr}}']\n{more}", text.replace('"', "\\\""))
    }

    #[test]
    fn a_server_whose_port_was_taken_is_started_again_on_another_port() {
        let case = Case::new("", LOAD);
        let flag = case.path("flag");
        let text =
            format!("[ -e '{flag}' ] && exec SERVE; touch '{flag}'; echo 'bind: Address already in use' >&2; exit 1");
        let (code, case) = Case::new(&script(&text, ""), LOAD).report();
        assert_eq!(code, 0, "{}", reasons(&case));
        let (code, case) = Case::new(&script("echo 'bind: Address already in use'; exit 1", ""), LOAD).report();
        assert!(code == 4 && reasons(&case).contains("3 times, each on another free port"), "{}", reasons(&case));
    }

    #[test]
    fn every_server_gets_the_descriptor_limit_that_the_program_was_started_with() {
        let case = Case::new(&script("echo \"limit $(ulimit -Sn)\"; exec SERVE", ""), LOAD);
        let text = std::fs::read_to_string(case.path("case.toml")).expect("the file exists");
        std::fs::write(case.path("other.toml"), text.replace("commanded", "other")).expect("the file is writable");
        let (first, other) = (case.path("case.toml"), case.path("other.toml"));
        let run = format!("ulimit -Sn 300; exec '{PROGRAM}' run '{first}' '{other}' -q --json");
        let output = std::process::Command::new("sh").args(["-c", &run]).output().expect("the program starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("the text is JSON");
        // By the second case the program has raised its own limit.
        for case in [0, 1] {
            assert_eq!(report["cases"][case]["server_output"][0], "limit 300");
        }
    }

    #[test]
    fn a_server_that_dies_during_the_run_fails_the_case_with_the_signal() {
        let load = "[[load]]\nconns = 2\nduration = '30s'\nfail_fast = true\n";
        let case = Case::new(&script("(sleep 1; kill -9 $$$$) & exec SERVE", ""), load);
        let (code, case) = case.report();
        assert_eq!((code, &case["outcome"]), (1, &"fail".into()));
        let reasons = reasons(&case);
        assert!(reasons.contains("exited during the run (signal: 9 (SIGKILL); "), "{reasons}");
    }

    #[test]
    fn a_server_that_crashes_when_it_is_told_to_end_fails_the_case() {
        for (end, how) in [
            ("kill -SEGV $$$$", Some("crashed while stopping (signal: 11 (SIGSEGV)")),
            // A shell turns the SIGABRT of its child into this exit status.
            ("exit 134", Some("crashed while stopping (exit status: 134)")),
            ("exit 143", None),
            ("trap - TERM; kill -TERM $$$$", None),
        ] {
            let text = format!("trap 'echo ouch; {end}' TERM; SERVE & wait");
            let (code, case) = Case::new(&script(&text, ""), LOAD).report();
            let reasons = reasons(&case);
            assert_eq!((code, &case["run"]["verdict"]["outcome"]), (i32::from(how.is_some()), &"pass".into()), "{end}");
            let said = how.map(|how| reasons.contains(how) && reasons.contains("it said: ouch"));
            assert_ne!(said, Some(false), "{end}: {reasons}");
        }
    }

    #[test]
    fn the_output_of_a_server_that_died_is_shown() {
        let load = "[[load]]\nconns = 2\nduration = '30s'\nfail_fast = true\n";
        let text = "echo ' ::error::1'; (sleep 1; printf 'panicked \\\\033[31m\\n' >&2; kill -9 $$$$) & exec SERVE";
        let (code, out, _) = Case::new(&script(text, ""), load).run(&[]);
        assert_eq!(code, 1);
        assert!(out.contains("\n    the server said:\n    |  ::error::1\n    | panicked \\u{1b}[31m\n"), "{out}");
    }

    #[test]
    fn the_output_of_a_server_that_did_not_start_is_no_github_command() {
        let case = Case::new(&script("echo '::error::2'; exit 3", ""), LOAD);
        let junit = case.path("j.xml");
        let (code, out, _) = case.run(&["--junit", &junit]);
        assert!(code == 4 && out.contains("\n    | ::error::2\n"), "{out}");
        let junit = std::fs::read_to_string(junit).expect("the file exists");
        let messages = junit.matches("<error message=\"&apos;sh&apos; ended before it took connections on ").count();
        assert_eq!(messages, 2, "{junit}");
    }

    #[test]
    fn of_a_long_output_both_ends_are_kept_and_the_server_never_blocks() {
        let text = "i=0; while [ $i -lt 5000 ]; do echo \"line $i\"; i=$((i+1)); done; exec SERVE";
        let (code, case) = Case::new(&script(text, ""), LOAD).report();
        let output = case["server_output"].as_array().expect("the output is a list of lines");
        assert_eq!((code, output.len()), (0, 201), "{}", reasons(&case));
        assert_eq!((&output[0], &output[200]), (&"line 0".into(), &"line 4999".into()));
        assert_eq!(output[100], "(echo-tester: 4800 lines are left out here; --server-log keeps them)");
    }
}

/// Processes that a server started. Linux only: its /proc tells a running process from a zombie.
#[cfg(target_os = "linux")]
mod processes {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::command_line::program;
    use super::*;

    /// The longest time that a test waits for an event.
    const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

    /// A server with a child that runs for an hour and ignores SIGTERM. The child's id is written to the file.
    fn stubborn(file: &str, stop_timeout: &str) -> String {
        format!(
            "command = ['sh', '-c', \"trap '' TERM; sleep 3600 & echo $! > '{file}.new'; mv '{file}.new' '{file}'; \
             exec '{PROGRAM}' serve --quiet --bind $1\", 'sh', '{{addr}}']\nstop_timeout = '{stop_timeout}'"
        )
    }

    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    }

    /// Polls until `poll` returns something.
    fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + EVENT_TIMEOUT;
        loop {
            if let Some(found) = poll() {
                return found;
            }
            assert!(Instant::now() < until, "{what} did not come");
            // sleep: another process is watched, and it sends no notification.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn pid_in(file: &str) -> String {
        let read = || std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
        wait_for("the id of the server's child", read)
    }

    fn wait_for_end_of(pid: &str) {
        wait_for("the end of the server's child", || (!is_alive(pid)).then_some(()));
    }

    #[test]
    fn a_case_that_passed_or_failed_leaves_no_process_behind() {
        for (load, expected) in [(LOAD, 0), ("[[load]]\nconns = 1\nmessages = 1\n[expect]\nverdict = 'fail'", 1)] {
            let files = tempfile::tempdir().expect("a temporary folder is created");
            let file = files.path().join("pid").to_str().expect("the path is UTF-8").to_owned();
            let (code, out, err) = Case::new(&stubborn(&file, "5s"), load).run(&[]);
            assert_eq!(code, expected, "{out}{err}");
            assert!(Path::new(&file).exists());
            wait_for_end_of(&pid_in(&file));
        }
    }

    #[test]
    fn a_server_that_does_not_end_when_told_to_is_killed_with_a_remark() {
        let command = format!("\"trap '' TERM; '{PROGRAM}' serve --quiet --bind $1 & while :; do sleep 3600; done\"");
        let server = format!("command = ['sh', '-c', {command}, 'sh', '{{addr}}']\nstop_timeout = '300ms'");
        let (code, case) = Case::new(&server, LOAD).report();
        assert_eq!(code, 0, "{}", reasons(&case));
        let output = case["server_output"].to_string();
        assert!(output.contains("it did not end within 300ms when told to, and was killed"), "{output}");
    }

    /// Interrupts a run of an hour this many times; returns its exit code.
    fn interrupted(times: usize, stop_timeout: &str) -> Option<i32> {
        let files = tempfile::tempdir().expect("a temporary folder is created");
        let file = files.path().join("pid").to_str().expect("the path is UTF-8").to_owned();
        let case = Case::new(&stubborn(&file, stop_timeout), "[[load]]\nconns = 1\nduration = '1h'\n");
        let mut run = program(&["run", &case.path("case.toml"), "-q"]).spawn().expect("the program starts");
        let server = pid_in(&file);
        let mut sent = 0;
        let status = wait_for("the end of the run", || {
            if sent < times {
                interrupt(&run);
                sent += 1;
            }
            // sleep: two signals in quick succession could be delivered as one.
            std::thread::sleep(Duration::from_millis(200));
            run.try_wait().expect("the process can be waited for")
        });
        wait_for_end_of(&server);
        status.code()
    }

    fn interrupt(run: &std::process::Child) {
        let kill = std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status();
        assert!(kill.expect("kill is installed").success());
    }

    /// Interrupts a run of three scenarios after the load of the first, while its server takes seconds to stop. The
    /// other two scenarios have the loads `others`. Returns the exit code, stdout, and the folder with r.json and
    /// j.xml.
    fn interrupted_while_a_server_stops(others: &str, jobs: &str) -> (Option<i32>, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let path = |name: &str| folder.path().join(name).to_str().expect("the path is UTF-8").to_owned();
        let stopping = path("stopping");
        let command = format!(
            "\"trap 'touch {stopping}' TERM; '{PROGRAM}' serve --quiet --bind $1 & while :; do sleep 0.1; done\""
        );
        let server = format!("command = ['sh', '-c', {command}, 'sh', '{{addr}}']\nstop_timeout = '3s'");
        let other = "[server]\nmodel = 'auto'\n";
        for (name, text) in [
            ("a", format!("name = 'a'\n[server]\n{server}\n{LOAD}")),
            ("b", format!("name = 'b'\n{other}{others}")),
            ("c", format!("name = 'c'\n{other}{others}")),
        ] {
            std::fs::write(path(&format!("{name}.toml")), text).expect("the file is writable");
        }
        let (json, junit) = (format!("--json={}", path("r.json")), path("j.xml"));
        let args = ["run", &path("."), "-q", "--jobs", jobs, &json, "--junit", &junit];
        let run = program(&args).stdout(std::process::Stdio::piped()).spawn().expect("the program starts");
        wait_for("the end of the load", || Path::new(&stopping).exists().then_some(()));
        interrupt(&run);
        let output = run.wait_with_output().expect("the process can be waited for");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), folder)
    }

    fn outcomes(folder: &tempfile::TempDir) -> (Value, Vec<Value>) {
        let text = std::fs::read_to_string(folder.path().join("r.json")).expect("the file exists");
        let report: Value = serde_json::from_str(&text).expect("the text is JSON");
        let cases = report["cases"].as_array().expect("the report has a list of cases").iter();
        (report["state"].clone(), cases.map(|case| case["outcome"].clone()).collect())
    }

    #[test]
    fn ctrl_c_after_the_load_of_a_case_is_exit_130_and_lists_the_cases_not_run() {
        let (code, out, folder) = interrupted_while_a_server_stops(LOAD, "1");
        assert_eq!(code, Some(130), "{out}");
        assert!(out.contains("3 cases: 1 passed, 2 not run (interrupted)"), "{out}");
        assert_eq!(outcomes(&folder), ("interrupted".into(), vec!["pass".into(), "not-run".into(), "not-run".into()]));
        let junit = std::fs::read_to_string(folder.path().join("j.xml")).expect("the file exists");
        assert!(junit.contains("tests=\"6\" skipped=\"0\" failures=\"0\" errors=\"4\""), "{junit}");
        assert!(junit.contains("message=\"interrupted before it started\""), "{junit}");
    }

    #[test]
    fn after_ctrl_c_no_further_case_begins_in_any_job() {
        let endless = "[[load]]\nconns = 1\nduration = '1h'\n";
        let (code, out, folder) = interrupted_while_a_server_stops(endless, "2");
        assert_eq!(code, Some(130), "{out}");
        let came = vec!["pass".into(), "interrupted".into(), "not-run".into()];
        assert_eq!(outcomes(&folder), ("interrupted".into(), came), "{out}");
    }

    #[test]
    fn ctrl_c_leaves_no_process_behind() {
        assert_eq!(interrupted(1, "5s"), Some(130));
    }

    #[test]
    fn a_second_ctrl_c_ends_at_once_and_leaves_no_process_behind() {
        assert_eq!(interrupted(2, "1h"), Some(130));
    }

    /// Whether a process runs. One that has ended and that nobody has waited for does not.
    #[cfg(target_os = "linux")]
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processes_in_sessions_of_their_own_are_stopped_with_the_server() {
        let daemon = |name: &str, at_term: &str| {
            format!(
                "setsid sh -c 'trap \"{at_term}\" TERM; echo $$ > {name}.new; mv {name}.new {name}; while :; do sleep 0.01; done' &"
            )
        };
        let script = format!(
            "cd \"$2\"\n{}\n{}\nuntil test -e polite && test -e stubborn; do sleep 0.01; done\nexec {PROGRAM} serve --bind $1\n",
            daemon("polite", "echo > asked; exit"),
            daemon("stubborn", "")
        );
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("server.sh"), script).expect("the folder can be written to");
        let command = format!("command = ['sh', '{}', '{{addr}}', '{}']", path("server.sh"), path(""));
        let case = Case::new(&format!("{command}\nstop_timeout = '1s'\n"), LOAD);
        let (code, report) = case.report();
        assert_eq!(code, 0, "{}", reasons(&report));
        let read = |name: &str| std::fs::read_to_string(path(name)).expect("it was started");
        for name in ["polite", "stubborn"] {
            assert!(!runs(read(name).trim()), "{name} runs on");
        }
        assert!(std::path::Path::new(&path("asked")).exists(), "it was killed before it was asked to end");
    }
}
