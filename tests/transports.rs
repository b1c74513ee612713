//! Connections that are opened through something: proxies, chains of them, and with a PROXY header. Small proxies of
//! the test show what happens everywhere; programs of the system, where they are installed, that it is so with them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use program::{Serving, finish, program, said, text};
use proxy::{Speaks, SystemProgram, TestProxy, free_port};
use serde_json::Value;

mod program;
mod proxy;

/// As long as a program of the system may take to start on a busy machine.
const WAIT: [&str; 2] = ["--wait", "30s"];

fn port(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("the address has a port")
}

#[test]
fn each_kind_of_proxy_and_a_chain_of_them_carries_the_stream_and_the_half_close() {
    let server = Serving::start(&[]);
    let proxies = [Speaks::Socks5, Speaks::Socks5User, Speaks::Socks4a, Speaks::Http].map(TestProxy::start);
    let at = |i: usize| proxies[i].address;
    // No resolver knows this name, so only the last proxy can.
    let (name, address) = (format!("echo.invalid:{}", port(&server.address)), server.address.as_str());
    let chain = format!("socks4a://{},http://{}", at(2), at(3));
    let ways = [
        (address, format!("socks5://{}", at(0)), &[0][..]),
        (&name, format!("socks5h://joe:s3cret%40@{}", at(1)), &[1]),
        (&name, format!("socks4a://{}", at(2)), &[2]),
        (&name, format!("http://{}/", at(3)), &[3]),
        (&name, chain, &[2, 3]),
    ];
    for (target, via, through) in ways {
        let before: Vec<usize> = through.iter().map(|i| proxies[*i].relayed()).collect();
        let args = ["blast", target, "--via", &via, "-c", "20", "-n", "20", "--json", "-q"];
        let (code, out, err) = said(&args);
        assert_eq!(code, 0, "{via}: {out}{err}");
        let report: Value = serde_json::from_str(&out).expect("stdout is JSON");
        assert_eq!(report["total"]["passed"], 20, "{via}");
        assert!(!out.contains("s3cret"), "a report shows a password: {out}");
        let shown = report["targets"][0].as_str().expect("it is a text");
        assert!(shown.starts_with(&format!("{target} via ")), "{shown}");
        for (i, before) in through.iter().zip(before) {
            assert!(proxies[*i].relayed() >= before + 19, "{via}: the proxy was passed by");
        }
    }
    server.stop();
}

#[test]
fn a_proxy_that_refuses_is_a_failed_connect_that_names_it() {
    let socks = TestProxy::start(Speaks::Socks5User);
    let http = TestProxy::start(Speaks::Http);
    let (nobody, foreign) = (free_port(), Serving::start(&[]));
    for (via, words) in [
        (format!("socks5://joe:s3cret%40@{}", socks.address), "connection refused by the target (reply 5)"),
        (format!("socks5://joe:wrong@{}", socks.address), "does not accept the user name and the password"),
        (format!("socks5://{}", socks.address), "write socks5://user:pass@"),
        (format!("http://{}", http.address), "HTTP/1.1 502 Bad Gateway"),
        (format!("http://{}", foreign.address), "does not speak http"),
        (format!("socks5://127.0.0.1:{nobody}"), "takes no connection"),
    ] {
        let target = format!("127.0.0.1:{nobody}");
        let (code, out, err) = said(&["blast", &target, "--via", &via, "-c", "3", "-q"]);
        assert_eq!(code, 4, "{via}: {out}{err}");
        assert!(err.contains("proxy 127.0.0.1:") && err.contains(words), "{via}: {err}");
        assert!(!err.contains("wrong@") && !err.contains("s3cret"), "{err}");
    }
    foreign.stop();
}

#[test]
fn a_proxy_that_never_answers_is_a_time_out_that_names_it() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let via = format!("http://{}", silent.local_addr().expect("the listener is bound"));
    let (code, out, err) =
        said(&["blast", "a.invalid:1", "--via", &via, "-c", "2", "--connect-timeout", "300ms", "-q"]);
    assert_eq!(code, 4, "{out}{err}");
    assert!(err.contains("did not answer within 300ms when it was asked for a.invalid:1"), "{err}");
}

