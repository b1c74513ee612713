//! `serve --tls`: the bundled server at the other end of TLS, with clients of our own and with other programs.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use program::{Serving, said};
use proxy::free_port;
use tls::{pem, stunnel};

mod program;
#[expect(dead_code, reason = "other tests use the proxies")]
mod proxy;
mod tls;

fn blast(target: &str, args: &[&str]) -> (i32, String, String) {
    said(&[&["blast", target, "--tls", "-n", "20", "-q"], args].concat())
}

#[test]
fn two_commands_are_enough_for_a_trial() {
    let server = Serving::start(&["--tls"]);
    for args in [
        &["-c", "50", "--pipeline", "unlimited"][..],
        &["-c", "3", "--size", "1MiB", "--read", "slow:32MiB/s"],
        &["-c", "5", "--close", "after-echo"],
        &["-c", "5", "--close", "reset"],
        &["-c", "5", "--close", "abandon"],
    ] {
        let (code, out, err) = blast(&server.address, &[&["--insecure"], args].concat());
        assert_eq!(code, 0, "{args:?}: {out}{err}");
    }
    let (code, _, err) = blast(&server.address, &["-c", "2"]);
    assert!(code == 4 && err.contains("--insecure"), "nobody has signed the certificate: {err}");
    let (code, out, err) = said(&["blast", &server.address, "-c", "2", "-q"]);
    assert!(code != 0, "TLS is not spoken: {out}{err}");
    let counters = &server.stop()["counters"];
    assert!(counters["bytes_in"].as_u64() > Some(15 << 20), "{counters}");
}

#[test]
fn one_command_is_enough_too() {
    let trial = ["blast", "--serve", "--tls", "--insecure", "-c", "5", "-n", "5", "-q", "--json"];
    let (code, out, err) = said(&trial);
    assert!(code == 0 && out.contains("over TLS"), "{out}{err}");
    let (code, _, err) = said(&["check", "--model", "tokio", "--tls", "--insecure"]);
    assert!(code == 2 && err.contains("the model tokio speaks no TLS: write --model threads"), "{err}");
}

#[test]
fn the_certificate_of_the_user_is_the_one_that_clients_see() {
    let (certificate, key) = (pem("server.pem"), pem("server.key"));
    let server = Serving::start(&["--tls", "--cert", &certificate, "--key", &key]);
    let (code, out, err) = blast(&server.address, &["--ca", &pem("ca.pem"), "-c", "5"]);
    assert_eq!(code, 0, "{out}{err}");
    server.stop();
    for (certificate, key, words) in [
        (pem("server.pem"), pem("client.key"), "give two that belong together"),
        (pem("server.key"), pem("server.key"), "it has no certificate in the PEM form"),
        (pem("server.pem"), pem("ca.pem"), "it has no private key in the PEM form"),
        (pem("none.pem"), pem("server.key"), "give a file that can be read"),
    ] {
        let (code, _, err) = said(&["serve", "--tls", "--cert", &certificate, "--key", &key]);
        assert!(code == 2 && err.contains(words), "{certificate} {key}: {err}");
    }
}

#[test]
fn a_certificate_that_can_not_be_trusted_is_told_with_its_reason() {
    for (certificate, words) in [
        ("expired.pem", "renew the certificate, and check the clock of this machine"),
        ("authority.pem", "make one with CA:FALSE"),
    ] {
        let (file, key) = (pem(certificate), pem("server.key"));
        let server = Serving::start(&["--tls", "--cert", &file, "--key", &key]);
        let (code, _, err) = blast(&server.address, &["--ca", &file, "-c", "2"]);
        assert!(code == 4 && err.contains(words) && err.contains("or give --insecure"), "{err}");
        let (code, out, err) = blast(&server.address, &["--insecure", "-c", "2"]);
        assert_eq!(code, 0, "{out}{err}");
        server.stop();
    }
}

#[test]
fn the_cases_of_the_suite_hold_over_tls_or_say_that_they_are_tcps() {
    let server = Serving::start(&["--tls"]);
    for filter in ["1.2", "3.2", "3.3", "4.1", "9.4"] {
        let args = ["check", &server.address, "--tls", "--insecure", "--filter", filter, "-q"];
        let (code, out, err) = said(&args);
        assert_eq!(code, 0, "{filter}: {out}{err}");
    }
    for (filter, words) in [("9.6", "TLS has no urgent data"), ("7.5", "the first bytes are those of its handshake")] {
        let (_, out, err) = said(&["check", &server.address, "--tls", "--insecure", "--filter", filter]);
        assert!(out.contains(words), "{filter}: {out}{err}");
    }
    server.stop();
}

#[test]
fn a_client_that_does_not_speak_tls_loses_its_own_connection_alone() {
    let server = Serving::start(&["--tls"]);
    let mut plain = TcpStream::connect(&server.address).expect("it listens");
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").expect("it is open");
    let mut answer = Vec::new();
    // A reset may follow the alert.
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[0] == 21, "an alert, and no echo: {answer:?}");
    let (code, out, err) = blast(&server.address, &["--insecure", "-c", "2"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(server.stop()["counters"]["connection_errors"], 1);
}

#[test]
fn openssl_gets_its_bytes_back() {
    let server = Serving::start(&["--tls"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &server.address, "-quiet", version]);
        let Ok(mut client) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            eprintln!("skipped: openssl can't be started: install it to run this test");
            break;
        };
        let (mut to, mut from) =
            (client.stdin.take().expect("it is piped"), client.stdout.take().expect("it is piped"));
        std::io::Write::write_all(&mut to, b"through TLS\n").expect("it reads");
        let mut line = [0; 12];
        from.read_exact(&mut line).expect("the echo comes back");
        assert_eq!(&line, b"through TLS\n", "{version}");
        client.kill().and_then(|()| client.wait()).expect("it runs");
    }
    server.stop();
}

#[test]
fn stunnel_speaks_tls_in_front_of_a_client_that_does_not() {
    let server = Serving::start(&["--tls"]);
    let at = free_port();
    let service = format!("client = yes\naccept = 127.0.0.1:{at}\nconnect = {}\n", server.address);
    let Some(tunnel) = stunnel(&service) else { return };
    let target = format!("127.0.0.1:{at}");
    let (code, out, err) =
        said(&["blast", &target, "-n", "20", "-q", "--close", "after-echo", "-c", "20", "--wait", "30s"]);
    assert_eq!(code, 0, "{out}{err}");
    drop(tunnel);
    server.stop();
}
