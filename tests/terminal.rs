//! The program in a terminal of a given width: the lines that are redrawn in place fit, disappear without remains, also
//! after Ctrl-C, and colour stays where it belongs. `screen` does what a terminal does with what is written to it.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use program::{program, said, text};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use screen::Screen;

#[expect(dead_code, reason = "no server of its own is needed here")]
mod program;
mod screen;

/// Longer than any run of a test takes on a busy machine. A run that exceeds it hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(120);
/// Words of the lines that are redrawn.
const LIVE_WORDS: [&str; 4] = ["so far", " left", " open", "╌"];

/// What the program wrote to a terminal, and its exit code.
struct Session {
    screen: Screen,
    written: String,
    code: Option<i32>,
}

/// Runs the program in a terminal. When it has written `word`, Ctrl-C is pressed.
fn in_terminal(columns: u16, args: &[&str], ctrl_c_at: Option<&str>) -> Session {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has pseudo-terminals");
    grantpt(&controller).expect("the terminal is ours");
    unlockpt(&controller).expect("the terminal can be unlocked");
    tcsetwinsize(&controller, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
    let name = ptsname(&controller, Vec::new()).expect("the terminal has a name");
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor can be duplicated"));
    // Ctrl-C goes to the processes of the terminal, which must be the controlling one.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_echo-tester")]).args(args);
    command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ECHO_TESTER_")) {
        command.env_remove(name);
    }
    let mut child = command.spawn().expect("setsid of util-linux is installed");
    drop((command, terminal));
    let mut controller = std::fs::File::from(controller);
    let output = read_all(controller.try_clone().expect("a descriptor can be duplicated"));
    let (mut written, mut is_pressed) = (Vec::new(), false);
    // It ends when the last process has closed the terminal.
    while let Ok(bytes) = output.recv_timeout(HANG_TIMEOUT) {
        written.extend(bytes);
        if !is_pressed && ctrl_c_at.is_some_and(|word| text(&written).contains(word)) {
            controller.write_all(b"\x03").expect("the terminal takes input");
            is_pressed = true;
        }
    }
    let written = text(&written);
    let status = child.wait().expect("the process can be waited for");
    Session { screen: Screen::showing(usize::from(columns), &written), written, code: status.code() }
}

fn read_all(mut terminal: std::fs::File) -> Receiver<Vec<u8>> {
    let (sender, output) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Linux answers EIO when the other end is closed.
        while let Ok(count) = terminal.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    output
}

/// Nothing of the lines that were redrawn is on the screen, and the last line is the verdict.
fn assert_nothing_is_left(session: &Session, verdict: &str) {
    let text = session.screen.text();
    for word in LIVE_WORDS.into_iter().chain(["^C"]) {
        assert!(!text.contains(word), "'{word}' is left:\n{text}");
    }
    let (_, after) = text.split_once(&format!("\n{verdict}")).unwrap_or_else(|| panic!("no '{verdict}':\n{text}"));
    assert!(after.lines().skip(1).all(|line| line.is_empty() || line.starts_with("  ")), "it is the last:\n{text}");
    assert!(session.screen.widest_redrawn() > 0, "lines were redrawn:\n{}", session.written);
}

#[test]
fn a_run_shows_lines_that_fit_and_takes_them_away() {
    for columns in [50, 80, 160] {
        let args = ["blast", "--serve=epoll", "--conns", "5", "--duration", "1500ms"];
        let session = in_terminal(columns, &args, None);
        assert_eq!(session.code, Some(0), "{}", session.written);
        assert!(session.written.contains(" left") && session.written.contains("messages/s"), "{}", session.written);
        assert_nothing_is_left(&session, "verdict: pass · 5 connections");
        let most = usize::from(columns).min(100);
        assert!(session.screen.widest_redrawn() < most, "{columns}: {}", session.screen.widest_redrawn());
        let text = session.screen.text();
        let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
        assert!(widest.chars().count() <= most, "{columns}: {widest}");
    }
}

#[test]
fn ctrl_c_leaves_nothing_of_them_behind() {
    // At a rate, so that it leaves time for this test. A session is a group of its own for Linux's scheduler
    // (autogroup), and Linux 6.18 lets the other groups starve while one keeps all processors busy: without a rate, a
    // thread elsewhere that slept for 20 ms got no processor in 9.8 of 10 s, and Ctrl-C came two minutes late.
    let args = ["blast", "--serve=epoll", "--conns", "5", "--rate", "2k", "--duration", "1h"];
    let session = in_terminal(80, &args, Some("messages/s"));
    assert_eq!(session.code, Some(130), "{}", session.written);
    assert_nothing_is_left(&session, "verdict: interrupted · 0 of 5 connections ended");
}

#[test]
fn a_suite_shows_its_place_and_the_time_that_is_left() {
    for jobs in ["1", "3"] {
        let session =
            in_terminal(80, &["check", "--model", "auto", "--filter", "3.", "--jobs", jobs], Some("suite about"));
        assert!(session.written.contains("/10]") && session.written.contains("suite about "), "{}", session.written);
        assert_nothing_is_left(&session, "verdict: interrupted · ");
    }
}

#[test]
fn a_comparison_shows_its_rounds_and_quiet_shows_nothing() {
    let load = ["--models", "epoll", "--rounds", "2", "--conns", "2", "--duration", "400ms"];
    let session = in_terminal(80, &[&["compare"], load.as_slice()].concat(), None);
    assert!(session.written.contains("epoll, round 1 of 2 … "), "{}", session.written);
    let quiet = in_terminal(80, &[&["compare", "-q"], load.as_slice()].concat(), None);
    assert_eq!(quiet.screen.widest_redrawn(), 0, "{}", quiet.written);
}

#[test]
fn colour_is_for_terminals_unless_it_is_forced_or_refused() {
    let args = ["blast", "--serve=epoll", "--conns", "1", "--messages", "1", "-q"];
    let has_colour = |text: &str| text.contains("\u{1b}[") && text.contains('m');
    assert!(has_colour(&in_terminal(80, &args, None).written));
    let never = [&args[..], &["--color", "never"]].concat();
    assert!(!has_colour(&in_terminal(80, &never, None).written));
    assert!(!has_colour(&said(&args).1));
    assert!(has_colour(&said(&[&args[..], &["--color=always"]].concat()).1));
    let with = |name: &str, value: &str, args: &[&str]| {
        let output = program(args).env(name, value).output().expect("the program starts");
        has_colour(&text(&output.stdout))
    };
    assert!(with("CLICOLOR_FORCE", "1", &args) && with("ECHO_TESTER_COLOR", "always", &args));
    assert!(!with("ECHO_TESTER_COLOR", "always", &never), "the command line wins");
    assert!(!with("CLICOLOR_FORCE", "1", &[&args[..], &["--json"]].concat()), "JSON has no colour");
}
