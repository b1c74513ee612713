//! IP addresses as users write them, with the zone that a link-local one needs: `fe80::1%eth0` (RFC 4007, section 11).
//!
//! Every link has the same link-local addresses, so such an address means nothing without the interface that leads to
//! its link. The standard library reads zones only as numbers. This is the one place that reads them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::sys;
use crate::units::ParseError;
use crate::units::text::alternatives;

/// An IP address, and its zone if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonedIp {
    /// The address.
    pub ip: IpAddr,
    /// Its zone.
    pub zone: Option<Zone>,
}

/// The zone of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The number of the interface.
    pub index: u32,
    /// The zone as it was written: the name of the interface, or its number.
    text: String,
}

impl ZonedIp {
    /// Reads an address without brackets. `None`: the text is no IP address at all. `written` is how an address with
    /// its zone is to be written here.
    ///
    /// # Errors
    /// The zone does not exist, or is missing; the error says what to write.
    pub fn parse(text: &str, written: impl Fn(&str) -> String) -> Option<Result<ZonedIp, ParseError>> {
        let (address, zone) = match text.split_once('%') {
            // What follows belongs to a longer text, such as one with a port.
            Some((_, zone)) if zone.contains([':', ']']) => return None,
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().ok()?;
        Some(Zone::of(ip, zone, written).map(|zone| ZonedIp { ip, zone }))
    }

    /// The address of this port, as it is written.
    pub fn written_with_port(&self, port: u16) -> String {
        if self.ip.is_ipv4() { format!("{self}:{port}") } else { format!("[{self}]:{port}") }
    }

    /// The address of this port.
    pub fn with_port(&self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.zone.as_ref().map_or(0, |zone| zone.index)).into(),
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
        }
    }
}

/// An IPv6 address without brackets as the address and the port that the writer probably meant: `::1:80` is read as
/// port 80 of `::1`, although it is an address too. The port is `None` if the text can only be an address.
pub fn without_brackets(text: &str) -> (&str, Option<&str>) {
    let is_address = |text: &str| text.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        Some((address, port)) if is_address(address) && is_port(port) => (address, Some(port)),
        _ => (text, None),
    }
}

impl Zone {
    /// The zone of this address.
    fn of(ip: IpAddr, zone: Option<&str>, written: impl Fn(&str) -> String) -> Result<Option<Zone>, ParseError> {
        let wrong = |problem: String| ParseError::new(problem).with_remedy(remedy(ip, written));
        match (ip, zone) {
            (IpAddr::V6(ip), None) if ip.is_unicast_link_local() => {
                Err(wrong(format!("{ip} is a link-local address, which needs its zone, the interface")))
            }
            (_, None) => Ok(None),
            (IpAddr::V4(_), Some(zone)) => {
                Err(ParseError::new(format!("{ip}%{zone}: an IPv4 address has no zone"))
                    .with_remedy(format!("write {ip}")))
            }
            (_, Some(text)) => match index(text) {
                Some(index) => Ok(Some(Zone { index, text: text.to_owned() })),
                None => Err(wrong(format!("{ip}%{text}: this machine has no interface '{text}'"))),
            },
        }
    }
}

impl fmt::Display for ZonedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)?;
        self.zone.as_ref().map_or(Ok(()), |zone| zone.fmt(f))
    }
}

/// With the percent sign that stands before it.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.text)
    }
}

/// The number of an interface, by its number or its name.
fn index(text: &str) -> Option<u32> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok().filter(|index| *index > 0),
        false => sys::interface_index(text),
    }
}

/// An address without its zone from elsewhere, such as a resolver, is answered like one that was typed.
///
/// # Errors
/// The address is link-local and has no zone.
pub fn check(address: SocketAddr) -> Result<(), ParseError> {
    match address {
        SocketAddr::V6(address) if address.scope_id() == 0 => {
            let written = |ip: &str| format!("[{ip}]:{}", address.port());
            Zone::of((*address.ip()).into(), None, written).map(drop)
        }
        _ => Ok(()),
    }
}

/// What to write instead of an address without a zone, or with a wrong one.
fn remedy(ip: IpAddr, written: impl Fn(&str) -> String) -> String {
    let interfaces = sys::link_local_interfaces();
    let with_zone: Vec<String> = interfaces.iter().map(|name| written(&format!("{ip}%{name}"))).collect();
    match with_zone.is_empty() {
        false => format!("write {}", alternatives(&with_zone)),
        true if cfg!(windows) => {
            let example = written(&format!("{ip}%12"));
            format!("write {example}, with the number that 'netsh interface ipv6 show addresses' shows")
        }
        true => {
            let example = written(&format!("{ip}%NAME"));
            format!("write {example}; at the moment no interface here has a link-local address")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        ZonedIp::parse(text, str::to_owned).expect("it is an address").expect_err(text).to_string()
    }

    #[test]
    fn a_zone_is_a_number_or_the_name_of_an_interface() {
        let parse = |text: &str| ZonedIp::parse(text, str::to_owned);
        let read = |text: &str| parse(text).expect("it is an address").expect(text).with_port(80).to_string();
        assert_eq!(read("fe80::1%7"), "[fe80::1%7]:80");
        assert_eq!((read("::1"), read("10.0.0.1")), ("[::1]:80".to_owned(), "10.0.0.1:80".to_owned()));
        #[cfg(target_os = "linux")]
        assert_eq!(read("fe80::1%lo"), "[fe80::1%1]:80");
        assert_eq!((parse("localhost"), parse("a%lo"), parse("fe80::1%lo]:80")), (None, None, None));
    }

    #[test]
    fn a_last_group_that_can_be_a_port_is_one() {
        for (text, address, port) in [
            ("::1:5000", "::1", Some("5000")),
            ("fd00::1:80", "fd00::1", Some("80")),
            ("fe80::1%7:80", "fe80::1%7", Some("80")),
            ("::1", "::1", None),
            ("fe80::", "fe80::", None),
            ("fe80::1%7", "fe80::1%7", None),
            ("::1:0", "::1:0", None),
            ("::1:beef", "::1:beef", None),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", None),
        ] {
            assert_eq!(without_brackets(text), (address, port), "{text}");
        }
    }

    #[test]
    fn a_zone_that_is_missing_or_wrong_is_answered_with_what_to_write() {
        let missing = refusal("fe80::1");
        assert!(missing.contains("needs its zone") && missing.contains("write fe80::1%"), "{missing}");
        for text in ["fe80::1%nosuch", "fe80::1%", "fe80::1%0"] {
            assert!(refusal(text).contains("this machine has no interface"), "{}", refusal(text));
        }
        assert!(refusal("10.0.0.1%lo").contains("write 10.0.0.1"));
        let no_zone = SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 80));
        assert!(check(no_zone).is_err());
        assert!(check("[fe80::1%3]:80".parse().expect("the zone is a number")).is_ok());
        assert!(check("[::1]:80".parse().expect("it has no zone")).is_ok());
    }
}
