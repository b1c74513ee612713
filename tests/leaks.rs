//! Servers that keep something of each connection, and good ones that look alike: what case 10.3 and the other cases
//! say about them. The servers are this test program itself.
#![cfg(unix)]

mod command_line;

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use command_line::said;
use serde_json::Value;

/// The variable that tells the server where to listen.
const ADDRESS: &str = "LEAK_ADDRESS";
/// The variable that tells the server what to keep of a connection.
const KEPT: &str = "LEAK_KEPT";
/// The most that the pool of a good server keeps.
const POOL: usize = 64;

static SPINNING: AtomicUsize = AtomicUsize::new(0);
static POOLED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
static IDLE: Mutex<Vec<Sender<TcpStream>>> = Mutex::new(Vec::new());

fn a_descriptor() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a socket can be made")
}

/// Keeps of a connection what the server was told to keep.
fn keep(what: &str) {
    match what {
        "descriptor" => std::mem::forget(a_descriptor()),
        "thread" => drop(thread::spawn(|| {
            loop {
                thread::park()
            }
        })),
        // On a busy machine one thread would get less than it wants, and with ten the threads themselves would be told.
        "processor" if SPINNING.fetch_add(1, Ordering::Relaxed) < 6 => drop(thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        })),
        "memory" => drop(std::hint::black_box(vec![1_u8; 10 << 10]).leak()),
        "pool" => {
            let mut pool = POOLED.lock().expect("nobody panics");
            if pool.len() < POOL {
                pool.push(a_descriptor());
            }
        }
        _ => {}
    }
}

fn echo(stream: &TcpStream) {
    // A client that resets its connection is nothing to this server.
    let _ = io::copy(&mut &*stream, &mut &*stream);
}

/// Serves a connection on a thread that was idle, or else on a new one, which is idle afterwards.
fn on_a_pooled_thread(stream: TcpStream) {
    let idle = IDLE.lock().expect("nobody panics").pop();
    let sender = idle.unwrap_or_else(|| {
        let (sender, streams) = channel::<TcpStream>();
        let own = sender.clone();
        thread::spawn(move || {
            for stream in streams {
                echo(&stream);
                drop(stream);
                IDLE.lock().expect("nobody panics").push(own.clone());
            }
        });
        sender
    });
    sender.send(stream).expect("the thread waits for it");
}

#[test]
#[ignore = "this is the server of the other tests, which start it"]
fn serves_until_it_is_stopped() {
    let address = std::env::var(ADDRESS).expect("the test that starts the server sets its address");
    let kept = std::env::var(KEPT).expect("the test that starts the server sets what it keeps");
    let listener = TcpListener::bind(&address).expect("the port is free");
    println!("listening on {}", listener.local_addr().expect("it is bound"));
    for stream in listener.incoming().map_while(Result::ok) {
        if kept == "pooled-thread" {
            on_a_pooled_thread(stream);
            continue;
        }
        keep(&kept);
        thread::spawn(move || echo(&stream));
    }
}

/// The command that starts the server, but for its variables.
fn server() -> Vec<String> {
    let own = std::env::current_exe().expect("this program has a path");
    let words = [own.to_str().expect("the path is UTF-8"), "serves_until_it_is_stopped", "--exact", "--ignored"];
    words.into_iter().map(str::to_owned).chain(["--nocapture".to_owned()]).collect()
}

/// The only case of a scenario with this text, against a server that keeps this of each connection.
fn case(kept: &str, text: &str, flags: &[&str]) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let file = folder.path().join("case.toml");
    let command = server().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let server = format!("[server]\ncommand = [{command}]\nenv = {{ {ADDRESS} = '{{addr}}', {KEPT} = '{kept}' }}\n");
    std::fs::write(&file, text.replace("[server]\n", &server)).expect("the file is writable");
    let path = file.to_str().expect("the path is UTF-8");
    let (code, out, err) = said(&[&["run", path, "-q", "--json"], flags].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let cases = report["cases"].as_array().expect("the report has cases");
    let [case] = &cases[..] else { panic!("{} cases", cases.len()) };
    (code, case.clone())
}

fn of_suite(kept: &str, filter: &str) -> (i32, Value) {
    case(kept, "name = 'mine'\nsuite = 'conformance'\n[server]\n", &["--filter", filter])
}

#[test]
fn what_a_connection_leaves_open_or_running_fails_case_10_3() {
    for (kept, metric) in [("descriptor", "server.fds.growth"), ("thread", "server.threads.growth")] {
        let (code, case) = of_suite(kept, "10.3 ");
        let reasons = case["reasons"].to_string();
        assert!(code != 0 && reasons.contains(metric), "{kept}: {reasons}");
    }
}

#[test]
fn pools_pass_case_10_3() {
    for kept in ["nothing", "pool", "pooled-thread"] {
        let (code, case) = of_suite(kept, "10.3 ");
        assert_eq!(code, 0, "{kept}: {}\n{}", case["reasons"], case["run"]["server_usage"]);
    }
}

