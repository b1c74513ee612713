//! The addresses of a target for a case that asks for a family of them: IPv6, or both families in turn.

use std::net::SocketAddr;

use super::target_address;
use crate::client::target;
use crate::config::AddressFamily;
use crate::interrupt;

/// The addresses that connections of the case go to. The inner error says why the case can't be judged by this target:
/// a name has no address of that family, or nothing listens there, which is nobody's fault.
///
/// # Errors
/// As [`target_address::resolve`].
pub(super) fn addresses(text: &str, family: AddressFamily) -> anyhow::Result<Result<Vec<SocketAddr>, String>> {
    let resolved = target_address::resolve(text)?;
    if family == AddressFamily::Any {
        return Ok(Ok(resolved));
    }
    // A zone is known to the text alone; such an address is the only one.
    let name = text.to_owned();
    let answering = match interrupt::unless_requested(move || target::answering(&name)) {
        Ok(Ok(answering)) => answering,
        _ => resolved,
    };
    let (six, four): (Vec<_>, Vec<_>) = answering.into_iter().partition(SocketAddr::is_ipv6);
    Ok(chosen(text, family, six, four))
}

fn chosen(
    text: &str,
    family: AddressFamily,
    six: Vec<SocketAddr>,
    four: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, String> {
    // Of an address there is one family alone: then nothing was asked.
    let is_address = text.parse::<SocketAddr>().is_ok();
    let lacks = |family: &str| match is_address {
        true => Err(format!("{text} is no {family} address: name the target by a host name that has one")),
        false => Err(format!("{text} takes no connections at an {family} address")),
    };
    match family {
        _ if six.is_empty() && family != AddressFamily::Any => lacks("IPv6"),
        AddressFamily::DualStack if four.is_empty() => lacks("IPv4"),
        AddressFamily::Ipv6 => Ok(six),
        // One of each, so that connections take the families in turn.
        AddressFamily::DualStack => Ok(vec![six[0], four[0]]),
        AddressFamily::Any => Ok([six, four].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_the_target_does_not_have_is_told() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (six, four) = (vec![at("[::1]:7"), at("[::2]:7")], vec![at("127.0.0.1:7"), at("127.0.0.2:7")]);
        let of = |family, six: &[SocketAddr], four: &[SocketAddr]| chosen("host:7", family, six.into(), four.into());
        assert_eq!(of(AddressFamily::Ipv6, &six, &four), Ok(six.clone()));
        assert_eq!(of(AddressFamily::DualStack, &six, &four), Ok(vec![six[0], four[0]]));
        let why = "host:7 takes no connections at an IPv6 address".to_owned();
        assert_eq!(of(AddressFamily::Ipv6, &[], &four), Err(why.clone()));
        assert_eq!(of(AddressFamily::DualStack, &[], &four), Err(why));
        let why = "host:7 takes no connections at an IPv4 address".to_owned();
        assert_eq!(of(AddressFamily::DualStack, &six, &[]), Err(why));
        let why = "127.0.0.1:7 is no IPv6 address: name the target by a host name that has one".to_owned();
        assert_eq!(chosen("127.0.0.1:7", AddressFamily::Ipv6, vec![], four), Err(why));
    }

    #[test]
    fn a_target_of_one_family_alone_is_not_judged_by_the_other() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let target = listener.local_addr().expect("the listener is bound").to_string();
        assert!(addresses(&target, AddressFamily::Ipv6).expect("it resolves").is_err());
        assert!(addresses(&target, AddressFamily::DualStack).expect("it resolves").is_err());
        let any = addresses(&target, AddressFamily::Any).expect("it resolves").expect("any will do");
        assert_eq!(any, [listener.local_addr().expect("the listener is bound")]);
    }
}
