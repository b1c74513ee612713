//! HTTP CONNECT (RFC 9110, 9.3.6): any 2xx answer opens the way at the blank line that ends its header.
//!
//! The bytes after that line belong to the stream, and there is no length to tell where it is. So the header is read in
//! pieces that can't go past it: as many bytes as its end has at least.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::dialogue::{Dialogue, Refusal, shown};
use super::host_port::HostPort;
use super::proxy_url::{Credentials, HIDDEN};

/// A longer header is refused. Servers and clients of HTTP take 8 KiB at least, most of them no more than 64.
const MAX_HEADER: usize = 64 * 1024;

/// The dialogue with an HTTP proxy.
pub(super) struct HttpConnect {
    target: HostPort,
    credentials: Option<Credentials>,
    header: Vec<u8>,
    is_open: bool,
}

impl HttpConnect {
    pub(super) fn new(target: HostPort, credentials: Option<Credentials>) -> HttpConnect {
        HttpConnect { target, credentials, header: Vec::new(), is_open: false }
    }

    /// What the header says.
    fn verdict(&self) -> Result<(), Refusal> {
        let text = String::from_utf8_lossy(&self.header);
        let first = &*self.without_credentials(text.lines().next().unwrap_or_default());
        let code = first.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        match code {
            Some(200..=299) => Ok(()),
            Some(401 | 407) if self.credentials.is_none() => {
                Err(Refusal::User(format!("it wants a user name and a password: write http://user:pass@… ({first})")))
            }
            // 401 is for servers, and some proxies say it.
            Some(401 | 407) => {
                Err(Refusal::User(format!("it does not accept the user name and the password: check them ({first})")))
            }
            Some(_) => Err(Refusal::Connect(first.to_owned())),
            None => Err(Refusal::Foreign(self.without_credentials(&shown(&self.header)))),
        }
    }

    /// A text of the proxy, which may repeat what it was sent.
    fn without_credentials(&self, text: &str) -> String {
        let Some(Credentials { user, password }) = &self.credentials else { return text.to_owned() };
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let secrets = [encoded.as_str(), encoded.trim_end_matches('='), password];
        // An empty password is no secret, and stands everywhere.
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

impl Dialogue for HttpConnect {
    fn begin(&mut self) -> Vec<u8> {
        let target = &self.target;
        let mut sent = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(Credentials { user, password }) = &self.credentials {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            sent.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
        }
        sent.push_str("\r\n");
        sent.into_bytes()
    }

    /// A line may end without a carriage return (RFC 9112, 2.2), so the shortest end is two line feeds.
    fn wanted(&self) -> usize {
        match &self.header[..] {
            _ if self.is_open => 0,
            [.., b'\n'] | [.., b'\n', b'\r'] => 1,
            _ => 2,
        }
    }

    fn take(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.header.extend_from_slice(part);
        let begin = b"HTTP/";
        let known = self.header.len().min(begin.len());
        if self.header[..known] != begin[..known] {
            return Err(Refusal::Foreign(self.without_credentials(&shown(&self.header))));
        }
        if self.header.ends_with(b"\n\n") || self.header.ends_with(b"\n\r\n") {
            self.verdict()?;
            self.is_open = true;
        } else if self.header.len() > MAX_HEADER {
            return Err(Refusal::Connect(format!("the header of its answer has more than {MAX_HEADER} bytes")));
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialogue::converse;
    use super::*;

    fn connect(credentials: Option<Credentials>) -> HttpConnect {
        HttpConnect::new(HostPort::new("a.b", 80), credentials)
    }

    fn user() -> Option<Credentials> {
        Some(Credentials { user: "joe".to_owned(), password: "p:w".to_owned() })
    }

    #[test]
    fn the_target_goes_to_the_proxy_as_it_was_written_and_the_user_in_a_header() {
        let asked = |dialogue: &mut HttpConnect| String::from_utf8(dialogue.begin()).expect("it is text");
        assert_eq!(asked(&mut connect(None)), "CONNECT a.b:80 HTTP/1.1\r\nHost: a.b:80\r\n\r\n");
        assert!(asked(&mut connect(user())).contains("\r\nProxy-Authorization: Basic am9lOnA6dw==\r\n\r\n"));
        let six = asked(&mut HttpConnect::new(HostPort::new("::1", 80), None));
        assert!(six.starts_with("CONNECT [::1]:80 HTTP/1.1\r\n"), "{six}");
    }

    #[test]
    fn a_proxy_that_repeats_what_it_was_sent_tells_no_password() {
        for answer in ["HTTP/1.1 407 joe:p:w am9lOnA6dw==\r\n\r\n", "joe p:w am9lOnA6dw\r\n\r\n"] {
            let (_, _, refusal) = converse(&mut connect(user()), answer.as_bytes(), answer.len());
            let said = format!("{refusal:?}");
            assert!(said.contains("***") || !answer.starts_with("HTTP"), "{said}");
            assert!(!said.contains("p:w") && !said.contains("am9l"), "{said}");
        }
    }

    #[test]
    fn no_byte_behind_the_blank_line_is_taken_whatever_the_cut_and_the_line_ends() {
        let headers = [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n",
            "HTTP/1.1 200\n\n",
            "HTTP/1.1 204 No\r\nA: b\n\r\n",
        ];
        for header in headers {
            for stream in ["stream", "\r\n\r\nstream", "\n\n"] {
                let answer = format!("{header}{stream}");
                for cut in 1..=answer.len() {
                    let mut dialogue = connect(None);
                    let (sent, taken, refusal) = converse(&mut dialogue, answer.as_bytes(), cut);
                    assert_eq!((sent.len(), taken, refusal), (0, header.len(), None), "{header:?} by {cut}");
                    assert_eq!(dialogue.wanted(), 0);
                }
            }
        }
    }

    #[test]
    fn each_refusal_says_why() {
        let refusal = |answer: &str, user| converse(&mut connect(user), answer.as_bytes(), 7).2;
        let of_connect = Some(Refusal::Connect("HTTP/1.1 503 Service Unavailable".to_owned()));
        assert_eq!(refusal("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nbody", None), of_connect);
        let unknown = refusal("HTTP/1.1 407 Who?\r\n\r\n", None);
        assert!(matches!(unknown, Some(Refusal::User(why)) if why.contains("http://user:pass@")));
        let wrong = refusal("HTTP/1.1 407 Who?\r\n\r\n", user());
        assert!(matches!(wrong, Some(Refusal::User(why)) if why.contains("does not accept")));
        assert_eq!(refusal("SSH-2.0-x\r\n", None), Some(Refusal::Foreign("\"SS\"".to_owned())));
        assert!(matches!(refusal("HTTP/1.1 x\r\n\r\n", None), Some(Refusal::Foreign(_))));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEADER));
        assert!(matches!(refusal(&endless, None), Some(Refusal::Connect(why)) if why.contains("more than 65536")));
    }
}
