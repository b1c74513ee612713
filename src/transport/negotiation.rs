//! The preamble of one connection: a dialogue with each proxy in turn, then the header for the target.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::dialogue::{Dialogue, Refusal};
use super::preamble::{Hop, Preamble};

/// How far the preamble of a connection has come.
pub struct Negotiation {
    preamble: Arc<Preamble>,
    /// The proxy that is spoken to; past the last one: the header is under way, or all is said.
    hop: usize,
    dialogue: Option<Box<dyn Dialogue>>,
    to_send: Vec<u8>,
    sent: usize,
    /// What has come of the next part of the answer.
    part: Vec<u8>,
    /// The ends that the header names.
    ends: (Option<SocketAddr>, Option<SocketAddr>),
}

impl Negotiation {
    /// The preamble of a connection between these addresses, of which nothing was said yet.
    pub fn new(preamble: Arc<Preamble>, local: Option<SocketAddr>, remote: Option<SocketAddr>) -> Negotiation {
        // Behind a proxy, the target is what the last one was asked for.
        let target = match preamble.hops.last().map(|hop| &hop.asked_for) {
            None => remote,
            Some(super::HostPort::Address(address)) => Some(*address),
            Some(super::HostPort::Name(..)) => None,
        };
        let ends = (local, target);
        let mut negotiation =
            Negotiation { preamble, hop: 0, dialogue: None, to_send: Vec::new(), sent: 0, part: Vec::new(), ends };
        negotiation.begin_hop();
        negotiation
    }

    /// What is to be sent now; may be empty.
    pub fn to_send(&self) -> &[u8] {
        &self.to_send[self.sent..]
    }

    /// This many bytes of it were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// How many bytes may be received now, at most. No more than that may be read, for the rest may be of the stream.
    pub fn wanted(&self) -> usize {
        self.dialogue.as_ref().map_or(0, |dialogue| dialogue.wanted() - self.part.len())
    }

    /// Whether all is said, so that the stream begins.
    pub fn is_done(&self) -> bool {
        self.dialogue.is_none() && self.to_send().is_empty()
    }

    /// Takes received bytes, no more than were [`wanted`](Self::wanted).
    ///
    /// # Errors
    /// A proxy refuses; the error names it, what it was asked for and what it answered.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(dialogue) = &mut self.dialogue else { return Ok(()) };
        self.part.extend_from_slice(bytes);
        if self.part.len() < dialogue.wanted() {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        let next = dialogue.take(&part);
        let is_open = dialogue.wanted() == 0;
        let next = next.map_err(|refusal| self.refused(refusal))?;
        self.send(next);
        if is_open {
            self.hop += 1;
            self.begin_hop();
        }
        Ok(())
    }

    /// The error of a connection that ended before the stream began.
    pub fn ended(&self, error: Option<io::Error>) -> io::Error {
        let kind = error.as_ref().map_or(io::ErrorKind::UnexpectedEof, io::Error::kind);
        let how = match error {
            None => "closed the connection".to_owned(),
            Some(error) => format!("ended the connection ({error})"),
        };
        match self.current() {
            None => io::Error::new(kind, format!("it {how} before the PROXY header was sent")),
            Some(hop) => {
                let (proxy, target) = (hop.proxy.in_words(), &hop.asked_for);
                let problem = format!("the {proxy} {how} when it was asked for {target}");
                io::Error::new(kind, format!("{problem}: check its log, and the scheme of --via"))
            }
        }
    }

    /// The error of a preamble that took too long.
    pub fn timed_out(&self, limit: std::time::Duration) -> io::Error {
        let why = match self.current() {
            None => format!("it did not take the PROXY header within {limit:?}"),
            Some(hop) => format!(
                "the {} did not answer within {limit:?} when it was asked for {}: check that the target is up, or give \
                 --connect-timeout more time",
                hop.proxy.in_words(),
                hop.asked_for
            ),
        };
        io::Error::new(io::ErrorKind::TimedOut, why)
    }

    /// The proxy that is spoken to.
    fn current(&self) -> Option<&Hop> {
        self.preamble.hops.get(self.hop)
    }

    fn begin_hop(&mut self) {
        self.dialogue = self.current().map(Hop::dialogue);
        let next = match (&mut self.dialogue, self.preamble.header) {
            (Some(dialogue), _) => dialogue.begin(),
            (None, Some(header)) => header.bytes(self.ends.0, self.ends.1),
            (None, None) => Vec::new(),
        };
        self.send(next);
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.to_send.drain(..self.sent);
        self.sent = 0;
        self.to_send.extend(bytes);
    }

