//! Every fault on a stream of known bytes, cut in every way: the echo, and what the log says.

use std::time::Duration;

use super::*;

/// The number of the connection under test.
const CONN: u64 = 3;
const SEED: u64 = 11;

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 4242).into()
}

/// Bytes of the connection's stream; none is zero.
fn stream(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|n| (draw(77, &[n]) % 255) as u8 + 1).collect()
}

/// Other connections whose every byte is 0x80 or more, so that their bytes can be told from the connection's own.
struct Others;

fn foreign_bytes(conn: u64, len: usize) -> Option<SourcedBytes> {
    Some(SourcedBytes { bytes: vec![0x80 + conn as u8; len], source: StreamPlace { conn, peer: peer(), offset: 1000 } })
}

impl ByteHistory for Others {
    fn has_another(&self) -> bool {
        true
    }

    fn of_another(&self, len: usize, _: u64) -> Option<SourcedBytes> {
        foreign_bytes(8, len)
    }

    fn of_own_past(&self, len: usize, before: u64, _: u64) -> Option<SourcedBytes> {
        let offset = before.checked_sub(len as u64 + 64)?;
        Some(SourcedBytes {
            bytes: stream(offset..offset + len as u64),
            source: StreamPlace { conn: CONN, peer: peer(), offset },
        })
    }

    fn of_closed(&self, len: usize, _: u64) -> Option<SourcedBytes> {
        foreign_bytes(9, len)
    }
}

/// No other connection, and no past.
struct Alone;

impl ByteHistory for Alone {
    fn has_another(&self) -> bool {
        false
    }

    fn of_another(&self, _: usize, _: u64) -> Option<SourcedBytes> {
        None
    }

    fn of_own_past(&self, _: usize, _: u64, _: u64) -> Option<SourcedBytes> {
        None
    }

    fn of_closed(&self, _: usize, _: u64) -> Option<SourcedBytes> {
        None
    }
}

/// A script, performed: the bytes sent, the faults logged, and the other actions.
#[derive(Debug, Default, PartialEq)]
struct Output {
    bytes: Vec<u8>,
    faults: Vec<InjectedFault>,
    actions: Vec<Action>,
}

fn injector(specs: &[&str]) -> Injector {
    let faults: Vec<Fault> = specs.iter().map(|spec| spec.parse().expect(spec)).collect();
    Injector::new(faults.into(), SEED, CONN, peer())
}

fn play(script: &mut Script) -> Output {
    let mut output = Output::default();
    loop {
        let bytes = script.to_send().to_vec();
        output.bytes.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            script.sent(bytes.len());
        }
        match script.take_action() {
            Some(Action::Log(injected)) => output.faults.push(injected),
            Some(action) => output.actions.push(action),
            None if script.to_send().is_empty() => return output,
            None => {}
        }
    }
}

/// Sends `[0, end)` in pieces of `cut` bytes, and the FIN.
fn run(specs: &[&str], end: u64, cut: usize, history: &dyn ByteHistory) -> Output {
    let (mut injector, mut script) = (injector(specs), Script::default());
    for piece in stream(0..end).chunks(cut) {
        injector.received(piece, history, &mut script);
    }
    injector.fin(&mut script);
    play(&mut script)
}

/// Runs the faults with every cut, and asserts that the result is always the same.
fn each_cut(specs: &[&str], end: u64) -> Output {
    let whole = run(specs, end, end as usize, &Others);
    for cut in [1, 2, 3, 7, 64, 99, 100, 101] {
        assert_eq!(run(specs, end, cut, &Others), whole, "{specs:?} cut into {cut}");
    }
    whole
}

