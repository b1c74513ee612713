//! A disk that is full when a run ends: the result is still shown, and its exit code is that of the run.
#![cfg(target_os = "linux")]

use program::{Serving, said};

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