#[test]
fn a_server_that_does_not_sleep_while_its_clients_say_nothing_is_weak_in_case_10_4() {
    let (code, case) = of_suite("processor", "10.4 ");
    let (outcome, checks) = (&case["outcome"], case["checks"].to_string());
    assert!(code == 0 && outcome == "weak" && checks.contains("server.cpu < 1s"), "{code} {outcome} {checks}");
    let (code, case) = of_suite("nothing", "10.4 ");
    assert!(code == 0 && case["outcome"] == "pass", "{}", case["reasons"]);
}

#[test]
fn memory_that_a_connection_leaves_behind_is_a_figure() {
    let text = "name = 'n'\n[server]\n[[load]]\nconns = 50\nreconnect = 39\nreconnect_delay = '30ms'\nmessages = 1\n\
                [expect]\nthresholds = ['server.memory.growth < 4MiB', 'server.fds.growth < 30']\n";
    let (code, case) = self::case("memory", text, &[]);
    let reasons = case["reasons"].to_string();
    assert!(code == 3 && reasons.contains("server.memory.growth < 4MiB: it was 1"), "{reasons}");
    let (code, case) = self::case("nothing", text, &[]);
    assert_eq!(code, 0, "{}", case["reasons"]);
}

#[test]
fn what_the_client_itself_uses_is_a_figure_too() {
    let text = "name = 'n'\n[server]\n[[load]]\nconns = 20\nreconnect = 149\nmessages = 4\ngap = '4ms'\n\
                size = 64\nfragment = 'off'\n\
                [expect]\nthresholds = ['client.fds > 20', 'client.fds < 200', 'client.fds.growth < 30', \
                'client.memory.growth < 16MiB']\n";
    let (code, case) = self::case("nothing", text, &[]);
    assert_eq!(code, 0, "{}\n{}", case["reasons"], case["run"]["client"]["usage"]);
    let (code, case) = self::case("nothing", &text.replace("fds < 200", "fds < 20"), &[]);
    let reasons = case["reasons"].to_string();
    assert!(code == 3 && reasons.contains("client.fds < 20: it was "), "{reasons}");
}

const TWELVE: &str = "name = 'n'\n[server]\n[[load]]\nconns = 12\nmessages = 2\n";

#[test]
fn a_case_says_what_its_connections_left_behind() {
    for (kept, left) in [("descriptor", "12 descriptors left open: "), ("thread", "12 threads left running: ")] {
        let (code, case) = case(kept, TWELVE, &[]);
        let reasons = case["reasons"].to_string();
        assert!(code == 1 && reasons.contains(left) && reasons.contains("when all 12 had closed"), "{kept}: {reasons}");
    }
}

#[test]
fn a_case_does_not_accuse_what_is_pooled_or_too_little_to_tell() {
    for (kept, text) in [
        ("pool", TWELVE.replace("12", "32")),
        ("pooled-thread", TWELVE.replace("12", "32")),
        ("memory", TWELVE.to_owned()),
        ("descriptor", TWELVE.replace("12", "9")),
    ] {
        let (code, case) = case(kept, &text, &[]);
        assert_eq!(code, 0, "{kept}: {}", case["reasons"]);
    }
}

/// A server that keeps this of each connection, which the test has started itself.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(kept: &str) -> Running {
        let words = server();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(ADDRESS, "127.0.0.1:0").env(KEPT, kept).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts");
        let lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().expect("the pipe is open")));
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()));
        Running { child, address: address.expect("the server says where it listens") }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }
}

#[test]
fn the_process_of_a_target_is_watched_if_it_is_named() {
    let running = Running::start("descriptor");
    let pid = running.pid();
    let (code, out, err) = said(&["check", &running.address, "--pid", &pid, "-q", "--filter", "4.3 "]);
    assert!(code == 1 && out.contains("64 descriptors left open: "), "{out}{err}");
    let (code, out, err) = said(&["check", &running.address, "-q", "--filter", "4.3 "]);
    assert_eq!(code, 0, "nobody looks: {out}{err}");
    let (code, out, err) = said(&["blast", &running.address, "--pid", &pid, "-q", "-c", "30", "--messages", "1"]);
    assert!(code == 0 && out.contains("server peak") && out.contains("note: the server has"), "{out}{err}");
}

#[test]
fn a_process_that_can_not_be_watched_is_refused() {
    let running = Running::start("nothing");
    // No system gives a process this number.
    let nobody = u32::MAX.to_string();
    for (args, remedy) in [
        (&["blast", &running.address, "--pid", &nobody][..], "no such process"),
        (&["check", &running.address, "--pid", &nobody], "no such process"),
        (&["check", "--model", "auto", "--pid", &running.pid()], "leave it out"),
        (&["blast", "--serve=threads", "--pid", &running.pid()], "leave out one of them"),
    ] {
        let (code, _, err) = said(args);
        assert!(code == 2 && err.contains(remedy), "{args:?}: {err}");
    }
}
