//! Scenarios with several processes: how they start, one after another, what is watched, and how they stop. The
//! processes are bundled servers, and this test program, started again to run one of its ignored tests.

mod command_line;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use command_line::said;
use serde_json::Value;

/// The variable with the address of a process.
const ADDRESS: &str = "PROCESSES_TEST_ADDRESS";
/// The variable with the address behind a proxy, or with what a backend does.
const BEHIND: &str = "PROCESSES_TEST_BEHIND";

/// A load of ten connections.
const LOAD: &str = "[[load]]\nconns = 10\nmessages = 3\nstall_timeout = '5s'\n";
/// A backend that comes with the program.
const BACKEND: &str = "[[process]]\nname = 'backend'\nmodel = 'auto'\n";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A proxy that listens at once. It ends each connection for which its backend is not there.
#[test]
#[ignore = "it is a process that other tests start"]
fn proxy() {
    let (Some(address), Some(backend)) = (variable(ADDRESS), variable(BEHIND)) else { return };
    println!("\nproxy before {backend}");
    for client in TcpListener::bind(address).expect("the port is free").incoming() {
        let Ok(client) = client else { continue };
        let Ok(behind) = TcpStream::connect(&backend) else { continue };
        let (to, from) = (client.try_clone(), behind.try_clone());
        let (Ok(to), Ok(from)) = (to, from) else { continue };
        thread::spawn(move || forward(client, behind));
        thread::spawn(move || forward(from, to));
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    // An error ends both ways: the other thread sees it too.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// An echo server: a late one, one that ends after a while, one that keeps a descriptor of every connection.
#[test]
#[ignore = "it is a process that other tests start"]
fn backend() {
    let (Some(address), Some(what)) = (variable(ADDRESS), variable(BEHIND)) else { return };
    println!("\nstarting");
    if what == "late" {
        // sleep: the backend comes one second after the proxy
        thread::sleep(Duration::from_secs(1));
    }
    let listener = TcpListener::bind(address).expect("the port is free");
    println!("serving");
    for (n, stream) in listener.incoming().enumerate() {
        let mut stream = stream.expect("a client connects");
        if what == "ends" && n == 5 {
            println!("I can't go on");
            std::process::exit(7);
        }
        if what == "leaks" {
            std::mem::forget(stream.try_clone().expect("the limit of descriptors is not reached"));
        }
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            // The copy of one that leaks holds the connection open otherwise.
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// The keys of a process that runs an ignored test of this program.
fn this_program(test: &str, behind: &str) -> String {
    let program = std::env::current_exe().expect("the test's own path is known").display().to_string();
    format!(
        "command = ['{program}', '--exact', '{test}', '--ignored', '--nocapture']\n\
         env = {{ {ADDRESS} = '{{addr}}', {BEHIND} = '{behind}' }}\n"
    )
}

/// The keys of a proxy before the process `backend`.
fn proxy_server() -> String {
    format!("[server]\n{}", this_program("proxy", "{backend}"))
}

/// Runs a case with these processes and this server. Returns the exit code and the only case of the report.
fn case(text: &str, flags: &[&str]) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let file = folder.path().join("case.toml").to_str().expect("the path is UTF-8").to_owned();
    std::fs::write(&file, format!("name = 'several'\n{text}")).expect("the file is writable");
    let (code, out, err) = said(&[&["run", &file, "--quiet", "--json"], flags].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, report["cases"][0].clone())
}

fn output(case: &Value) -> Vec<&str> {
    let lines = case["server_output"].as_array().expect("the output is a list");
    lines.iter().map(|line| line.as_str().expect("a line is text")).collect()
}

#[test]
fn a_proxy_and_its_backend_start_from_one_file_and_speak_under_their_names() {
    let keys = "[[process]]\nname = 'first'\ncommand = ['PROGRAM', '--version']\nready = 'exit'\n"
        .replace("PROGRAM", env!("CARGO_BIN_EXE_echo-tester"));
    let (code, case) = case(&format!("{keys}{BACKEND}{}{LOAD}", proxy_server()), &[]);
    assert_eq!((code, &case["outcome"]), (0, &"pass".into()), "{case}");
    let output = output(&case);
    assert!(output.iter().any(|line| line.starts_with("first: echo-tester ")), "{output:?}");
    assert!(output.iter().any(|line| line.starts_with("server: proxy before 127.0.0.1:")), "{output:?}");
}

#[test]
fn a_proxy_that_is_up_before_its_backend_is_awaited_through_an_echo() {
    let late = this_program("backend", "late");
    let backend = format!("[[process]]\nname = 'backend'\n{late}ready = {{ output = 'starting' }}\n");
    let (code, by_echo) = case(&format!("{backend}{}{LOAD}", proxy_server()), &[]);
    assert_eq!((code, &by_echo["outcome"]), (0, &"pass".into()), "{by_echo}");
    let (code, by_connect) = case(&format!("{backend}{}ready = 'connect'\n{LOAD}", proxy_server()), &[]);
    let found = &by_connect["run"]["total"]["findings"];
    assert_eq!((code, &by_connect["outcome"]), (1, &"fail".into()), "{by_connect}");
    let cut = found["truncated"].as_u64().unwrap_or_default() + found["reset"].as_u64().unwrap_or_default();
    assert_eq!(cut, 10, "{found}");
}

#[test]
fn a_process_that_ends_during_the_run_is_named_with_its_status_and_its_last_words() {
    let backend = format!("[[process]]\nname = 'backend'\n{}", this_program("backend", "ends"));
    let (code, case) = case(&format!("{backend}{}{LOAD}", proxy_server()), &[]);
    let reasons = case["reasons"].to_string();
    assert_eq!(code, 1, "{reasons}");
    for part in ["the process 'backend' exited during the run (exit", ": 7)", "I can't go on"] {
        assert!(reasons.contains(part), "{part} in {reasons}");
    }
}

#[test]
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
fn a_process_that_leaves_descriptors_open_is_named() {
    let backend = format!("[[process]]\nname = 'backend'\n{}", this_program("backend", "leaks"));
    let (code, leaky) = case(&format!("{backend}{}{LOAD}", proxy_server()), &[]);
    let reasons = leaky["reasons"].to_string();
    assert!(code == 1 && reasons.contains("the process 'backend': 1"), "{reasons}");
    assert!(reasons.contains("left open"), "{reasons}");
    let backend = format!("[[process]]\nname = 'backend'\n{}", this_program("backend", "well"));
    let (code, well) = case(&format!("{backend}{}{LOAD}", proxy_server()), &[]);
    assert_eq!(code, 0, "{}", well["reasons"]);
}

#[test]
fn a_process_that_does_not_get_ready_is_named_and_the_others_are_heard() {
    let of = |process: &str| {
        let backend = format!("[[process]]\nname = 'backend'\n{}", this_program("backend", "well"));
        let (code, case) = case(&format!("{backend}[[process]]\nname = 'second'\n{process}\n[server]\n{LOAD}"), &[]);
        assert_eq!((code, &case["outcome"]), (4, &"inconclusive".into()), "{case}");
        assert!(output(&case).contains(&"backend: serving"), "{case}");
        case["reasons"].to_string()
    };
    let program = env!("CARGO_BIN_EXE_echo-tester");
    let failed = of(&format!("command = ['{program}', 'no-such']\nready = 'exit'"));
    assert!(failed.contains("second: '") && failed.contains("' failed (exit"), "{failed}");
    let serve = format!("command = ['{program}', 'serve', '--bind', '{{addr}}']\nready_timeout = '300ms'");
    let silent = of(&format!("{serve}\nready = {{ output = 'no such line' }}"));
    assert!(silent.contains("printed no line with 'no such line' within 300ms"), "{silent}");
    let runs_on = of(&format!("{serve}\nready = 'exit'"));
    assert!(runs_on.contains("did not end within 300ms"), "{runs_on}");
    let ended = of(&format!("command = ['{program}', '--version']\nready = {{ output = 'no such line' }}"));
    assert!(ended.contains("ended before it was ready (exit"), "{ended}");
}

#[test]
fn a_backend_that_is_gone_explains_a_proxy_that_does_not_get_ready() {
    let short = format!(
        "[[process]]\nname = 'backend'\ncommand = ['{}', '--version']\nready = {{ output = 'echo-tester' }}\n",
        env!("CARGO_BIN_EXE_echo-tester")
    );
    let (code, case) = case(&format!("{short}{}ready_timeout = '500ms'\n{LOAD}", proxy_server()), &[]);
    let reasons = case["reasons"].to_string();
    assert!(code == 4 && reasons.contains("backend"), "{reasons}");
}

#[test]
fn without_a_program_the_case_is_skipped_with_how_to_install_it() {
    let text = format!("{BACKEND}[server]\n{LOAD}[programs]\nno-such-proxy = 'apt-get install no-such-proxy'\n");
    let (code, case) = case(&text, &[]);
    assert_eq!((code, &case["outcome"]), (4, &"skipped".into()), "nothing ran: {case}");
    let reasons = case["reasons"].to_string();
    assert!(reasons.contains("no-such-proxy is not installed: apt-get install no-such-proxy"), "{reasons}");
}

#[test]
fn a_target_takes_the_place_of_the_server_and_starts_no_process() {
    let missing = "[[process]]\nname = 'backend'\ncommand = ['./no-such-program', '{addr}']\n";
    let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = server.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let copy = stream.try_clone().expect("a descriptor is free");
            thread::spawn(move || forward(stream, copy));
        }
    });
    let (code, case) =
        case(&format!("{missing}[server]\ncommand = ['x', '{{addr}}']\n{LOAD}"), &["--target", &address]);
    assert_eq!(code, 0, "{case}");
}

