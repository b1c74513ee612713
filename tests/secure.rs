//! Connections over TLS and to Unix domain sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use program::{Serving, said};
use proxy::{Speaks, TestProxy, free_port};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tls::{pem, stunnel};

mod program;
mod proxy;
mod tls;

type SecureStream = StreamOwned<ServerConnection, TcpStream>;

/// How a server of a test treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// It sends the echo as it comes.
    AtOnce,
    /// It sends the echo once the client has said that no more will come.
    AfterTheEnd,
    /// It ends with a FIN alone, without close_notify.
    WithoutNotice,
    /// It wants a certificate of the client.
    Known,
    /// It takes no notice of ALPN.
    WithoutAlpn,
}

fn config(serves: Serves) -> ServerConfig {
    let read = |name: &str| CertificateDer::from_pem_file(pem(name)).expect("the file has a certificate");
    let provider = Arc::new(rustls_graviola::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the usual suites");
    let mut roots = RootCertStore::empty();
    roots.add(read("ca.pem")).expect("it is the certificate of an authority");
    let builder = match serves {
        Serves::Known => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("there is a root"))
        }
        _ => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).expect("the file has a key");
    let mut config = builder.with_single_cert(vec![read("server.pem")], key).expect("the key fits the certificate");
    if serves != Serves::WithoutAlpn {
        config.alpn_protocols = vec![b"echo".to_vec()];
    }
    config
}

/// An echo server over TLS that runs until the test ends.
fn serve(serves: Serves) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let config = Arc::new(config(serves));
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let tls = ServerConnection::new(config).expect("the configuration is whole");
                // A client that does not like the certificate ends the handshake.
                let _ = echo(StreamOwned::new(tls, socket), serves);
            });
        }
    });
    address
}

fn echo(mut stream: SecureStream, serves: Serves) -> std::io::Result<()> {
    let mut bytes = [0; 8192];
    let mut held = Vec::new();
    loop {
        // An end without close_notify is an error here, so the client has to send one.
        let n = stream.read(&mut bytes)?;
        match serves {
            _ if n == 0 => break,
            Serves::AfterTheEnd => held.extend_from_slice(&bytes[..n]),
            _ => stream.write_all(&bytes[..n])?,
        }
    }
    stream.write_all(&held)?;
    if serves != Serves::WithoutNotice {
        stream.conn.send_close_notify();
    }
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)
}

fn blast(target: &str, args: &[&str]) -> (i32, String, String) {
    said(&[&["blast", target, "--tls", "-n", "20", "-q"], args].concat())
}