    fn refused(&self, refusal: Refusal) -> io::Error {
        let Some(Hop { proxy, asked_for }) = self.current() else { return io::ErrorKind::InvalidData.into() };
        let name = proxy.in_words();
        match refusal {
            Refusal::Connect(why) => io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("the {name} refused the connect to {asked_for}: {why}"),
            ),
            Refusal::User(why) => io::Error::new(io::ErrorKind::PermissionDenied, format!("the {name}: {why}")),
            Refusal::Foreign(answer) => {
                let speaks = proxy.protocol.scheme();
                let why = format!("does not speak {speaks}: it answered {answer}: check the scheme and the port");
                io::Error::new(io::ErrorKind::InvalidData, format!("the {name} {why}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HostPort, ProxyHeader};
    use super::*;

    fn hop(proxy: &str, host: &str) -> Hop {
        Hop { proxy: proxy.parse().expect("it is a proxy"), asked_for: HostPort::new(host, 80) }
    }

    fn negotiation(hops: Vec<Hop>, header: Option<ProxyHeader>) -> Negotiation {
        let preamble = Preamble { target: "t:80".to_owned(), hops, header, tls: None };
        let local = Some(SocketAddr::from(([127, 0, 0, 1], 5)));
        Negotiation::new(Arc::new(preamble), local, Some(SocketAddr::from(([127, 0, 0, 1], 7))))
    }

    /// Sends what is to be sent, and receives the answer byte by byte until it is not wanted any more. Returns what was
    /// sent, and how much of the answer was taken.
    fn exchange(negotiation: &mut Negotiation, mut answer: &[u8]) -> (Vec<u8>, usize) {
        let (mut sent, all) = (Vec::new(), answer.len());
        loop {
            let now = negotiation.to_send().to_vec();
            negotiation.sent(now.len());
            sent.extend(now);
            let [first, rest @ ..] = answer else { break };
            if negotiation.wanted() == 0 {
                break;
            }
            negotiation.receive(&[*first]).expect("the answer is right");
            answer = rest;
        }
        (sent, all - answer.len())
    }

    #[test]
    fn a_chain_asks_each_proxy_for_the_next_and_the_last_for_the_target() {
        let hops = vec![hop("socks5://a:1", "10.0.0.2"), hop("http://10.0.0.2:80", "target.example")];
        let mut chain = negotiation(hops, Some(ProxyHeader::V1));
        let socks = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let answer = [&socks[..], b"HTTP/1.1 200 OK\r\n\r\nstream"].concat();
        let (sent, taken) = exchange(&mut chain, &answer);
        assert!(chain.is_done());
        assert_eq!(taken, answer.len() - b"stream".len());
        let expected = [
            &[5, 1, 0][..],
            &[5, 1, 0, 1, 10, 0, 0, 2, 0, 80],
            b"CONNECT target.example:80 HTTP/1.1\r\nHost: target.example:80\r\n\r\n",
            b"PROXY UNKNOWN\r\n",
        ];
        assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&expected.concat()));
    }

    #[test]
    fn without_a_proxy_the_header_names_both_ends() {
        let mut header = negotiation(Vec::new(), Some(ProxyHeader::V1));
        assert!(!header.is_done());
        assert_eq!(exchange(&mut header, b"").0, b"PROXY TCP4 127.0.0.1 127.0.0.1 5 7\r\n");
        assert!(header.is_done());
        let mut behind = negotiation(vec![hop("socks4a://a:1", "10.0.0.9")], Some(ProxyHeader::V1));
        let (sent, _) = exchange(&mut behind, &[0, 90, 0, 0, 0, 0, 0, 0]);
        assert!(sent.ends_with(b"PROXY TCP4 127.0.0.1 10.0.0.9 5 80\r\n"), "{sent:?}");
    }

    #[test]
    fn errors_name_the_proxy_what_it_was_asked_for_and_what_it_answered() {
        let of = |proxy: &str, answer: &[u8]| {
            let mut negotiation = negotiation(vec![hop(proxy, "10.0.0.9")], None);
            let n = negotiation.to_send().len();
            negotiation.sent(n);
            answer.iter().find_map(|byte| negotiation.receive(&[*byte]).err()).expect("it is refused").to_string()
        };
        assert_eq!(
            of("socks5://127.0.0.1:1080", &[5, 0, 5, 5, 0, 1, 0]),
            "the SOCKS5 proxy 127.0.0.1:1080 refused the connect to 10.0.0.9:80: connection refused by the target \
             (reply 5)"
        );
        assert_eq!(
            of("http://p:3128", b"HTTP/1.1 403 Forbidden\r\n\r\n"),
            "the HTTP proxy p:3128 refused the connect to 10.0.0.9:80: HTTP/1.1 403 Forbidden"
        );
        assert_eq!(
            of("socks5://p:22", b"SSH-2.0"),
            "the SOCKS5 proxy p:22 does not speak socks5: it answered \"SS\": check the scheme and the port"
        );
        let closed = negotiation(vec![hop("http://p:1", "a.b")], None).ended(None).to_string();
        assert!(
            closed.starts_with("the HTTP proxy p:1 closed the connection when it was asked for a.b:80"),
            "{closed}"
        );
    }
}
