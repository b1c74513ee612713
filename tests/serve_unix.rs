//! `serve --bind unix:/path`: every model at a Unix domain socket, and the file of the socket.
#![cfg(unix)]

use std::path::Path;

use echo_tester::server::models::TABLE;
use program::{Serving, said};

mod program;

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[test]
fn every_model_serves_a_unix_domain_socket_and_removes_its_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for model in TABLE.iter().filter(|model| model.why_not().is_none()) {
        let path = folder.path().join(model.name);
        let server = Serving::start(&["--bind", &at(&path), "--model", model.name]);
        assert_eq!(server.address, at(&path), "{}", model.name);
        for close in ["half-close", "after-echo", "abandon"] {
            let args = ["blast", &server.address, "-c", "50", "-n", "10", "-q", "--close", close];
            let (code, out, err) = said(&args);
            assert_eq!(code, 0, "{} {close}: {out}{err}", model.name);
        }
        let counters = &server.stop()["counters"];
        assert_eq!(counters["accepted"], 150, "{}: {counters}", model.name);
        assert!(!path.exists(), "{}: the file is still there", model.name);
    }
}

#[test]
fn a_path_that_is_taken_is_refused_and_one_that_was_left_behind_is_taken_over() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("echo.sock");
    let mut killed = Serving::start(&["--bind", &at(&path)]);
    let (code, _, err) = said(&["serve", "--bind", &at(&path)]);
    assert!(code == 4 && err.contains("is in use: another server listens there"), "{err}");
    killed.child.kill().and_then(|()| killed.child.wait()).expect("it runs");
    assert!(path.exists(), "who is killed leaves the file");
    let server = Serving::start(&["--bind", &at(&path), "--tls"]);
    let (code, out, err) = said(&["blast", &at(&path), "--tls", "--insecure", "-c", "3", "-n", "3", "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    server.stop();
    std::fs::write(&path, "precious").expect("it can be written");
    let (code, _, err) = said(&["serve", "--bind", &at(&path)]);
    assert!(code == 4 && err.contains("a file that is no socket: remove it"), "{err}");
    let (code, _, err) = said(&["serve", "--bind", &at(&folder.path().join("none/echo.sock"))]);
    assert!(code == 4 && err.contains("make the folder, or choose another --bind"), "{err}");
}