#[test]
fn the_stream_goes_inside_tls_and_half_close_is_close_notify() {
    let ca = pem("ca.pem");
    for serves in [Serves::AtOnce, Serves::AfterTheEnd] {
        let target = serve(serves).to_string();
        let pipelined = ["--ca", &ca, "-c", "20", "--pipeline", "unlimited", "--json"];
        let (code, out, err) = blast(&target, &pipelined);
        assert_eq!(code, 0, "{serves:?}: {out}{err}");
        assert!(out.contains(&format!("\"{target} over TLS\"")), "{out}");
    }
    let target = serve(Serves::AtOnce).to_string();
    for close in ["after-echo", "abandon", "reset", "keep"] {
        let (code, out, err) = blast(&target, &["--ca", &ca, "-c", "10", "--close", close]);
        assert_eq!(code, 0, "{close}: {out}{err}");
    }
    // Megabytes in each direction at once fill the socket in the middle of records.
    let (code, out, err) = blast(&target, &["--ca", &ca, "-c", "3", "--size", "1MiB", "--read", "slow:16MiB/s"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn a_fin_without_close_notify_is_a_truncation() {
    let (code, out, err) = blast(&serve(Serves::WithoutNotice).to_string(), &["--ca", &pem("ca.pem"), "-c", "3"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("truncated: a FIN came without the close_notify"), "{out}");
}

#[test]
fn an_untrusted_certificate_fails_the_connect_and_insecure_is_said_loudly() {
    let target = serve(Serves::AtOnce).to_string();
    let (ca, client) = (pem("ca.pem"), pem("client.pem"));
    for (args, words) in [
        (&["--ca", &client][..], "give its issuer by --ca FILE, or --insecure"),
        (&["--ca", &ca, "--sni", "other.example"], "ask for that name by --sni NAME"),
        (&["--ca", &ca, "--alpn", "h2"], "TLS"),
    ] {
        let (code, out, err) = blast(&target, &[args, &["-c", "2"]].concat());
        assert_eq!(code, 4, "{args:?}: {out}{err}");
        assert!(err.contains("no connection to") && err.contains(words), "{err}");
    }
    let (code, _, err) = blast(&target, &["--ca", &ca, "--sni", "localhost", "--alpn", "echo", "-c", "2"]);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = blast(&target, &["--insecure", "-c", "2", "--json"]);
    assert!(code == 0 && out.contains("certificate NOT verified") && err.contains("NOT verified"), "{out}{err}");
    let plain = Serving::start(&[]);
    let (code, _, err) = blast(&plain.address, &["--insecure", "-c", "2"]);
    assert!(code == 4 && err.contains("does not seem to speak TLS"), "{err}");
    plain.stop();
}

#[test]
fn a_server_that_ignores_the_offered_protocols_is_told() {
    let ca = pem("ca.pem");
    for (serves, told) in [(Serves::WithoutAlpn, true), (Serves::AtOnce, false)] {
        let target = serve(serves).to_string();
        let args = ["--ca", &ca, "-c", "2", "--alpn", "echo"];
        let (code, out, err) = blast(&target, &args);
        let is_told = out.contains("the server chose no protocol of --alpn on 2 of 2 connections");
        assert!(code == 0 && is_told == told, "{serves:?}: {out}{err}");
        let (code, out, err) = blast(&target, &[&args[..], &["--json"]].concat());
        assert!(code == 0 && out.contains("\"without_alpn\": 2") == told, "{serves:?}: {out}{err}");
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it_and_says_so_without() {
    let target = serve(Serves::Known).to_string();
    let (ca, certificate, key) = (pem("ca.pem"), pem("client.pem"), pem("client.key"));
    let (code, out, err) =
        blast(&target, &["--ca", &ca, "--client-cert", &certificate, "--client-key", &key, "-c", "3"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = blast(&target, &["--ca", &ca, "-c", "3"]);
    assert!(code == 1 && out.contains("give one by --client-cert"), "{out}");
}

#[test]
fn a_suite_its_probes_and_a_proxy_work_over_tls() {
    let target = serve(Serves::AtOnce);
    let (name, ca) = (format!("echo.invalid:{}", target.port()), pem("ca.pem"));
    for (speaks, begin) in [
        (Speaks::Socks5, "socks5h://"),
        (Speaks::Socks5User, "socks5h://joe:s3cret%40@"),
        (Speaks::Socks4a, "socks4a://"),
        (Speaks::Http, "http://"),
    ] {
        let proxy = TestProxy::start(speaks);
        let via = format!("{begin}{}", proxy.address);
        let args = ["check", &name, "--tls", "--ca", &ca, "--via", &via, "--filter", "1.1 ", "--wait", "10s"];
        let (code, out, err) = said(&args);
        assert_eq!(code, 0, "{out}{err}");
        assert!(proxy.relayed() > 0, "{speaks:?}: the proxy was passed by");
    }
}

#[test]
fn options_that_need_tls_or_exclude_it_are_refused_with_what_to_do() {
    for (args, words) in [
        (&["--sni", "a.b"][..], "--sni a.b: it is an option of TLS: add --tls, or leave it out"),
        (&["--tls", "--client-cert", "a.pem"], "its key is missing: add --client-key"),
        (&["--tls", "--insecure", "--ca", "a.pem"], "leave out one of them"),
        (&["--tls", "--urgent", "5"], "TLS has no urgent data"),
        (&["--tls", "--ca", "/none.pem"], "--ca /none.pem"),
    ] {
        let (code, _, err) = said(&[&["blast", "127.0.0.1:1", "-c", "1"], args].concat());
        assert!(code == 2 && err.contains(words), "{args:?}: {err}");
    }
}

#[test]
fn stunnel_carries_the_stream() {
    let server = Serving::start(&[]);
    let at = free_port();
    let (certificate, key) = (pem("server.pem"), pem("server.key"));
    let connect = &server.address;
    let service = format!("accept = 127.0.0.1:{at}\nconnect = {connect}\ncert = {certificate}\nkey = {key}\n");
    let Some(_program) = stunnel(&service) else { return };
    let target = format!("127.0.0.1:{at}");
    let (code, out, err) =
        blast(&target, &["--ca", &pem("ca.pem"), "--close", "after-echo", "-c", "20", "--wait", "30s"]);
    assert_eq!(code, 0, "{out}{err}");
    server.stop();
}

#[test]
#[cfg(unix)]
fn a_unix_domain_socket_is_a_target_and_what_only_tcp_has_is_refused() {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).expect("the socket can be bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().expect("it can be shared"), stream);
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    let at = |path: &Path| format!("unix:{}", path.display());
    // More than wait in the listener's queue.
    let (code, out, err) = said(&["blast", &at(&path), "-c", "300", "-n", "5", "-q", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&at(&path)), "{out}");
    let (code, out, err) = said(&["check", &at(&path), "--filter", "1.", "--wait", "10s", "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    for (args, words) in [
        (&["--mss", "500"][..], "a Unix domain socket has no segments"),
        (&["--close", "reset"], "a Unix domain socket has no reset"),
        (&["--source", "127.0.0.2"], "a Unix domain socket has no addresses"),
        (&["--via", "http://a:1"], "a proxy reaches no Unix domain socket"),
    ] {
        let (code, _, err) = said(&[&["blast", &at(&path), "-c", "1"], args].concat());
        assert!(code == 2 && err.contains(words), "{args:?}: {err}");
    }
    let (code, _, err) = said(&["blast", &at(&folder.path().join("none")), "-c", "2", "-q"]);
    assert!(code == 4 && err.contains("start the server, or check the path"), "{err}");
}

/// Nothing connects: the flags are refused before that.
#[test]
#[cfg(target_os = "linux")]
fn what_only_tcp_has_is_refused_for_vsock() {
    for (args, words) in [
        (&["--mss", "500"][..], "a vsock socket has no segments"),
        (&["--urgent", "1"], "a vsock socket has no urgent data"),
        (&["--close", "reset"], "a vsock socket has no reset"),
        (&["--source", "127.0.0.2"], "a vsock socket has no addresses"),
        (&["--via", "http://a:1"], "a proxy reaches no vsock socket, and the target is vsock:local:7777"),
    ] {
        let (code, _, err) = said(&[&["blast", "vsock:local:7777", "-c", "1"], args].concat());
        assert!(code == 2 && err.replace("\n  ", " ").contains(words), "{args:?}: {err}");
    }
    let (code, _, err) = said(&["blast", "vsock:7777"]);
    assert!(code == 2 && err.contains("it has no CID: write vsock:local:7777"), "{err}");
}
