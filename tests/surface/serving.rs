//! `serve`: what it says when it begins and when it ends, and of the connections that it had.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};

use crate::program::text;
use crate::shell::Folder;
use crate::{redact, snapshot};

/// It listens on a free port, and ends with its standard input, which without more is at its end.
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

/// A server with connections.
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
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("it says where it listens").expect("text");
        Served { line, child, lines, first }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.first.split(' ').nth(2).expect("an address")).expect("it listens")
    }

    /// A connection that was served, so that it is counted.
    fn connect_and_echo(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(b"x").expect("it is open");
        stream.read_exact(&mut [0]).expect("an echo");
        stream
    }

    /// All that it said, when it was asked to end.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        self.ended()
    }

    /// All that it said until it ended, by itself if nobody has asked it.
    fn ended(mut self) -> String {
        let mut said = vec![format!("$ echo-tester {}", self.line), self.first];
        said.extend(self.lines.map(|line| line.expect("text")));
        let mut stderr = Vec::new();
        self.child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("a pipe can be read");
        if !stderr.is_empty() {
            said.extend(["(stderr)".to_owned(), text(&stderr).trim_end().to_owned()]);
        }
        let code = self.child.wait().expect("it ends").code().expect("no signal ended it");
        said.push(format!("(exit code {code})\n"));
        redact::text(&said.join("\n"))
    }
}

#[test]
fn with_connections() {
    let folder = Folder::with(&[]);
    let well = Served::start(&folder, "--model epoll --workers 1");
    let mut stream = well.connect_and_echo();
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    stream.read_to_end(&mut Vec::new()).expect("the end");
    let well = well.end();

    let full = Served::start(&folder, "--model epoll --workers 1 --max-conns 1 --drain-timeout 100ms");
    let stays = full.connect_and_echo();
    // One too many: it is closed at once, by a FIN or by a reset.
    let _ = full.connect().read(&mut [0]);
    let full = full.end();
    drop(stays);

    let idle = Served::start(&folder, "--model epoll --workers 1 --idle-timeout 50ms");
    let mut stream = idle.connect_and_echo();
    let _ = stream.read(&mut [0]);
    let idle = idle.end();

    // The log can't be written, which ends the server before anybody asks it to.
    let broken = Served::start(&folder, "--fault flip:at=0 --fault-log /dev/full");
    let mut stream = broken.connect();
    stream.write_all(b"x").expect("it is open");
    let _ = stream.read(&mut [0]);
    let broken = broken.ended();
    snapshot("serve-connections", &[well, full, idle, broken].join("\n"));
}
