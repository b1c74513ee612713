//! `serve`: its output when it starts and when it stops, with and without connections.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};

use crate::program::text;
use crate::shell::Folder;
use crate::{redact, snapshot};

/// Listens on a free port and stops when its standard input ends, which is at once unless the input is piped.
const SERVE: &str = "serve --bind 127.0.0.1:0 --until-stdin-closes";

#[test]
fn without_a_connection() {
    let folder = Folder::with(&[]);
    let flags = [
        "--model epoll --workers 1",
        "--model threads --workers 2",
        "--model threads --quiet",
        "--model threads --max-conns 1g --buffer 1g --quiet",
        "--fault flip --workers 1",
    ];
    let said: Vec<String> = flags.iter().map(|flags| folder.ran(&format!("{SERVE} {flags}"))).collect();
    snapshot("serve", &said.join("\n"));
    let flags = ["--model epoll --workers 1 --json", "--fault flip --json"];
    let said: Vec<String> = flags.iter().map(|flags| redact::json(&folder.said(&format!("{SERVE} {flags}")))).collect();
    snapshot("serve-json", &said.join("\n"));
}

/// A running server.
struct Served {
    line: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    first: String,
}

impl Served {
    fn start(folder: &Folder, flags: &str) -> Served {
        let line = format!("{SERVE} {flags}");
        let (mut command, _) = folder.command(&line);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("the pipe is open")).lines();
        let first = lines.next().expect("the server prints its address").expect("the output is UTF-8");
        Served { line, child, lines, first }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.first.split(' ').nth(2).expect("the address is a string")).expect("the server listens")
    }

    /// Connects and waits for an echo, so that the server has counted the connection.
    fn connect_and_echo(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(b"x").expect("the connection is open");
        stream.read_exact(&mut [0]).expect("the server echoes");
        stream
    }

    /// Asks it to stop, and returns all its output.
    fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// Waits until it ends, and returns all its output.
    fn wait(mut self) -> String {
        let mut said = vec![format!("$ echo-tester {}", self.line), self.first];
        said.extend(self.lines.map(|line| line.expect("the output is UTF-8")));
        let mut stderr = Vec::new();
        self.child.stderr.take().expect("the pipe is open").read_to_end(&mut stderr).expect("the pipe is readable");
        if !stderr.is_empty() {
            said.extend(["(stderr)".to_owned(), text(&stderr).trim_end().to_owned()]);
        }
        let code =
            self.child.wait().expect("the process can be waited for").code().expect("the process exits with a code");
        said.push(format!("(exit code {code})\n"));
        redact::text(&said.join("\n"))
    }
}

#[test]
fn with_connections() {
    let folder = Folder::with(&[]);
    let clean = Served::start(&folder, "--model epoll --workers 1");
    let mut stream = clean.connect_and_echo();
    stream.shutdown(std::net::Shutdown::Write).expect("the connection is open");
    stream.read_to_end(&mut Vec::new()).expect("the server closes the connection");
    let clean = clean.stop();

    let full = Served::start(&folder, "--model epoll --workers 1 --max-conns 1 --drain-timeout 100ms");
    let first = full.connect_and_echo();
    // A second connection is over the limit. It is closed at once, by a FIN or by a reset.
    let _ = full.connect().read(&mut [0]);
    let full = full.stop();
    drop(first);

    let idle = Served::start(&folder, "--model epoll --workers 1 --idle-timeout 50ms");
    let mut stream = idle.connect_and_echo();
    let _ = stream.read(&mut [0]);
    let idle = idle.stop();

    // The log cannot be written, so the server ends before it is asked to.
    let broken = Served::start(&folder, "--fault flip:at=0 --fault-log /dev/full");
    let mut stream = broken.connect();
    stream.write_all(b"x").expect("the connection is open");
    let _ = stream.read(&mut [0]);
    let broken = broken.wait();
    snapshot("serve-connections", &[clean, full, idle, broken].join("\n"));
}
