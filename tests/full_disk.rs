//! A disk that is full when a run ends, or a file that may not grow: the result is still shown, and its exit code is
//! that of the run.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::{Child, Command, Stdio};

use program::{Serving, finish, program, said, text};

mod program;

/// Takes no byte, as a full disk.
const FULL: &str = "/dev/full";

#[test]
fn a_full_disk_costs_no_verdict() {
    let own = Serving::start(&["--fault", "flip:at=1000", "-q"]);
    let blast = ["blast", &own.address, "--conns", "2", "--messages", "20", "-q"];
    let target = format!("wrong={}", own.address);
    let compare = ["compare", "--target", &target, "--conns", "2", "--messages", "20", "--rounds", "1", "-q"];
    for (command, flags) in [
        // The other files of blast are written before it runs, and refused then.
        (&blast[..], &["json", "output"][..]),
        (&compare[..], &["json", "html", "csv", "markdown"][..]),
    ] {
        for flag in flags {
            let (code, out, err) = said(&[command, &[&format!("--{flag}={FULL}")]].concat());
            assert_eq!(code, 1, "the servers' fault counts: {command:?} --{flag}: {out}{err}");
            assert!(out.contains("corrupt at offset 1,000") && out.contains("verdict: fail"), "{flag}: {out}");
            assert!(!out.contains(FULL), "it lists no file that was not written: {out}");
            let said = format!("error: --{flag} {FULL}: No space left on device (os error 28): free some space there");
            assert!(err.contains(&said), "{flag}: {err}");
        }
    }
    own.stop();
}

#[test]
fn a_result_that_is_lost_is_no_success() {
    let own = Serving::start(&["-q"]);
    let blast = ["blast", &own.address, "--conns", "2", "--messages", "20", "-q", "--json=/dev/full"];
    let (code, out, err) = said(&blast);
    assert_eq!(code, 4, "{out}{err}");
    assert!(out.contains("verdict: pass"), "{out}");
    let (code, _, err) = said(&["check", &own.address, "--filter", "1.1", "-q", "-o", FULL]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("--output /dev/full: No space left"), "{err}");
    own.stop();
}

#[test]
fn a_text_that_was_asked_for_and_is_lost_is_no_success() {
    for args in [&["--help"][..], &["--version"], &["blast", "-h"], &["models"], &["man"]] {
        let full = File::options().write(true).open(FULL).expect("Linux has it");
        let output = program(args).stdout(full).output().expect("the program starts");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {err}");
        assert!(err.contains("error: writing to standard output: No space left"), "{args:?}: {err}");
    }
}

/// Every command that starts servers, with the name of the log that it writes first.
const LOGGED: [(&[&str], &str); 3] = [
    (&["blast", "--serve=threads", "--conns", "1", "--messages", "1"], "serve-threads.log"),
    (&["check", "--model", "threads", "--filter", "1.1"], "001-1.1-one-byte.log"),
    (&["compare", "--models", "threads,poll", "--rounds", "1", "--conns", "1", "--messages", "1"], "poll-round-1.log"),
];

#[test]
fn a_server_log_that_is_not_complete_is_no_success() {
    for (args, name) in LOGGED {
        let folder = tempfile::tempdir().expect("a temporary folder is made");
        let (log, file) = (folder.path().display().to_string(), folder.path().join(name));
        std::os::unix::fs::symlink(FULL, &file).expect("a link is made");
        let (code, out, err) = said(&[args, &["-q", "--server-log", &log]].concat());
        assert_eq!(code, 4, "{args:?}: {out}{err}");
        let said = format!("error: --server-log {}: No space left on device (os error 28): free", file.display());
        assert!(err.contains(&said), "{args:?}: {err}");
        assert_eq!(err.matches("--server-log").count(), 1, "{args:?}: {err}");
    }
}

/// The program where no file may have more than a kibibyte, as `ulimit -f` says.
fn start_with_small_files(folder: &std::path::Path, args: &[&str]) -> Child {
    // POSIX counts in blocks of 512 bytes, and bash in kibibytes.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 1; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_echo-tester")]).args(args);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("bash is installed")
}

#[test]
fn a_limit_for_the_size_of_files_costs_no_verdict() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let args = ["blast", "--serve=threads", "--conns", "2", "--messages", "2", "-q", "--json=long.json"];
    let output = finish(start_with_small_files(folder.path(), &args), &args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{}: {out}{err}", output.status);
    assert!(out.contains("verdict: pass"), "{out}");
    assert!(err.contains("error: --json long.json: File too large (os error 27): raise the limit"), "{err}");
}

/// The limit is the server's own matter: what it does there is the default of the system.
#[test]
fn a_server_by_command_is_still_ended_by_the_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let script = "head -c 100000 /dev/zero > large; echo head ended by $?; exit 3";
    let case = format!("name = 'n'\n[server]\ncommand = ['sh', '-c', \"{script}\", '{{addr}}']\n[[load]]\n");
    std::fs::write(folder.path().join("case.toml"), case).expect("the folder can be written to");
    let args = ["run", "case.toml", "-q"];
    let output = finish(start_with_small_files(folder.path(), &args), &args);
    let out = text(&output.stdout);
    // 128 and SIGXFSZ, as a shell says it.
    assert!(out.contains("head ended by 153"), "{out}{}", text(&output.stderr));
}

#[test]
fn a_report_that_can_not_be_written_is_told_once() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let own = Serving::start(&["--fault", "flip:at=1000", "-q"]);
    for flag in ["--markdown", "--junit"] {
        // What the file holds before the run is short enough, and findings are not.
        let args = ["blast", &own.address, "--conns", "2", "--messages", "20", "-q", flag, "report"];
        let output = finish(start_with_small_files(folder.path(), &args), &args);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "the server's fault counts: {flag}: {err}");
        assert_eq!(err.matches("File too large").count(), 1, "{flag}: {err}");
        assert!(err.contains(&format!("error: {flag} report: ")), "{flag}: {err}");
    }
    own.stop();
}

/// A file that is a mount point itself, as `docker run -v FILE:FILE` makes it, and one in a folder that nobody can
/// write to: no other file can take its place.
#[test]
fn a_file_that_can_not_be_replaced_is_written_in_place() {
    let script = "cd \"$0\" && mount --bind mounted.json result.json && mount -t tmpfs none fixed || exit 77
        touch fixed/result.html && mount --bind mounted.html fixed/result.html && mount -o remount,ro fixed || exit 77
        exec \"$@\"";
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    std::fs::create_dir(folder.path().join("fixed")).expect("the folder can be written to");
    for name in ["mounted.json", "mounted.html", "result.json"] {
        std::fs::write(folder.path().join(name), "of an earlier run").expect("the folder can be written to");
    }
    let place = folder.path().display().to_string();
    let own = Serving::start(&["-q"]);
    let files = ["--json=result.json", "--html", "fixed/result.html"];
    let args = [&["blast", &own.address, "--conns", "2", "--messages", "2", "-q"][..], &files].concat();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, &place, env!("CARGO_BIN_EXE_echo-tester")]);
    command.args(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().expect("util-linux is installed"), &args);
    own.stop();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.code() == Some(77) || err.starts_with("unshare:") {
        return eprintln!("skipped: no file can be mounted here: {err}");
    }
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it is there");
    assert!(read("mounted.json").starts_with("{\n  \"form\""), "{}", read("mounted.json"));
    assert!(read("mounted.html").ends_with("</html>\n"), "{}", read("mounted.html"));
    assert!(!read("mounted.html").contains("earlier run"), "the file was emptied first");
}
