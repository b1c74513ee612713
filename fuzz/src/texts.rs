//! What people write in a flag or a key: it is understood or refused, and what was understood reads the same when it
//! is printed and read again.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use echo_tester::config::{
    ConnList, Fragment, ListenAddress, LoadArgs, NamedCommand, Pipeline, Readiness, Seed, SourceAddresses, StartTime,
    Sweep, ZonedIp, without_brackets,
};
use echo_tester::judge::threshold::Threshold;
use echo_tester::plan::{
    Close, ConnId, ConnectionPlan, Distribution, FirstBytes, Flow, Lifetime, PlanStep, PortRange, Read, Reconnect,
    Shard, Slots, TimeRange, Verify,
};
use echo_tester::server::fault::Fault;
use echo_tester::transport::{
    Endpoint, FirstBytesRead, Hop, HostPort, Negotiation, PairingRead, PairingToken, Preamble, ProxyUrl, read_pairing,
    read_proxy_header,
};
use echo_tester::units::{ByteRate, Bytes, Count, Rate, Time};

use super::input::Input;

/// Reads a text as `T`. What is printed of the value is read as the same value.
fn round_trip<T>(text: &str) -> Option<T>
where
    T: FromStr + Display + PartialEq + Debug,
    T::Err: Display,
{
    match text.parse::<T>() {
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says what is wrong");
            None
        }
        Ok(value) => {
            let shown = value.to_string();
            match shown.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} is shown as {shown:?}, which is another value"),
                Err(error) => panic!("{text:?} is shown as {shown:?}, which is refused: {error}"),
            }
            Some(value)
        }
    }
}

/// Only that reading it ends.
fn read<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Thresholds.
pub fn threshold(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round_trip::<Threshold>(text);
}

/// Every unit, distribution and keyword of a load.
pub fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round_trip::<Count>(text);
    round_trip::<Bytes>(text);
    round_trip::<Time>(text);
    round_trip::<Rate>(text);
    round_trip::<ByteRate>(text);
    round_trip::<TimeRange>(text);
    round_trip::<Shard>(text);
    round_trip::<PortRange>(text);
    round_trip::<Close>(text);
    round_trip::<Verify>(text);
    round_trip::<Read>(text);
    round_trip::<Lifetime>(text);
    round_trip::<Reconnect>(text);
    read::<Flow>(text);
    round_trip::<FirstBytes>(text);
    round_trip::<Pipeline>(text);
    round_trip::<Seed>(text);
    round_trip::<ConnList>(text);
    round_trip::<StartTime>(text);
    round_trip::<Readiness>(text);
    read::<Sweep>(text);
    read::<NamedCommand>(text);
    let fragment = round_trip::<Fragment>(text);
    if let Some(size) = round_trip::<Distribution>(text) {
        draws_within_its_bounds(size, fragment);
    }
}

/// A plan with this size of message: no message is larger than the size allows, and its writes add up to it.
fn draws_within_its_bounds(size: Distribution, fragment: Option<Fragment>) {
    let most = size.max();
    let args = LoadArgs { size: Some(size), fragment, messages: Some(Count(20)), ..LoadArgs::default() };
    let Ok(profile) = args.resolve("load") else { return };
    let Ok(slots) = Slots::new([&profile]) else { return };
    let Some(conn) = ConnId::new(0) else { return };
    let (mut plan, mut unwritten) = (ConnectionPlan::new(Arc::new(profile), 1, slots.slot(0), conn), 0);
    // A message of 1 GiB in fragments of one byte has too many steps.
    for step in plan.by_ref().take(2_000) {
        match step {
            PlanStep::Message { len, .. } => {
                assert_eq!(unwritten, 0, "the message before is written");
                assert!(len <= most, "{len} is more than {most}");
                unwritten = len;
            }
            PlanStep::Write { len } => {
                assert!(len > 0 && len as u64 <= unwritten, "{len} of {unwritten}");
                unwritten -= len as u64;
            }
            PlanStep::Gap(_) => {}
            PlanStep::Close(_) => assert_eq!(unwritten, 0, "everything is written before the end"),
        }
    }
}

/// Faults on purpose.
pub fn fault_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(fault) = round_trip::<Fault>(text) {
        let _ = (fault.is_placed(), fault.ends_connection(), fault.queue_limit(), fault.reach());
    }
}

/// Targets, sources, listen addresses and proxies, and what a proxy or a client says before the stream.
pub fn addresses(data: &[u8]) {
    header(data);
    let (text, answer) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    round_trip::<ListenAddress>(text);
    round_trip::<SourceAddresses>(text);
    let (host, zone) = without_brackets(text);
    let _ = (zone, HostPort::new(host, 1).to_string());
    if let Some(Ok(endpoint)) = Endpoint::named(text) {
        assert_eq!(Endpoint::named(&endpoint.to_string()), Some(Ok(endpoint)));
    }
    if let Some(Ok(ip)) = ZonedIp::parse(text, str::to_owned) {
        assert_eq!(ip.with_port(7).port(), 7);
    }
    if let Ok(proxy) = text.parse::<ProxyUrl>() {
        let _ = (proxy.short(), proxy.in_words());
        negotiate(proxy, answer.get(1..).unwrap_or_default());
    }
}

/// The header of the PROXY protocol: what is read is a prefix, and no shorter prefix is taken for a whole header. Bytes
/// that nobody made with the token are no pairing.
fn header(data: &[u8]) {
    let token = "a token of the fuzzer".parse::<PairingToken>().expect("any text is a token");
    assert!(!matches!(read_pairing(data, &token), PairingRead::Paired(_)), "{data:?}");
    if let FirstBytesRead::Header(header) = read_proxy_header(data) {
        assert!(header.len <= data.len(), "the header is in the bytes");
        assert_eq!(read_proxy_header(&data[..header.len]), FirstBytesRead::Header(header));
        for shorter in [0, 1, header.len / 2, header.len - 1] {
            assert_eq!(read_proxy_header(&data[..shorter]), FirstBytesRead::Partial, "{shorter} of {}", header.len);
        }
    }
}

/// A proxy that answers with these bytes, in pieces whose sizes are among them.
fn negotiate(proxy: ProxyUrl, answer: &[u8]) {
    let asked_for = HostPort::new("echo.example", 7);
    let hops = vec![Hop { proxy: proxy.clone(), asked_for: asked_for.clone() }, Hop { proxy, asked_for }];
    let preamble = Preamble { target: "echo.example:7".to_owned(), hops, header: None, tls: None };
    let (local, remote) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let mut negotiation = Negotiation::new(Arc::new(preamble), Some(local), Some(remote));
    let mut input = Input(answer);
    while !negotiation.is_done() && !input.is_empty() {
        let unsent = negotiation.to_send().len();
        negotiation.sent(unsent);
        let size = input.below(64) + 1;
        let piece = input.take(size.min(negotiation.wanted()));
        if let Err(error) = negotiation.receive(piece) {
            assert!(!error.to_string().is_empty());
            return;
        }
    }
    let _ = negotiation.ended(None);
}