#[test]
fn a_proxy_with_both_ends_ours_starts_from_one_file() {
    let two_sides = format!("[backend]\n{}[[load]]\nflow = 'both'\nconns = 10\n", proxy_server());
    let (code, of_load) = case(&two_sides, &[]);
    assert_eq!((code, &of_load["outcome"]), (0, &"pass".into()), "{of_load}");
    assert_eq!(of_load["run"]["total"]["passed"], 10);
    let output = output(&of_load);
    assert!(output.iter().any(|line| line.starts_with("proxy before 127.0.0.1:")), "{output:?}");

    let suite = format!("suite = 'two-sides'\n{}", proxy_server());
    let (code, of_suite) = case(&suite, &["--filter", "11.2 "]);
    assert_eq!((code, &of_suite["outcome"]), (0, &"pass".into()), "{of_suite}");
    assert_eq!(of_suite["id"], "11.2");
}

#[test]
fn a_backend_at_a_free_port_is_refused_for_a_target_that_can_t_know_it() {
    let (code, case) = case("[backend]\n[[load]]\n", &["--target", "127.0.0.1:9"]);
    let reasons = case["reasons"].to_string();
    assert!(code == 4 && reasons.contains("add --backend LISTEN"), "{code}: {reasons}");
}

/// Shell scripts write down when they start and stop.
#[cfg(unix)]
mod order {
    use super::*;

