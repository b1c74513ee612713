//! The promises of a plan, step by step.

use super::super::options::Reconnect;
use super::super::profile::tests::{profile, sizes};
use super::super::slots::Slots;
use super::*;
use crate::units::Rate;
use proptest::prelude::*;

fn plan(profile: &Profile, seed: u64, conn: u32) -> ConnectionPlan {
    // The group always reconnects here, so tests of reconnects need not ask for it.
    let slots = Slots::new([&Profile { reconnect: Reconnect::Forever, ..profile.clone() }])
        .expect("there are ids for every slot");
    let conn = ConnId::new(conn).expect("a small id");
    let (slot, _) = slots.of(conn).expect("one of the run's connections");
    ConnectionPlan::new(Arc::new(profile.clone()), seed, slot, conn)
}

fn steps(profile: &Profile, seed: u64, conn: u32) -> Vec<PlanStep> {
    plan(profile, seed, conn).collect()
}

/// Sizes of the messages, and of the writes of each.
fn sizes_of(steps: &[PlanStep]) -> Vec<(u64, Vec<usize>)> {
    let mut messages: Vec<(u64, Vec<usize>)> = Vec::new();
    for step in steps {
        match step {
            PlanStep::Message { len, .. } => messages.push((*len, Vec::new())),
            PlanStep::Write { len } => messages.last_mut().expect("a message before its writes").1.push(*len),
            PlanStep::Gap(_) | PlanStep::Close(_) => {}
        }
    }
    messages
}

fn dues(steps: &[PlanStep]) -> Vec<u128> {
    let due = |step: &PlanStep| match step {
        PlanStep::Message { due, .. } => Some(due.expect("in an open loop every message is due at a time").as_millis()),
        _ => None,
    };
    steps.iter().filter_map(due).collect()
}