fn injected(offset: u64, extent: u64) -> InjectedFault {
    InjectedFault { offset, extent, ..InjectedFault::default() }
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn without_faults_it_echoes_and_answers_the_fin() {
    let output = each_cut(&[], 300);
    assert_eq!(output, Output { bytes: stream(0..300), faults: vec![], actions: vec![Action::Fin] });
}

#[test]
fn flip_inverts_n_bits_of_one_byte() {
    for n in 1..=8 {
        let output = each_cut(&[&format!("flip:n={n},at=100")], 300);
        let (mut right, mut wrong) = (stream(0..300), output.bytes);
        assert_eq!((right[100] ^ wrong[100]).count_ones(), n);
        right.remove(100);
        wrong.remove(100);
        assert_eq!(right, wrong);
        assert_eq!(output.faults, [InjectedFault { bits: Some(n.into()), ..injected(100, 1) }]);
    }
}

#[test]
fn zero_logs_only_the_bytes_that_it_changed() {
    let output = each_cut(&["zero:len=16,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &[0; 16], &stream(116..300)]));
    assert_eq!(output.faults, [injected(100, 16)]);

    let (mut injector, mut script) = (injector(&["zero:len=6,at=1", "zero:len=2,at=10"]), Script::default());
    injector.received(&[9, 0, 0, 9, 0, 9, 0, 9, 9, 9, 0, 0, 9], &Others, &mut script);
    let output = play(&mut script);
    assert_eq!(output.bytes, [9, 0, 0, 0, 0, 0, 0, 9, 9, 9, 0, 0, 9]);
    assert_eq!(output.faults, [injected(3, 3)], "bytes that were zero already are neither changed nor logged");
}

#[test]
fn drop_removes_exactly_its_bytes() {
    let output = each_cut(&["drop:len=3,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &stream(103..300)]));
    assert_eq!(output.faults, [injected(100, 3)]);
}

#[test]
fn duplicate_sends_the_bytes_twice_in_a_row() {
    let output = each_cut(&["duplicate:len=20,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..120), &stream(100..300)]));
    assert_eq!(output.faults, [injected(100, 20)]);
}

#[test]
fn reorder_swaps_two_neighbours_of_the_same_length() {
    let output = each_cut(&["reorder:len=20,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &stream(120..140), &stream(100..120), &stream(140..300)]));
    assert_eq!(output.faults, [InjectedFault { over: Some(20), ..injected(100, 20) }]);
}

#[test]
fn reorder_makes_do_with_the_bytes_it_has_when_no_more_come() {
    let output = each_cut(&["reorder:len=20,at=100"], 130);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &stream(120..130), &stream(100..120)]));
    assert_eq!(output.faults, [InjectedFault { over: Some(10), ..injected(100, 20) }]);
    for end in [110, 120] {
        let output = each_cut(&["reorder:len=20,at=100"], end);
        assert_eq!((output.bytes, output.faults), (stream(0..end), vec![]), "no byte came that could overtake them");
    }

    let (mut injector, mut script) = (injector(&["reorder:len=20,at=100"]), Script::default());
    injector.received(&stream(0..110), &Others, &mut script);
    assert!(injector.holds_back());
    assert_eq!(play(&mut script).bytes, stream(0..100));
    injector.release_held_back(&mut script);
    assert!(!injector.holds_back());
    injector.received(&stream(110..300), &Others, &mut script);
    assert_eq!(
        play(&mut script),
        Output { bytes: stream(100..300), ..Output::default() },
        "they are released, and the fault is not tried again"
    );
}

#[test]
fn crosstalk_replaces_own_bytes_or_is_inserted_between_them() {
    let source = Some(StreamPlace { conn: 8, peer: peer(), offset: 1000 });
    let output = each_cut(&["crosstalk:len=20,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &[0x88; 20], &stream(120..300)]));
    assert_eq!(output.faults, [InjectedFault { replaced: Some(20), source: source.clone(), ..injected(100, 20) }]);

    let output = each_cut(&["crosstalk:len=20,at=100,mode=insert"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &[0x88; 20], &stream(100..300)]));
    assert_eq!(output.faults, [InjectedFault { source: source.clone(), ..injected(100, 20) }]);

    let output = each_cut(&["crosstalk:len=20,at=100"], 110);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &[0x88; 10]]), "it ends with the connection's own bytes");
    assert_eq!(output.faults, [InjectedFault { replaced: Some(10), source, ..injected(100, 10) }]);
}

#[test]
fn crosstalk_that_moves_drops_bytes_here_and_inserts_them_there() {
    let output = each_cut(&["crosstalk:len=20,at=100,mode=move"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &stream(120..300)]));
    assert_eq!(output.faults, [InjectedFault { effect: Some(FaultKind::Drop), ..injected(100, 20) }]);
    let source = StreamPlace { conn: CONN, peer: peer(), offset: 100 };
    let moved = MovedBytes { bytes: SourcedBytes { bytes: stream(100..120), source: source.clone() }, fault: 0 };
    assert_eq!(output.actions, [Action::Move(moved.clone()), Action::Fin]);

    let (mut there, mut script) = (injector(&["crosstalk:at=999,mode=move"]), Script::default());
    there.received(&stream(0..50), &Others, &mut script);
    there.insert_moved(moved, &mut script);
    there.received(&stream(50..60), &Others, &mut script);
    let output = play(&mut script);
    assert_eq!(output.bytes, concat(&[&stream(0..50), &stream(100..120), &stream(50..60)]));
    assert_eq!(output.faults, [InjectedFault { source: Some(source), ..injected(50, 20) }]);
    assert_eq!(there.added(), 20);
}

#[test]
fn stale_bytes_come_from_the_own_past_or_from_a_closed_connection() {
    let output = each_cut(&["stale:from=older,len=20,at=100"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &stream(16..36), &stream(100..300)]));
    let source = Some(StreamPlace { conn: CONN, peer: peer(), offset: 16 });
    assert_eq!(output.faults, [InjectedFault { source, ..injected(100, 20) }]);

    let output = each_cut(&["stale:from=closed,len=20,at=100,mode=replace"], 300);
    assert_eq!(output.bytes, concat(&[&stream(0..100), &[0x89; 20], &stream(120..300)]));
    let source = Some(StreamPlace { conn: 9, peer: peer(), offset: 1000 });
    assert_eq!(output.faults, [InjectedFault { replaced: Some(20), source, ..injected(100, 20) }]);
}

#[test]
fn without_another_connection_or_a_past_nothing_is_injected_or_counted() {
    let specs = [
        "crosstalk:every=100,len=20,times=1",
        "crosstalk:at=50,mode=move",
        "stale:at=100,from=older",
        "stale:at=9,from=closed",
    ];
    let output = run(&specs, 1000, 64, &Alone);
    assert_eq!(output, Output { bytes: stream(0..1000), faults: vec![], actions: vec![Action::Fin] });

    let (mut injector, mut script) = (injector(&specs[..1]), Script::default());
    injector.received(&stream(0..500), &Alone, &mut script);
    injector.received(&stream(500..1000), &Others, &mut script);
    assert_eq!(play(&mut script).faults.len(), 1, "the attempts that failed do not count against times=1");
}

#[test]
fn a_whole_buffer_includes_the_old_bytes_behind_each_short_receive() {
    let (mut injector, mut script) = (injector(&["stale:len=100"]), Script::default());
    let mut receive = |from, to| {
        injector.received(&stream(from..to), &Others, &mut script);
        play(&mut script)
    };
    let source = |offset| Some(StreamPlace { conn: CONN, peer: peer(), offset });
    assert_eq!(
        receive(0, 60),
        Output { bytes: stream(0..60), ..Output::default() },
        "the buffer holds no old bytes yet"
    );
    let output = receive(60, 80);
    assert_eq!(output.bytes, concat(&[&stream(60..80), &stream(20..60)]));
    assert_eq!(output.faults, [InjectedFault { source: source(20), ..injected(80, 40) }]);
    let output = receive(80, 90);
    assert_eq!(output.bytes, concat(&[&stream(80..90), &stream(70..80), &stream(20..60)]));
    assert_eq!(
        output.faults,
        [
            InjectedFault { source: source(70), ..injected(90, 10) },
            InjectedFault { source: source(20), ..injected(90, 40) }
        ]
    );
    let output = receive(90, 220);
    assert_eq!(
        output.bytes,
        concat(&[&stream(90..220), &stream(120..190)]),
        "the bytes are two receives, a full one and a short one"
    );
    assert_eq!(output.faults, [InjectedFault { source: source(120), ..injected(220, 70) }]);
}

#[test]
fn a_whole_buffer_is_sent_at_most_the_requested_number_of_times() {
    let output = run(&["stale:len=100,times=2"], 990, 30, &Others);
    assert_eq!(output.faults.len(), 0, "receives of equal length leave no old bytes behind them");
    let (mut injector, mut script) = (injector(&["stale:len=100,times=2"]), Script::default());
    for end in [50, 60, 70, 80, 90] {
        injector.received(&stream(end - 10..end), &Others, &mut script);
        injector.received(&stream(end..end + 2), &Others, &mut script);
    }
    assert_eq!(play(&mut script).faults.len(), 2);
}

#[test]
fn surplus_bytes_are_inserted_at_their_place_or_after_the_end() {
    let output = each_cut(&["surplus:len=20,at=100"], 300);
    assert_eq!((&output.bytes[..100], &output.bytes[120..]), (&stream(0..100)[..], &stream(100..300)[..]));
    assert_eq!(output.faults, [injected(100, 20)]);

    let output = each_cut(&["surplus:len=20"], 300);
    assert_eq!((&output.bytes[..300], output.bytes.len()), (&stream(0..300)[..], 320));
    assert_eq!((output.faults, output.actions), (vec![injected(300, 20)], vec![Action::Fin]));
}

#[test]
fn faults_that_end_a_connection_end_it_before_their_byte() {
    for (spec, end) in [("truncate", Action::Fin), ("stall", Action::Hold), ("reset", Action::Reset)] {
        let output = each_cut(&[&format!("{spec}:at=100"), "drop:at=150"], 300);
        assert_eq!((output.bytes, output.faults), (stream(0..100), vec![injected(100, 0)]), "{spec}");
        assert_eq!(output.actions, [end], "{spec}");
    }
}

#[test]
fn no_fin_never_answers_the_fin_and_fin_without_drain_does_at_once() {
    let output = each_cut(&["no-fin"], 300);
    assert_eq!(output, Output { bytes: stream(0..300), faults: vec![injected(300, 0)], actions: vec![Action::Hold] });

    let (mut injector, mut script) = (injector(&["fin-without-drain:time=7ms"]), Script::default());
    injector.received(&stream(0..100), &Others, &mut script);
    assert_eq!(script.take_action(), Some(Action::Pause(Duration::from_millis(7))), "the pause delays each echo");
    script.sent(30);
    injector.fin(&mut script);
    let output = play(&mut script);
    assert_eq!(output, Output { bytes: vec![], faults: vec![injected(30, 70)], actions: vec![Action::Fin] });
}

#[test]
fn a_fin_with_nothing_left_to_send_is_not_logged_as_a_fault() {
    let (mut injector, mut script) = (injector(&["fin-without-drain"]), Script::default());
    injector.received(&stream(0..100), &Others, &mut script);
    play(&mut script);
    injector.fin(&mut script);
    assert_eq!(play(&mut script), Output { actions: vec![Action::Fin], ..Output::default() });
}

#[test]
fn delay_pauses_at_its_place() {
    let (mut injector, mut script) = (injector(&["delay:time=9ms,at=100"]), Script::default());
    injector.received(&stream(0..300), &Others, &mut script);
    assert_eq!(script.to_send(), stream(0..100));
    let output = play(&mut script);
    assert_eq!(output.bytes, stream(0..300));
    assert_eq!(
        (output.faults, output.actions),
        (vec![injected(100, 0)], vec![Action::Pause(Duration::from_millis(9))])
    );
}

#[test]
fn a_fault_within_another_is_skipped_and_one_right_behind_it_is_not() {
    let output = each_cut(
        &["drop:len=10,at=100", "flip:at=105", "drop:len=5,at=110", "surplus:at=120", "zero:len=2,at=120"],
        300,
    );
    let seen: Vec<_> = output.faults.iter().map(|injected| (injected.fault, injected.offset)).collect();
    assert_eq!(seen, [(0, 100), (2, 110), (3, 120), (4, 120)]);
}

#[test]
fn an_edit_cut_short_by_the_end_is_logged_with_its_real_length() {
    for (spec, extent) in [("drop:len=50", 10), ("zero:len=50", 10), ("duplicate:len=50", 10)] {
        assert_eq!(each_cut(&[&format!("{spec},at=290")], 300).faults, [injected(290, extent)], "{spec}");
    }
}

#[test]
fn a_renumbered_connection_meets_the_faults_of_its_new_number() {
    let (mut injector, mut script) = (injector(&["flip:at=4,conn=3", "drop:at=50,conn=7"]), Script::default());
    injector.received(&stream(0..3), &Others, &mut script);
    injector.renumber(7);
    injector.received(&stream(3..100), &Others, &mut script);
    assert_eq!(play(&mut script).bytes, concat(&[&stream(0..50), &stream(51..100)]));
}

#[test]
fn without_a_place_a_probability_decides_for_the_whole_connection() {
    let hit = |conn| {
        let faults: Vec<Fault> = vec!["no-fin:p=0.25".parse().expect("a valid fault spec")];
        let (mut injector, mut script) = (Injector::new(faults.into(), SEED, conn, peer()), Script::default());
        injector.fin(&mut script);
        play(&mut script).actions == [Action::Hold]
    };
    let hits = (0..1000).filter(|conn| hit(*conn)).count();
    assert!((200..300).contains(&hits), "{hits} of 1000");
    assert!((0..100).all(|conn| hit(conn) == hit(conn)));
}

#[test]
fn only_faults_add_or_lose_bytes() {
    // The server's counters rest on: received + added = sent + left out.
    let specs = [
        "flip:every=1000",
        "drop:len=30,every=3000",
        "duplicate:len=70,every=3000",
        "reorder:every=3000",
        "crosstalk:len=100,every=3000",
        "crosstalk:len=50,every=3000,mode=insert",
        "stale:from=older,len=40,every=3000",
        "surplus:len=10,every=3000",
    ];
    for cut in [1, 50, 4000] {
        let (mut injector, mut script) = (injector(&specs), Script::default());
        for piece in stream(0..50_000).chunks(cut) {
            injector.received(piece, &Others, &mut script);
        }
        injector.fin(&mut script);
        let output = play(&mut script);
        let lost = |injected: &&InjectedFault| matches!(injected.fault, 1) || injected.replaced.is_some();
        let left_out: u64 = output.faults.iter().filter(lost).map(|injected| injected.extent).sum();
        assert!(output.faults.len() > 100, "{}", output.faults.len());
        assert_eq!(50_000 + injector.added(), output.bytes.len() as u64 + left_out);
    }
}