    /// A process that writes its start, its files and its end to `log`.
    fn writer(name: &str, log: &str) -> String {
        let script = format!(
            "trap \"echo stop {name} >> {log}; exit\" TERM; echo start {name} >> {log}; cat {{dir}}/{name}.cfg >> {log}; echo up; while :; do sleep 0.01; done"
        );
        format!(
            "[[process]]\nname = '{name}'\ncommand = ['sh', '-c', '''{script}''']\nready = {{ output = 'up' }}\n\
             files = {{ '{name}.cfg' = \"\"\"{name} {{dir}}\n\"\"\" }}\n"
        )
    }

    #[test]
    fn processes_start_in_the_order_of_the_file_and_stop_in_the_reverse() {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let log = folder.path().join("log").display().to_string();
        let (code, case) =
            case(&format!("{}{}{BACKEND}{}{LOAD}", writer("a", &log), writer("b", &log), proxy_server()), &[]);
        assert_eq!(code, 0, "{case}");
        let text = std::fs::read_to_string(&log).expect("they have written");
        let lines: Vec<&str> = text.lines().collect();
        let [start_a, a, start_b, b, stops @ ..] = &lines[..] else { panic!("{text}") };
        assert_eq!([*start_a, *start_b], ["start a", "start b"]);
        assert_eq!(stops, ["stop b", "stop a"]);
        let of_a = a.strip_prefix("a ").expect("the placeholder is filled in");
        assert_eq!(b.strip_prefix("b "), Some(of_a), "all share one folder");
        assert!(!std::path::Path::new(of_a).exists(), "the folder is removed");
    }
}
