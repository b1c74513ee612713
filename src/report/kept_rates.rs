//! How the open loops of a load kept their rates: the client's, and where both ends are ours, the server's.
//!
//! In an echo, and in a request with its reply, a message is done when it came back. Where nothing answers it, it is
//! done when the other end has it: so the figures of one rate come from both ends.

use serde_json::Value;

use crate::measure::open_loop::RateReport;
use crate::measure::{Counters, LoadStats, OpenLoopStats};
use crate::plan::{Flow, Profile};
use crate::units::Rate;

/// The rates of the client and of the server, as far as there are any. `backend`: what the server's side measured,
/// where both ends are ours. `slots`: the slots of the group that this process runs.
pub(super) fn of(
    profile: &Profile,
    (client, backend): (&LoadStats, Option<&LoadStats>),
    slots: &[u32],
) -> [Option<RateReport>; 2] {
    let has_replies = profile.flow == Flow::Request;
    let [up, down] = messages(has_replies, &client.counters, backend.map(|stats| &stats.counters));
    let receiver = backend.filter(|_| !has_replies).unwrap_or(client);
    let of_server = profile.backend.as_deref().and_then(|other| other.rate).zip(backend);
    [
        profile.rate.and_then(|rate| kept(rate, (profile, slots), (client, receiver), &up)),
        of_server.and_then(|(rate, server)| kept(rate, (profile, slots), (server, client), &down)),
    ]
}

/// How these slots kept a rate of their group. `messages`: how many `sender` has sent, and how many were done.
fn kept(
    rate: Rate,
    (profile, slots): (&Profile, &[u32]),
    (sender, receiver): (&LoadStats, &LoadStats),
    messages: &Counters,
) -> Option<RateReport> {
    let first = rate.due(u64::from(*slots.iter().min()?));
    let share = rate.get() * slots.len() as f64 / f64::from(profile.conns.max(1));
    let schedule = OpenLoopStats { last_echo: receiver.open_loop.last_echo, ..sender.open_loop };
    Some(RateReport::new(share, first, &schedule, messages))
}

/// Whether the server answers each message of a load with this configuration.
pub(super) fn has_replies(config: &Value) -> bool {
    config.get("flow").is_some_and(|flow| flow == "request")
}

/// The messages of the client and of the server: how many were sent, and how many of these were done.
pub(super) fn messages(has_replies: bool, client: &Counters, backend: Option<&Counters>) -> [Counters; 2] {
    let Some(backend) = backend else { return [client.clone(), Counters::default()] };
    let one_way = |from: &Counters, to: &Counters| Counters {
        messages_sent: from.messages_sent,
        messages_echoed: to.messages_echoed,
        // Connections are counted by the client's side.
        failed: client.failed,
        ..Counters::default()
    };
    let up = if has_replies { client.clone() } else { one_way(client, backend) };
    [up, one_way(backend, client)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;

    fn profile(toml: &str) -> Profile {
        let args: LoadArgs = toml::from_str(toml).expect("the load of a test is well-formed");
        args.resolve("load").expect("the load of a test is valid")
    }

    /// A side that sent this many messages in the first second, and received this many, the last of them at `last`.
    fn side(sent: u64, received: u64, last: u64) -> LoadStats {
        let counters = Counters { messages_sent: sent, messages_echoed: received, ..Counters::default() };
        let open_loop =
            OpenLoopStats { began: Some(0), due_until: 1_000_000_000, last_echo: last, ..OpenLoopStats::default() };
        LoadStats { counters, open_loop, ..LoadStats::default() }
    }

    #[test]
    fn a_message_that_nothing_answers_is_done_when_the_other_end_has_it() {
        let upload = profile("conns = 1\nflow = 'upload'\nrate = 100\nmessages = 101");
        let (client, backend) = (side(101, 0, 0), side(0, 101, 1_000_000_000));
        let [rate, of_server] = of(&upload, (&client, Some(&backend)), &[0]);
        let rate = rate.expect("the client has a rate");
        assert_eq!((rate.saturated, rate.last_echo_s), (Some(false), 1.0));
        assert!(rate.echoed_per_s.is_some_and(|rate| (rate - 100.0).abs() < 0.5), "{rate:?}");
        assert_eq!(of_server, None);
        let lagging = side(0, 101, 3_000_000_000);
        let [rate, _] = of(&upload, (&client, Some(&lagging)), &[0]);
        assert_eq!(rate.and_then(|rate| rate.saturated), Some(true), "they arrived late");
    }

    #[test]
    fn each_side_has_a_rate_of_its_own() {
        let both = profile("conns = 1\nflow = 'both'\nrate = 100\nbackend_rate = 10\nmessages = 101");
        let (client, backend) = (side(101, 11, 1_000_000_000), side(11, 101, 1_000_000_000));
        let [up, down] = of(&both, (&client, Some(&backend)), &[0]).map(|rate| rate.expect("both have a rate"));
        assert_eq!((up.asked_per_s, up.saturated), (100.0, Some(false)));
        assert_eq!((down.asked_per_s, down.saturated), (10.0, Some(false)));
    }

    #[test]
    fn a_request_is_done_when_its_reply_has_come() {
        let request = profile("conns = 1\nflow = 'request'\nrate = 100\nmessages = 101");
        let (client, backend) = (side(101, 50, 1_000_000_000), side(50, 101, 1_000_000_000));
        let [rate, _] = of(&request, (&client, Some(&backend)), &[0]);
        assert_eq!(rate.and_then(|rate| rate.saturated), Some(true), "half of the replies are missing");
        assert!(has_replies(&serde_json::to_value(&request).expect("a profile is JSON")));
        assert!(!has_replies(&serde_json::json!({ "conns": 1 })));
    }
}