#[test]
fn a_suite_and_a_scenario_go_through_the_proxy_and_so_do_their_probes() {
    let server = Serving::start(&[]);
    let proxy = TestProxy::start(Speaks::Socks5);
    let name = format!("echo.invalid:{}", port(&server.address));
    let via = format!("socks5h://joe@{}", proxy.address);
    let (code, out, err) = said(&["check", &name, "--via", &via, "--filter", "1.1 ", "--wait", "5s"]);
    assert_eq!(code, 0, "{out}{err}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("via.toml");
    let scenario =
        format!("name = 'through a proxy'\n[run]\nvia = ['{via}']\n[server]\nmodel = 'threads'\n[[load]]\nconns = 3\n");
    std::fs::write(&file, scenario).expect("the file can be written");
    let before = proxy.relayed();
    let (code, out, err) = said(&["run", &file.display().to_string(), "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(proxy.relayed() > before, "the server of the scenario was reached directly");
    let (_, out, err) = said(&["check", &name, "--via", &via, "--filter", "no-such-case"]);
    assert!(err.contains("no case contains"), "{out}{err}");
    server.stop();
}

#[test]
fn the_password_can_come_from_the_environment_and_the_replay_line_hides_it() {
    let server = Serving::start(&["--fault", "flip"]);
    let proxy = TestProxy::start(Speaks::Socks5User);
    let args = ["blast", &server.address, "-c", "3", "-q"];
    let via = format!("socks5://joe:s3cret%40@{}", proxy.address);
    let child = program(&args).env("ECHO_TESTER_VIA", &via).spawn().expect("the program starts");
    let output = finish(child, &args);
    let out = text(&output.stdout);
    assert!(out.contains("corrupt"), "{out}{}", text(&output.stderr));
    assert!(out.contains(&format!("--via 'socks5://joe:***@{}'", proxy.address)), "{out}");
    assert!(!out.contains("s3cret"), "{out}");
    server.stop();
}

#[test]
fn fast_open_through_a_proxy_is_refused_with_the_reason() {
    let (code, _, err) = said(&["blast", "--via", "http://127.0.0.1:1", "--fast-open", "--dry-run"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the SYN goes to the proxy"), "{err}");
}

/// A server that takes a PROXY header, and then echoes to the end. Returns the header.
fn after_header(mut stream: TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream.try_clone().expect("the socket can be shared"));
    let mut header = Vec::new();
    let first = reader.fill_buf().expect("a header comes")[0];
    if first == b'P' {
        reader.read_until(b'\n', &mut header).expect("it is a line");
    } else {
        header.resize(16, 0);
        reader.read_exact(&mut header).expect("it has 16 bytes");
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        let mut rest = vec![0; length];
        reader.read_exact(&mut rest).expect("it is as long as it says");
        header.extend(rest);
    }
    std::io::copy(&mut reader, &mut stream).expect("the client reads");
    stream.flush().expect("the client reads");
    header
}

#[test]
fn a_proxy_header_names_both_ends_and_is_no_byte_of_the_stream() {
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let server = std::thread::spawn(move || {
            let (stream, peer) = listener.accept().expect("the client connects");
            (after_header(stream), peer)
        });
        let (code, out, err) =
            said(&["blast", &address.to_string(), "--send-proxy", version, "-c", "1", "-n", "5", "--json", "-q"]);
        assert_eq!(code, 0, "{version}: {out}{err}");
        assert!(out.contains(&format!("\"{address} with PROXY {version}\"")), "{out}");
        let (header, peer) = server.join().expect("the server does not panic");
        if version == "v1" {
            let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", peer.port(), address.port());
            assert_eq!(text(&header), line);
        } else {
            assert_eq!(header[12..16], [0x21, 0x11, 0, 12]);
            assert_eq!(header[24..26], peer.port().to_be_bytes());
        }
    }
}

#[test]
fn microsocks_carries_500_connections() {
    let at = free_port().to_string();
    let Some(_proxy) = SystemProgram::start("microsocks", &["-i", "127.0.0.1", "-p", &at]) else { return };
    let server = Serving::start(&[]);
    let via = format!("socks5://127.0.0.1:{at}");
    // It ends both directions at the first FIN.
    let args =
        ["blast", &server.address, "--via", &via, "-c", "500", "-n", "5", "--close", "after-echo", "--json", "-q"];
    let (code, out, err) = said(&[&args[..], &WAIT].concat());
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("stdout is JSON");
    assert_eq!(report["total"]["passed"], 500);
    server.stop();
}

#[test]
fn tinyproxy_carries_the_stream_and_says_why_it_refuses() {
    let at = free_port().to_string();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("tinyproxy.conf");
    std::fs::write(&file, format!("Port {at}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nBasicAuth joe s3cret\n"))
        .expect("the file can be written");
    let Some(_proxy) = SystemProgram::start("tinyproxy", &["-d", "-c", &file.display().to_string()]) else { return };
    let server = Serving::start(&[]);
    let target = format!("localhost:{}", port(&server.address));
    let via = format!("http://joe:s3cret@127.0.0.1:{at}");
    let args = ["blast", &target, "--via", &via, "-c", "20", "-n", "20", "--close", "after-echo", "-q"];
    let (code, out, err) = said(&[&args[..], &WAIT].concat());
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = said(&["blast", &target, "--via", &format!("http://127.0.0.1:{at}"), "-c", "2", "-q"]);
    assert!(code == 4 && err.contains("407") && err.contains("write http://user:pass@"), "{err}");
    server.stop();
}

#[test]
fn haproxy_takes_both_headers() {
    let server = Serving::start(&[]);
    for version in ["v1", "v2"] {
        let at = free_port();
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("haproxy.cfg");
        let config = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 1m\n timeout server 1m\nlisten in\n bind \
             127.0.0.1:{at} accept-proxy\n server echo {}\n",
            server.address
        );
        std::fs::write(&file, config).expect("the file can be written");
        let Some(_proxy) = SystemProgram::start("haproxy", &["-db", "-f", &file.display().to_string()]) else { return };
        let target = format!("127.0.0.1:{at}");
        let args = ["blast", &target, "--send-proxy", version, "-c", "50", "-n", "20", "-q"];
        let (code, out, err) = said(&[&args[..], &WAIT].concat());
        assert_eq!(code, 0, "{version}: {out}{err}");
        let (code, _, _) = said(&["blast", &target, "-c", "2", "-n", "1", "-q"]);
        assert_ne!(code, 0, "HAProxy takes no connection without a header, so the header was sent");
    }
    server.stop();
}

#[test]
fn the_backend_of_a_proxy_is_checked_without_the_transport() {
    let server = Serving::start(&[]);
    let proxy = TestProxy::start(Speaks::Socks5);
    let name = format!("echo.invalid:{}", port(&server.address));
    let via = format!("socks5h://{}", proxy.address);
    let args = ["check", &name, "--direct", &server.address, "--via", &via, "--filter", "1.1 ", "--wait", "10s"];
    let (code, out, err) = said(&args);
    assert_eq!(code, 0, "{out}{err}");
    assert!(proxy.relayed() > 0, "the target was not reached through the proxy");
    server.stop();
}
