//! What the client makes of its own time: a client that stood still accuses nobody, a duration is a bound, and a socket
//! that TCP has connected to itself is no server.

#![cfg(unix)]

mod program;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use program::{Serving, finish, program, said, text};
use serde_json::Value;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client is stopped: more than the stall time-outs below.
const STOPPED: Duration = Duration::from_millis(2500);

/// A server that treats each connection like this, on a thread of its own. Sends a message when the first bytes come.
fn server(behave: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let (sender, began) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("the listener accepts");
            let (behave, sender) = (behave.clone(), sender.clone());
            std::thread::spawn(move || {
                let _ = stream.peek(&mut [0]);
                // Most tests wait for the first message only.
                let _ = sender.send(());
                // The client may be gone.
                let _ = behave(stream);
            });
        }
    });
    (address, began)
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n])?;
    }
}

/// Echoes one byte in each of these times, for as long as somebody reads.
fn trickle(pause: Duration) -> impl Fn(TcpStream) -> std::io::Result<()> + Clone {
    move |mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
            // sleep: the server is to be slow
            std::thread::sleep(pause);
        }
        Ok(())
    }
}

/// Runs the program, and stops it (SIGSTOP) for a while once it has sent something. Returns exit code and output.
fn stopped_in_between(args: &[&str], began: &Receiver<()>) -> (i32, String, String) {
    let child = program(args).spawn().expect("the program starts");
    began.recv_timeout(PATIENCE).expect("the client sends something");
    let signal = |name: &str| {
        let status = Command::new("kill").args([name, &child.id().to_string()]).status();
        assert!(status.expect("kill can be run").success());
    };
    signal("-STOP");
    // sleep: the client is to stand still for this long
    std::thread::sleep(STOPPED);
    signal("-CONT");
    let output = finish(child, args);
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_client_that_was_stopped_finds_no_stall_and_says_how_long_it_stood_still() {
    let (address, began) = server(echo);
    let args = ["blast", &address.to_string(), "-c", "20", "-d", "4s", "--stall-timeout", "1s", "-q", "--json"];
    let (code, out, err) = stopped_in_between(&args, &began);
    let report = json(&out);
    assert_eq!((code, &report["total"]["findings"]), (0, &Value::Null), "{err}\n{out}");
    assert!(report["client"]["stood_still_s"].as_f64() >= Some(2.0), "{}", report["client"]);
}

#[test]
fn a_stall_of_a_server_is_inconclusive_if_the_client_was_stopped() {
    let (address, began) = server(|mut stream| {
        // It reads, and answers nothing, not even the FIN.
        std::io::copy(&mut stream, &mut std::io::sink())?;
        loop {
            std::thread::park();
        }
    });
    let args = ["blast", &address.to_string(), "-c", "2", "-n", "1", "--stall-timeout", "1s", "-q", "--json"];
    let (code, out, err) = stopped_in_between(&args, &began);
    let report = json(&out);
    assert_eq!((code, report["total"]["findings"]["stalled"].as_u64()), (4, Some(2)), "{err}\n{out}");
    assert!(report["verdict"]["reasons"][0].as_str().is_some_and(|why| why.contains("the client itself stood still")));
}

#[test]
fn a_threshold_on_time_is_inconclusive_if_the_client_was_stopped() {
    let (address, began) = server(echo);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("case.toml");
    let load = "[[load]]\nconns = 5\nduration = '3s'\n[expect]\nthresholds = ['rtt.max < 1s', 'connections == 5']";
    std::fs::write(&file, format!("name = 'stopped'\n{load}\n")).expect("the folder can be written to");
    let file = file.to_str().expect("the path is UTF-8");
    let args = ["run", file, "--target", &address.to_string(), "-q", "--json"];
    let (code, out, err) = stopped_in_between(&args, &began);
    let checks = &json(&out)["cases"][0]["checks"];
    let outcome = |name: &str| {
        let checks = checks.as_array().expect("the case has checks");
        checks.iter().find(|check| check["name"] == name).map(|check| check["outcome"].clone())
    };
    assert_eq!(code, 4, "{err}\n{out}");
    assert_eq!(outcome("rtt.max < 1s"), Some("inconclusive".into()), "{checks}");
    assert_eq!(outcome("connections == 5"), Some("pass".into()), "{checks}");
}

#[test]
fn a_round_of_a_comparison_runs_again_if_the_client_was_stopped() {
    let is_first = Arc::new(AtomicBool::new(true));
    let (address, began) = server(move |mut stream| {
        if !is_first.swap(false, Ordering::SeqCst) {
            return echo(stream);
        }
        std::io::copy(&mut stream, &mut std::io::sink())?;
        loop {
            std::thread::park();
        }
    });
    let address = address.to_string();
    let args = ["compare", "--models", "threads", "--target", &address, "--rounds", "1"];
    let load = ["-c", "1", "-n", "1", "--stall-timeout", "1s"];
    let (code, out, err) = stopped_in_between(&[&args[..], &load].concat(), &began);
    assert!(code == 0 && err.contains("runs again, since the client itself stood still"), "{code} {err}\n{out}");
}

#[test]
fn a_duration_is_a_bound_even_if_bytes_still_come() {
    let (address, _) = server(trickle(Duration::from_millis(100)));
    let args = ["blast", &address.to_string(), "-c", "2", "-d", "300ms", "--grace", "500ms", "-q", "--json"];
    let (code, out, err) = said(&args);
    let report = json(&out);
    assert_eq!((code, report["total"]["findings"]["too-slow"].as_u64()), (1, Some(2)), "{err}\n{out}");
    let ending = &report["loads"][0]["findings"][0]["divergence"]["ending"];
    assert_eq!(ending["by"], "overtime", "{ending}");
}

#[test]
fn a_lifetime_is_a_bound_too() {
    let (address, _) = server(trickle(Duration::from_millis(100)));
    let (code, out, err) =
        said(&["blast", &address.to_string(), "-c", "1", "--lifetime", "300ms", "--grace", "500ms", "-q", "--json"]);
    assert_eq!((code, json(&out)["total"]["findings"]["too-slow"].as_u64()), (1, Some(1)), "{err}\n{out}");
}

#[test]
fn a_client_that_reads_slowly_accuses_nobody_of_its_own_pace() {
    let server = Serving::start(&[]);
    let load = ["-c", "1", "-d", "200ms", "--grace", "200ms", "--size", "64KiB", "--read", "slow:64KiB/s"];
    let (code, out, err) = said(&[&["blast", &server.address, "--pipeline", "1", "-q"][..], &load].concat());
    assert_eq!(code, 0, "{err}\n{out}");
    server.stop();
}

#[test]
fn connections_that_end_at_one_time_end_at_the_pace_asked_for() {
    let server = Serving::start(&[]);
    let load = ["-c", "4", "-n", "1", "--close", "keep", "--ramp-down", "800ms"];
    let (code, out, err) = said(&[&["blast", &server.address, "-q", "--json"][..], &load].concat());
    server.stop();
    let report = json(&out);
    // The last of four connections ends three quarters of the time after the first.
    assert_eq!(code, 0, "{err}\n{out}");
    assert!(report["elapsed_s"].as_f64() >= Some(0.6), "{}", report["elapsed_s"]);
}

/// In a network of its own, with one ephemeral port, every connect to that port meets its own socket.
#[test]
#[cfg(target_os = "linux")]
fn a_socket_that_tcp_connected_to_itself_is_refused() {
    let script = "ip link set lo up && echo '50000 50000' > /proc/sys/net/ipv4/ip_local_port_range && \
                  exec \"$0\" blast 127.0.0.1:50000 -c 2 -n 1 -q";
    let program = env!("CARGO_BIN_EXE_echo-tester");
    let output = Command::new("unshare").args(["-rn", "sh", "-c", script, program]).output();
    let Ok(output) = output else { return eprintln!("skipped: there is no unshare") };
    let err = text(&output.stderr);
    if output.status.code() == Some(1) && err.contains("unshare") {
        return eprintln!("skipped: {err}");
    }
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("TCP connected the socket to itself"), "{err}");
}
