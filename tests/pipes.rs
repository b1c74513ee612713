//! Results that go to a named pipe (FIFO): one that nobody reads is refused before anything runs, a reader gets the
//! complete result once, and one that reads no further costs no other output.
#![cfg(unix)]

use std::fs::File;
use std::io::Read;
use std::process::Child;

use files::{folder, path};
use program::{finish, program, said, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};

mod files;
#[expect(dead_code, reason = "nothing is served here")]
mod program;

/// The longest time that a test waits for an event, in seconds.
const EVENT_TIMEOUT_S: i64 = 60;
/// A run of an instant.
const RUN: [&str; 7] = ["blast", "--serve", "--plain", "--conns", "2", "--messages", "2"];

/// A folder with a pipe in it, and its path.
fn with_pipe(name: &str) -> (tempfile::TempDir, String) {
    let report = include_str!("surface/fixtures/churn.json");
    let files = folder(&[("report.json", report)]);
    let pipe = path(&files, name);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is installed").success());
    (files, pipe)
}

/// A reader that has opened the pipe, and reads nothing yet.
fn reader(pipe: &str) -> File {
    let opened =
        rustix::fs::open(pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("a reader may open it");
    fcntl_setfl(&opened, OFlags::empty()).expect("its flags can be set");
    opened.into()
}

/// Waits until there is something to read. An end that comes first means that the program closed the pipe too early.
fn wait_for_text(reader: &File) {
    let mut wait = [PollFd::new(reader, PollFlags::IN)];
    let timeout = Timespec { tv_sec: EVENT_TIMEOUT_S, tv_nsec: 0 };
    assert_eq!(poll(&mut wait, Some(&timeout)).expect("a pipe can be polled"), 1, "nothing came");
    assert!(wait[0].revents().contains(PollFlags::IN), "the pipe was closed before the result was there");
}

/// What the reader of a pipe gets, and how the program ended.
fn read_by(reader: &mut File, child: Child, args: &[&str]) -> (String, i32, String) {
    wait_for_text(reader);
    let mut all = String::new();
    reader.read_to_string(&mut all).expect("the pipe can be read");
    let output = finish(child, args);
    (all, output.status.code().unwrap_or(-1), text(&output.stderr))
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_before_anything_runs() {
    let (files, pipe) = with_pipe("pipe");
    let report = path(&files, "report.json");
    let to = format!("--json={pipe}");
    let blast = |flags: &[&'static str]| [&RUN[..], flags].concat();
    let mut commands: Vec<Vec<&str>> = vec![
        [&RUN[..], &[&to]].concat(),
        vec!["check", "--model", "auto", "--filter", "2.1", &to],
        vec!["merge", &report, &to],
        vec!["compare", "--models", "threads", "--duration", "1s", &to],
        vec!["serve", "--bind", "127.0.0.1:0", "--fault", "flip", "--fault-log", &pipe],
        vec!["check", "--model", "auto", "--filter", "2.1", "--write-baseline", &pipe],
        vec!["compare", "--models", "threads", "--duration", "1s", "--csv", &pipe],
        vec!["report", &report, "--html", &pipe],
    ];
    for flag in ["--html", "--junit", "--markdown", "--output"] {
        commands.push([&blast(&[flag])[..], &[&pipe]].concat());
    }
    for args in commands {
        let (code, out, err) = said(&args);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        let remedy = "nobody reads from this pipe: start its reader first, and let it read to the end\n";
        assert!(err.ends_with(remedy) && out.is_empty(), "{args:?}: {out}{err}");
    }
}

#[test]
fn the_log_of_a_server_is_not_written_to_a_pipe_that_nobody_reads() {
    let (files, _) = with_pipe("serve-auto.log");
    let folder = files.path().to_str().expect("it is UTF-8");
    let args = [&RUN[..], &["-q", "--server-log", folder]].concat();
    let (code, out, err) = said(&args);
    assert!(code != 0 && err.contains("nobody reads from this pipe"), "{code}: {out}{err}");
}

#[test]
fn a_reader_gets_the_complete_result_and_gets_it_once() {
    let (_files, pipe) = with_pipe("pipe");
    let json = format!("--json={pipe}");
    let suite = ["check", "--model", "auto", "--filter", "1.1", "-q"];
    for (args, complete) in [
        ([&RUN[..], &["-q", &json]].concat(), "\"form\": \"echo-tester/run/1\""),
        ([&suite[..], &[&json]].concat(), "\"state\": \"complete\""),
        ([&suite[..], &["--junit", &pipe]].concat(), "</testsuites>"),
        ([&suite[..], &["--output", &pipe]].concat(), "verdict: pass"),
        ([&suite[..], &["--write-baseline", &pipe]].concat(), "version = "),
    ] {
        let mut reader = reader(&pipe);
        let child = program(&args).spawn().expect("the program starts");
        let (all, code, err) = read_by(&mut reader, child, &args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert_eq!(all.matches(complete).count(), 1, "{args:?}: {all}");
    }
}

#[test]
fn a_reader_that_reads_no_further_is_not_waited_for_after_an_interrupt() {
    let (_files, pipe) = with_pipe("pipe");
    let reader = reader(&pipe);
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).expect("a pipe may be small");
    let json = format!("--json={pipe}");
    let args = [&RUN[..], &["-q", &json]].concat();
    let child = program(&args).spawn().expect("the program starts");
    wait_for_text(&reader);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = finish(child, &args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("round trip") && out.contains("verdict: pass"), "the result is lost: {out}{err}");
    assert!(err.contains("its reader did not read on"), "{err}");
}
