//! A target that was not there: one sentence about it, instead of a page of equal findings.

use crate::judge::verdict;
use crate::measure::Counters;
use crate::report::run::RunReport;
use crate::stream::FindingKind;
use crate::transport::{Endpoint, SocketKind};

/// What a user can do about a target that is not there, as far as it depends on the flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remedies {
    /// The target is the default one of `blast`, so perhaps nobody has started a server yet.
    pub is_default_target: bool,
    /// There are source addresses, which may be wrong.
    pub has_sources: bool,
    /// Something lies on the way, such as a proxy or TLS, which may be the cause; it says so.
    pub is_via: bool,
}

/// Why no connection of a run could be opened; `None` if one was, or if none was tried because of an interrupt.
pub fn why(report: &RunReport, target: &str, remedies: Remedies) -> Option<String> {
    if report.total.opened > 0 || report.interrupted {
        return None;
    }
    if let (0, Some(shortage)) = (report.total.connects, verdict::shortages(&report.total).first()) {
        return Some(format!("no connection to {target} could be opened: {shortage}"));
    }
    let cause = first_cause(report).unwrap_or_else(|| match is_absent(&report.total) {
        true => "every connect failed".to_owned(),
        false => "no connection was tried".to_owned(),
    });
    if report.backend.is_some_and(|backend| backend.tls > 0) {
        return Some(format!(
            "no connection to {target} could be opened: {cause}: the backend got the TLS handshake, and speaks no TLS: \
             leave --tls away, or have the proxy end it"
        ));
    }
    Some(sentence(&cause, target, remedies))
}

/// How the client's error begins when a source address is none of this machine's.
const NO_SUCH_SOURCE: &str = "this machine has no address";

fn sentence(cause: &str, target: &str, remedies: Remedies) -> String {
    if remedies.is_via {
        // Some say what to do themselves.
        let says = [": check", "write ", ": give ", "ask for ", ": renew ", "says why", "make one "]
            .iter()
            .any(|words| cause.contains(words));
        let remedy = if says { "" } else { ": check the target, and the way to it" };
        return format!("no connection to {target} could be opened: {cause}{remedy}");
    }
    let kind = SocketKind::of_target(target);
    if kind == SocketKind::Vsock {
        return of_vsock(cause, target);
    }
    if cause.contains("refused") {
        let remedy = match remedies.is_default_target {
            true => "start 'echo-tester serve', or add --serve, or name a target",
            false => "start the server, or check the address and the port",
        };
        return format!("nothing listens on {target} ({cause}): {remedy}");
    }
    if kind == SocketKind::Unix {
        return format!("no connection to {target} could be opened: {cause}: start the server, or check the path");
    }
    let remedy = match remedies.has_sources && cause.contains(NO_SUCH_SOURCE) {
        true => "give --source an address of this machine",
        false => "check the address, the network and any firewall",
    };
    format!("no connection to {target} could be opened: {cause}: {remedy}")
}

/// vsock tells a port without a listener by a reset, and a machine that is not there by a time limit.
fn of_vsock(cause: &str, target: &str) -> String {
    let is_this_machine = matches!(Endpoint::named_target(target), Some(Ok(Endpoint::Vsock { cid: 1, .. })));
    match cause {
        cause if cause.contains("load it: ") => format!("no connection to {target} could be opened: {cause}"),
        cause if cause.contains("reset") => {
            format!("nothing listens on {target} ({cause}): start the server, or check the CID and the port")
        }
        // In a guest without the module the host is asked, which does not answer.
        cause if is_this_machine => format!(
            "no connection to {target} could be opened: {cause}: a machine reaches itself by the module \
             vsock_loopback: see whether it is loaded"
        ),
        cause => {
            format!("no connection to {target} could be opened: {cause}: check the CID, and that its machine runs")
        }
    }
}

/// Whether every connect of a run was tried and failed: the target was not there.
pub fn is_absent(total: &Counters) -> bool {
    total.connects > 0 && total.opened == 0
}

fn first_cause(report: &RunReport) -> Option<String> {
    let mut findings = report.loads.iter().flat_map(|load| &load.findings);
    findings.find(|finding| finding.divergence.kind == FindingKind::ConnectFailed)?.cause.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_named_no_target_is_told_to_start_the_bundled_server() {
        let remedies = |is_default_target, has_sources| Remedies { is_default_target, has_sources, is_via: false };
        let refused = "Connection refused (os error 111)";
        assert!(sentence(refused, "127.0.0.1:7777", remedies(true, false)).contains("start 'echo-tester serve'"));
        let foreign = sentence(refused, "10.0.0.1:80", remedies(false, false));
        assert!(foreign.ends_with("start the server, or check the address and the port"), "{foreign}");
        let no_route = sentence("no route to host", "a:1", remedies(true, true));
        assert!(no_route.ends_with("check the address, the network and any firewall"), "{no_route}");
        let no_source = sentence("this machine has no address 8.8.8.8: EADDRNOTAVAIL", "a:1", remedies(true, true));
        assert!(no_source.ends_with("EADDRNOTAVAIL: give --source an address of this machine"), "{no_source}");
        let reset = sentence("Connection reset by peer (os error 104)", "vsock:1:7777", remedies(false, false));
        assert!(reset.starts_with("nothing listens on vsock:1:7777 (") && reset.ends_with("the port"), "{reset}");
        let no_machine = sentence("Connection timed out (os error 110)", "vsock:3:7777", remedies(false, false));
        assert!(no_machine.ends_with(": check the CID, and that its machine runs"), "{no_machine}");
        let no_module = sentence("load it: modprobe vsock_loopback", "vsock:1:7777", remedies(false, false));
        assert!(no_module.ends_with(": load it: modprobe vsock_loopback"), "{no_module}");
        let via = Remedies { is_via: true, ..Remedies::default() };
        let by_proxy = sentence("the SOCKS5 proxy p:1 refused the connect to a:1", "a:1", via);
        assert!(by_proxy.starts_with("no connection to a:1 could be opened: the SOCKS5 proxy p:1"), "{by_proxy}");
    }
}
