//! Values of a load group that are right on their own and exclude each other.

use super::error::ConfigError;
use crate::plan::{Close, Lifetime, Profile, Read, Reconnect};
use crate::stream::MAX_SHARED_STREAM_BYTES;
use crate::units::{Bytes, Rate, Time};

/// Refuses a profile whose values exclude each other.
pub(super) fn check(profile: &Profile) -> Result<(), ConfigError> {
    check_reading(profile)?;
    check_pace(profile)?;
    check_end_of_run(profile)?;
    check_opening(profile)?;
    check_urgent(profile)?;
    check_reconnects(profile)
}

fn check_reading(profile: &Profile) -> Result<(), ConfigError> {
    let waits = matches!(profile.close, Close::HalfClose | Close::HalfCloseReset | Close::AfterEcho | Close::Together);
    if profile.read == Read::Never && waits {
        let problem = "it waits for the echo, which is never read with `read = never`";
        return Err(ConfigError::new("close", profile.close, problem).remedy("write keep, abandon or reset"));
    }
    check_rates(profile)
}

/// Refuses a rate of messages that nobody reads. In an echo, the client's own reading decides; where both ends are
/// ours, that of the other end.
fn check_rates(profile: &Profile) -> Result<(), ConfigError> {
    let client = (("read", profile.read), ("rate", profile.rate));
    let refused = |(key, read): (&str, Read), (of, rate): (&'static str, Option<Rate>)| match rate {
        Some(rate) if matches!(read, Read::Never | Read::AfterStall) => {
            let problem = format!("with `{key} = {read}` writing stalls, so no rate can be kept");
            Err(ConfigError::new(of, rate, problem).remedy("leave out one of them"))
        }
        _ => Ok(()),
    };
    let Some(other) = profile.backend.as_deref() else { return refused(client.0, client.1) };
    let server = (("backend_read", other.read), ("backend_rate", other.rate));
    refused(server.0, client.1)?;
    refused(client.0, server.1)?;
    // The writes of a side that keeps its rate never stall, so it would never read after their stall.
    for (reading, rate) in [client, server] {
        if reading.1 == Read::AfterStall {
            refused(reading, rate)?;
        }
    }
    Ok(())
}

fn check_pace(profile: &Profile) -> Result<(), ConfigError> {
    if let (Some(rate), false) = (profile.connect_rate, profile.ramp.is_zero()) {
        let all = Time(Rate::due(rate, u64::from(profile.conns)));
        let problem = format!("`connect_rate = {rate}` already sets how fast connections open (all within {all})");
        return Err(ConfigError::new("ramp", Time(profile.ramp), problem).remedy("leave out one of them"));
    }
    if let (Some(rate), false) = (profile.close_rate, profile.ramp_down.is_zero()) {
        let problem = format!("`close_rate = {rate}` already sets how fast connections end");
        return Err(ConfigError::new("ramp_down", Time(profile.ramp_down), problem).remedy("leave out one of them"));
    }
    let last = profile.all_open_at();
    match profile.duration {
        Some(duration) if last >= duration => {
            let (key, value) = match profile.connect_rate {
                Some(rate) => ("connect_rate", rate.to_string()),
                None => ("ramp", Time(profile.ramp).to_string()),
            };
            let (last, duration) = (Time(last), Time(duration));
            let problem = format!("the last connection would open after {last}, but the run ends after {duration}");
            Err(ConfigError::new(key, value, problem).remedy(format!("write a `duration` of more than {last}")))
        }
        _ => Ok(()),
    }
}

fn check_end_of_run(profile: &Profile) -> Result<(), ConfigError> {
    if profile.reconnect == Reconnect::Forever && profile.duration.is_none() {
        return Err(ConfigError::new("reconnect", profile.reconnect, "the run would never end")
            .remedy("add a `duration`, or write a number of times"));
    }
    let until = match profile.close {
        Close::Keep => "the run ends",
        Close::Together => "all have their echo",
        Close::HalfClose
        | Close::AfterEcho
        | Close::Reset
        | Close::HalfCloseReset
        | Close::Abandon
        | Close::ShutdownRead
        | Close::ShutdownBoth => return Ok(()),
    };
    let stay = format!("with `close = {}` connections stay open until {until}", profile.close);
    let remedy = "leave it out, or choose another `close`";
    if profile.reconnect != Reconnect::Off {
        return Err(
            ConfigError::new("reconnect", profile.reconnect, format!("{stay}, so none is reopened")).remedy(remedy)
        );
    }
    match profile.lifetime {
        Some(lifetime @ Lifetime::Age(_)) => {
            Err(ConfigError::new("lifetime", lifetime, format!("{stay}, so none ends early")).remedy(remedy))
        }
        _ => Ok(()),
    }
}

fn check_opening(profile: &Profile) -> Result<(), ConfigError> {
    let wrong = |problem: String| Err(ConfigError::new("fast_open", true, problem).remedy("leave out one of them"));
    match profile.rate {
        _ if !profile.fast_open => {}
        _ if profile.messages == Some(0) => {
            return wrong("a connection without a message has nothing to send with its SYN".to_owned());
        }
        Some(rate) => {
            return wrong(format!(
                "with `rate = {rate}` messages wait until all connections are open, and here the first message opens \
                 them"
            ));
        }
        None => {}
    }
    match profile.source_port {
        Some(ports) if ports.count() < profile.conns => {
            let problem = format!("it has {} ports for {} connections at a time", ports.count(), profile.conns);
            Err(ConfigError::new("source_port", ports, problem).remedy("write a wider range, or fewer `conns`"))
        }
        _ => Ok(()),
    }
}

fn check_urgent(profile: &Profile) -> Result<(), ConfigError> {
    let Some(at) = profile.urgent else { return Ok(()) };
    let wrong = |problem: String| ConfigError::new("urgent", Bytes(at), problem);
    let of_messages = profile.messages.map(|messages| messages.saturating_mul(profile.size.max()));
    match (profile.first_bytes, profile.bytes.into_iter().chain(of_messages).min()) {
        (Some(first), _) if at < first.count() => {
            let count = first.count();
            Err(wrong(format!("the first {count} bytes are those of `first_bytes = {first}`"))
                .remedy(format!("write at least {count}")))
        }
        (_, Some(bytes)) if at > bytes => {
            Err(wrong(format!("no connection has more than {}", Bytes(bytes))).remedy("write less, or leave it out"))
        }
        _ => Ok(()),
    }
}

fn check_reconnects(profile: &Profile) -> Result<(), ConfigError> {
    match (profile.reconnect, profile.bytes) {
        (Reconnect::Off, _) if !profile.reconnect_delay.is_zero() => {
            Err(ConfigError::new("reconnect_delay", Time(profile.reconnect_delay), "no connection is reopened")
                .remedy("add `reconnect = forever`, or a number of times"))
        }
        (Reconnect::Times(_) | Reconnect::Forever, Some(bytes)) if bytes > MAX_SHARED_STREAM_BYTES => {
            let most = format!("{} if connections are reopened", Bytes(MAX_SHARED_STREAM_BYTES));
            Err(ConfigError::too_large("bytes", Bytes(bytes), most))
        }
        _ => Ok(()),
    }
}