fn gap(text: &str) -> super::super::TimeRange {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_plan_is_small() {
    assert!(size_of::<ConnectionPlan>() <= 96, "{}", size_of::<ConnectionPlan>());
}

#[test]
fn the_plan_of_a_seed_never_changes() {
    // Computed by a second program, in another language, from the rules in draw.rs, log2.rs and steps.rs alone.
    let of = |profile: &Profile| sizes_of(&steps(profile, 42, 7));
    assert_eq!(of(&profile()), [(63, vec![32, 13, 16, 2]), (85, vec![7, 27, 36, 7, 8]), (92, vec![30, 12, 8, 40, 2])]);
    let log = Profile { size: sizes("log:1..1MiB"), fragment: None, ..profile() };
    assert_eq!(of(&log), [(5866, vec![5866]), (126_473, vec![126_473]), (316_859, vec![316_859])]);
    let edges = Profile { size: sizes("edges:64,1000"), fragment: Some(sizes("pick:100,200,300")), ..profile() };
    assert_eq!(
        of(&edges),
        [
            (999, vec![300, 100, 200, 100, 299]),
            (1001, vec![100, 300, 300, 100, 201]),
            (1001, vec![300, 100, 100, 300, 201])
        ]
    );
}

#[test]
fn the_plan_follows_from_seed_and_connection_and_differs_for_others() {
    let gaps = Profile { gap: gap("0..5ms"), ..profile() };
    assert_eq!(steps(&gaps, 1, 2), steps(&gaps, 1, 2));
    assert_ne!(steps(&gaps, 1, 2), steps(&gaps, 2, 2));
    assert_ne!(steps(&gaps, 1, 2), steps(&gaps, 1, 3));
}

#[test]
fn a_reconnect_has_a_plan_of_its_own() {
    assert_ne!(steps(&profile(), 1, 0), steps(&profile(), 1, 4));
}

#[test]
fn fragments_and_gaps_change_no_message_and_gaps_no_fragment() {
    let lens = |profile: &Profile| sizes_of(&steps(profile, 9, 0)).iter().map(|(len, _)| *len).collect::<Vec<_>>();
    let whole = Profile { fragment: None, ..profile() };
    let paced = Profile { gap: gap("1ms..5ms"), ..profile() };
    assert_eq!(lens(&whole), lens(&profile()));
    assert_eq!(sizes_of(&steps(&paced, 9, 0)), sizes_of(&steps(&profile(), 9, 0)));
}

#[test]
fn if_everything_is_fixed_no_words_are_drawn_and_the_steps_are_the_same() {
    let fixed = Profile { size: sizes("100"), fragment: Some(sizes("30")), gap: gap("1ms"), ..profile() };
    let with_words = ConnectionPlan { is_random: true, ..plan(&fixed, 9, 0) };
    assert!(!plan(&fixed, 9, 0).is_random);
    assert_eq!(steps(&fixed, 9, 0), with_words.collect::<Vec<_>>());
    let one_differs = [
        Profile { size: sizes("100..101"), ..fixed.clone() },
        Profile { fragment: Some(sizes("pick:30,31")), ..fixed.clone() },
        Profile { gap: gap("1ms..2ms"), ..fixed.clone() },
    ];
    for profile in one_differs {
        assert!(plan(&profile, 9, 0).is_random, "{profile:?}");
    }
}

#[test]
fn a_plan_with_more_messages_begins_with_the_same_ones() {
    let more = Profile { messages: Some(10), ..profile() };
    assert_eq!(sizes_of(&steps(&more, 5, 1))[..3], sizes_of(&steps(&profile(), 5, 1))[..]);
}

#[test]
fn a_plan_without_messages_only_closes() {
    let silent = Profile { messages: Some(0), close: Close::Keep, ..profile() };
    assert_eq!(steps(&silent, 1, 0), [PlanStep::Close(Close::Keep)]);
}

#[test]
fn bytes_end_the_stream_at_exactly_that_offset() {
    let cut = Profile { messages: None, bytes: Some(1000), ..profile() };
    assert_eq!(sizes_of(&steps(&cut, 1, 0)).iter().map(|(len, _)| len).sum::<u64>(), 1000);
    let first_reached = Profile { messages: Some(2), bytes: Some(1000), size: sizes("7"), ..profile() };
    assert_eq!(sizes_of(&steps(&first_reached, 1, 0)).iter().map(|(len, _)| *len).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn a_stream_ends_where_its_numbering_does() {
    let endless = Profile { messages: None, size: sizes("1TiB"), fragment: None, ..profile() };
    let mut total = 0u64;
    for step in plan(&endless, 1, 0) {
        if let PlanStep::Write { len } = step {
            assert!(len as u64 <= MAX_WRITE_BYTES);
            total += len as u64;
        }
    }
    assert_eq!(total, MAX_STREAM_BYTES);
}

#[test]
fn gaps_are_between_writes_not_before_the_first_or_after_the_last() {
    let paced =
        Profile { messages: Some(2), size: sizes("10"), fragment: Some(sizes("5")), gap: gap("1ms"), ..profile() };
    let pause = PlanStep::Gap(Duration::from_millis(1));
    let (message, write) = (|index| PlanStep::Message { index, len: 10, due: None }, PlanStep::Write { len: 5 });
    assert_eq!(
        steps(&paced, 1, 0),
        [message(0), write, pause, write, pause, message(1), write, pause, write, PlanStep::Close(Close::HalfClose)]
    );
}

#[test]
fn in_an_open_loop_only_the_schedule_spaces_messages() {
    let paced = Profile {
        messages: Some(2),
        size: sizes("10"),
        fragment: Some(sizes("5")),
        gap: gap("1ms"),
        rate: Rate::per_second(10),
        ..profile()
    };
    let gaps = steps(&paced, 1, 0).iter().filter(|step| matches!(step, PlanStep::Gap(_))).count();
    assert_eq!(gaps, 2, "one within each message");
}

#[test]
fn an_open_loop_deals_its_messages_to_the_connections_in_turn() {
    let open = Profile { rate: Rate::per_second(100), ..profile() };
    assert_eq!(dues(&steps(&open, 1, 0)), [0, 40, 80]);
    assert_eq!(dues(&steps(&open, 1, 3)), [30, 70, 110]);
}

#[test]
fn due_times_count_from_the_start_of_the_schedule_and_not_from_the_ramp() {
    let open = Profile { rate: Rate::per_second(100), ramp: Duration::from_secs(4), ..profile() };
    assert_eq!(dues(&steps(&open, 1, 0)), [0, 40, 80]);
    assert_eq!(plan(&open, 1, 0).unsent(Duration::from_millis(41)), 2);
}

#[test]
fn a_schedule_does_not_drift() {
    let open = Profile { rate: Some("3".parse().expect("a rate")), conns: 1, ..profile() };
    let mut late = plan(&open, 1, 0);
    late.resume_schedule(3_000_000_000);
    let Some(PlanStep::Message { due, .. }) = late.next() else { panic!("a message comes first") };
    assert_eq!(due, Some(Duration::from_secs(1_000_000_000)));
}

#[test]
fn a_reconnect_resumes_the_schedule_where_it_was_left() {
    let open = Profile { rate: Rate::per_second(100), ..profile() };
    let mut first = plan(&open, 1, 0);
    assert_eq!(first.next_arrival(), 0);
    first.next();
    assert_eq!(first.next_arrival(), 0, "a message that has had no write is still due when the connection breaks");
    first.next();
    assert_eq!(first.next_arrival(), 1, "a message that is being written is not sent again");
    first.by_ref().for_each(drop);
    assert_eq!(first.next_arrival(), 3);

    let mut second = plan(&open, 1, 4);
    second.resume_schedule(first.next_arrival());
    let resumed: Vec<PlanStep> = second.collect();
    assert_eq!(dues(&resumed), [120, 160, 200]);
    assert_eq!(sizes_of(&resumed), sizes_of(&steps(&open, 1, 4)), "only the times move");
}

#[test]
fn a_lifetime_in_messages_is_drawn_for_each_connection_and_replays() {
    let churn = Profile { messages: None, lifetime: Some(Lifetime::Messages(2, 5)), conns: 100, ..profile() };
    let lives: Vec<usize> = (0..100).map(|conn| sizes_of(&steps(&churn, 1, conn)).len()).collect();
    for messages in 2..=5 {
        assert!(lives.contains(&messages), "{messages} in {lives:?}");
    }
    assert!(lives.iter().all(|messages| (2..=5).contains(messages)));
    assert_eq!(sizes_of(&steps(&churn, 1, 7)).len(), lives[7]);
    let short = Profile { messages: Some(1), ..churn };
    assert_eq!(sizes_of(&steps(&short, 1, 7)).len(), 1, "the smaller of the two limits ends it");
}

#[test]
fn a_lifetime_in_time_is_drawn_for_each_connection() {
    let aging = Profile { lifetime: Some("1s..2s".parse().expect("an age")), ..profile() };
    let age = |conn| plan(&aging, 1, conn).max_age().expect("it has one");
    assert!(age(0) >= Duration::from_secs(1) && age(0) <= Duration::from_secs(2));
    assert_ne!(age(0), age(1));
    assert_eq!(plan(&profile(), 1, 0).max_age(), None);
}

#[test]
fn a_plan_stopped_within_a_message_finishes_it_and_closes() {
    let mut stopped = plan(&Profile { messages: None, ..profile() }, 42, 7);
    let Some(PlanStep::Message { len, .. }) = stopped.next() else { panic!("a message comes first") };
    let Some(PlanStep::Write { len: first }) = stopped.next() else { panic!("then its first write") };
    stopped.stop();
    let rest: Vec<PlanStep> = stopped.collect();
    let writes: usize = rest.iter().map(|step| if let PlanStep::Write { len } = step { *len } else { 0 }).sum();
    assert_eq!(first + writes, len as usize);
    assert_eq!(rest.last(), Some(&PlanStep::Close(Close::HalfClose)));
    assert!(!rest.iter().any(|step| matches!(step, PlanStep::Message { .. })));
}

#[test]
fn a_plan_stopped_before_the_first_write_of_a_message_withdraws_it() {
    let mut stopped = plan(&profile(), 42, 7);
    assert!(matches!(stopped.next(), Some(PlanStep::Message { .. })));
    stopped.stop();
    assert_eq!(stopped.next_arrival(), 0);
    assert_eq!(stopped.collect::<Vec<_>>(), [PlanStep::Close(Close::HalfClose)]);
}

#[test]
fn a_stop_after_the_end_changes_nothing() {
    let mut ended = plan(&profile(), 42, 7);
    ended.by_ref().for_each(drop);
    ended.stop();
    assert_eq!(ended.next(), None);
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let size = prop::sample::select(vec!["1", "64", "1..500", "log:1..2000", "edges:64,100", "each:1..9"]);
    let fragment = prop::sample::select(vec!["off", "1..7", "1", "log:1..64", "edges:10", "each:1..5"]);
    let (gap, rate) = (prop::sample::select(vec!["0", "0..5ms", "1ms"]), prop::option::of(1u64..1000));
    (size, fragment, gap, rate, prop::option::of(1u64..5000), 0u64..9).prop_map(
        |(size, fragment, gap, rate, bytes, messages)| Profile {
            size: sizes(size),
            fragment: (fragment != "off").then(|| sizes(fragment)),
            gap: gap.parse().expect("a gap"),
            rate: rate.and_then(Rate::per_second),
            bytes,
            messages: Some(messages),
            ..profile()
        },
    )
}

proptest! {
    #[test]
    fn the_writes_of_a_message_add_up_and_only_the_last_step_is_a_close(
        profile in any_profile(), seed: u64, conn in 0u32..1000
    ) {
        let steps = steps(&profile, seed, conn);
        for (len, writes) in sizes_of(&steps) {
            prop_assert!(len > 0 && writes.iter().all(|&write| write > 0));
            prop_assert_eq!(writes.iter().sum::<usize>() as u64, len);
        }
        let (last, others) = steps.split_last().expect("a plan has at least a close");
        prop_assert_eq!(last, &PlanStep::Close(Close::HalfClose));
        prop_assert!(!others.iter().any(|step| matches!(step, PlanStep::Close(_) | PlanStep::Gap(Duration::ZERO))));
    }

    #[test]
    fn messages_count_up_and_are_never_due_before_their_predecessors(
        profile in any_profile(), seed: u64, conn in 0u32..1000
    ) {
        let steps = steps(&profile, seed, conn);
        let messages = steps.iter().filter_map(|step| match step {
            PlanStep::Message { index, due, .. } => Some((*index, *due)),
            _ => None,
        });
        let mut last_due = None;
        for (expected, (index, due)) in messages.enumerate() {
            prop_assert_eq!(index, expected as u64);
            prop_assert_eq!(due.is_some(), profile.rate.is_some());
            prop_assert!(due >= last_due);
            last_due = due;
        }
    }

    #[test]
    fn a_stop_at_any_step_leaves_whole_messages(
        profile in any_profile(), seed: u64, conn in 0u32..1000, at in 0usize..200
    ) {
        let mut plan = plan(&profile, seed, conn);
        let mut steps: Vec<PlanStep> = plan.by_ref().take(at).collect();
        plan.stop();
        if matches!(steps.last(), Some(PlanStep::Message { .. })) {
            steps.pop();
        }
        steps.extend(plan);
        prop_assert!(matches!(steps.last(), Some(PlanStep::Close(_))));
        for (len, writes) in sizes_of(&steps) {
            prop_assert_eq!(writes.iter().sum::<usize>() as u64, len);
        }
    }
}

#[test]
fn messages_that_are_due_and_have_had_no_write_are_unsent() {
    let open = Profile { rate: Rate::per_second(100), conns: 4, messages: Some(10), ..profile() };
    // Connection 1 of 4 at 100 a second: due at 10, 50, 90, 130 … 370 ms.
    let at = Duration::from_millis;
    let mut plan = plan(&open, 1, 1);
    assert_eq!([at(0), at(10), at(11), at(90), at(91)].map(|time| plan.unsent(time)), [0, 0, 1, 2, 3]);
    assert_eq!(plan.unsent(at(10_000)), 10, "no more than it would have sent");
    assert!(matches!(plan.next(), Some(PlanStep::Message { .. })));
    assert_eq!(plan.unsent(at(91)), 3, "begun, but without a write");
    assert!(matches!(plan.next(), Some(PlanStep::Write { .. })));
    assert_eq!((plan.unsent(at(91)), plan.unsent(at(10_000))), (2, 9));
    plan.stop();
    assert_eq!(plan.unsent(at(91)), 0, "the plan has ended");
    let closed = Profile { rate: None, ..open };
    assert_eq!(self::plan(&closed, 1, 1).unsent(at(10_000)), 0);
}
