//! Every fault on a stream of known bytes, cut in every way: what comes out, and what the log says of it.

use std::time::Duration;

use super::*;

/// The number of the connection under test.
const CONN: u64 = 3;
const SEED: u64 = 11;

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 4242).into()
}

/// Byte `n` of the connection's stream: no two within a thousand bytes of each other stand in the same place of a pair,
/// and none is zero.
fn stream(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|n| (draw(77, &[n]) % 255) as u8 + 1).collect()
}

/// Others of which every byte is 0x80 or more, so that it is seen what was theirs.
struct Others;

fn passage(conn: u64, len: usize) -> Option<Passage> {
    Some(Passage { bytes: vec![0x80 + conn as u8; len], source: Source { conn, peer: peer(), offset: 1000 } })
}

impl Archive for Others {
    fn has_another(&self) -> bool {
        true
    }

    fn of_another(&self, len: usize, _: u64) -> Option<Passage> {
        passage(8, len)
    }

    fn older(&self, len: usize, before: u64, _: u64) -> Option<Passage> {
        let offset = before.checked_sub(len as u64 + 64)?;
        Some(Passage {
            bytes: stream(offset..offset + len as u64),
            source: Source { conn: CONN, peer: peer(), offset },
        })
    }

    fn of_a_closed_one(&self, len: usize, _: u64) -> Option<Passage> {
        passage(9, len)
    }
}

/// Nobody else, and no past.
struct Alone;

impl Archive for Alone {
    fn has_another(&self) -> bool {
        false
    }

    fn of_another(&self, _: usize, _: u64) -> Option<Passage> {
        None
    }

    fn older(&self, _: usize, _: u64, _: u64) -> Option<Passage> {
        None
    }

    fn of_a_closed_one(&self, _: usize, _: u64) -> Option<Passage> {
        None
    }
}

/// What came out: the bytes, the log, and the other deeds.
#[derive(Debug, Default, PartialEq)]
struct Came {
    bytes: Vec<u8>,
    events: Vec<Event>,
    deeds: Vec<Item>,
}

fn injector(specs: &[&str]) -> Injector {
    let faults: Vec<Fault> = specs.iter().map(|spec| spec.parse().expect(spec)).collect();
    Injector::new(faults.into(), SEED, CONN, peer())
}

fn play(script: &mut Script) -> Came {
    let mut came = Came::default();
    loop {
        let bytes = script.to_send().to_vec();
        came.bytes.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            script.sent(bytes.len());
        }
        match script.take_deed() {
            Some(Item::Log(event)) => came.events.push(event),
            Some(deed) => came.deeds.push(deed),
            None if script.to_send().is_empty() => return came,
            None => {}
        }
    }
}

/// Sends `[0, end)` in pieces of `cut` bytes, and the FIN.
fn run(specs: &[&str], end: u64, cut: usize, archive: &dyn Archive) -> Came {
    let (mut injector, mut script) = (injector(specs), Script::default());
    for piece in stream(0..end).chunks(cut) {
        injector.received(piece, archive, &mut script);
    }
    injector.fin(&mut script);
    play(&mut script)
}

/// The same for every cut, with the result the same for each.
fn each_cut(specs: &[&str], end: u64) -> Came {
    let whole = run(specs, end, end as usize, &Others);
    for cut in [1, 2, 3, 7, 64, 99, 100, 101] {
        assert_eq!(run(specs, end, cut, &Others), whole, "{specs:?} cut into {cut}");
    }
    whole
}

fn event(offset: u64, extent: u64) -> Event {
    Event { offset, extent, ..Event::default() }
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn without_faults_it_echoes_and_answers_the_fin() {
    let came = each_cut(&[], 300);
    assert_eq!(came, Came { bytes: stream(0..300), events: vec![], deeds: vec![Item::Fin] });
}

#[test]
fn flip_inverts_so_many_bits_of_one_byte() {
    for n in 1..=8 {
        let came = each_cut(&[&format!("flip:n={n},at=100")], 300);
        let (mut right, mut wrong) = (stream(0..300), came.bytes);
        assert_eq!((right[100] ^ wrong[100]).count_ones(), n);
        right.remove(100);
        wrong.remove(100);
        assert_eq!(right, wrong);
        assert_eq!(came.events, [Event { bits: Some(n.into()), ..event(100, 1) }]);
    }
}

#[test]
fn zero_is_logged_as_far_as_it_changed_something() {
    let came = each_cut(&["zero:len=16,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &[0; 16], &stream(116..300)]));
    assert_eq!(came.events, [event(100, 16)]);

    let (mut injector, mut script) = (injector(&["zero:len=6,at=1", "zero:len=2,at=10"]), Script::default());
    injector.received(&[9, 0, 0, 9, 0, 9, 0, 9, 9, 9, 0, 0, 9], &Others, &mut script);
    let came = play(&mut script);
    assert_eq!(came.bytes, [9, 0, 0, 0, 0, 0, 0, 9, 9, 9, 0, 0, 9]);
    assert_eq!(came.events, [event(3, 3)], "what was zero already is not changed, nor logged");
}

#[test]
fn drop_leaves_out_exactly_its_bytes() {
    let came = each_cut(&["drop:len=3,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &stream(103..300)]));
    assert_eq!(came.events, [event(100, 3)]);
}

#[test]
fn duplicate_sends_the_bytes_twice_in_a_row() {
    let came = each_cut(&["duplicate:len=20,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..120), &stream(100..300)]));
    assert_eq!(came.events, [event(100, 20)]);
}

#[test]
fn reorder_swaps_two_neighbours_of_the_same_length() {
    let came = each_cut(&["reorder:len=20,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &stream(120..140), &stream(100..120), &stream(140..300)]));
    assert_eq!(came.events, [Event { over: Some(20), ..event(100, 20) }]);
}

#[test]
fn reorder_does_with_what_came_when_no_more_comes() {
    let came = each_cut(&["reorder:len=20,at=100"], 130);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &stream(120..130), &stream(100..120)]));
    assert_eq!(came.events, [Event { over: Some(10), ..event(100, 20) }]);
    for end in [110, 120] {
        let came = each_cut(&["reorder:len=20,at=100"], end);
        assert_eq!((came.bytes, came.events), (stream(0..end), vec![]), "nothing was there to overtake it");
    }

    let (mut injector, mut script) = (injector(&["reorder:len=20,at=100"]), Script::default());
    injector.received(&stream(0..110), &Others, &mut script);
    assert!(injector.keeps_back());
    assert_eq!(play(&mut script).bytes, stream(0..100));
    injector.settle(&mut script);
    assert!(!injector.keeps_back());
    injector.received(&stream(110..300), &Others, &mut script);
    assert_eq!(play(&mut script), Came { bytes: stream(100..300), ..Came::default() }, "let go, and not tried again");
}

#[test]
fn crosstalk_comes_in_place_of_own_bytes_or_in_between() {
    let source = Some(Source { conn: 8, peer: peer(), offset: 1000 });
    let came = each_cut(&["crosstalk:len=20,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &[0x88; 20], &stream(120..300)]));
    assert_eq!(came.events, [Event { replaced: Some(20), source: source.clone(), ..event(100, 20) }]);

    let came = each_cut(&["crosstalk:len=20,at=100,mode=insert"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &[0x88; 20], &stream(100..300)]));
    assert_eq!(came.events, [Event { source: source.clone(), ..event(100, 20) }]);

    let came = each_cut(&["crosstalk:len=20,at=100"], 110);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &[0x88; 10]]), "no further than the connection's own bytes");
    assert_eq!(came.events, [Event { replaced: Some(10), source, ..event(100, 10) }]);
}

#[test]
fn crosstalk_that_moves_loses_the_bytes_here_and_puts_them_in_there() {
    let came = each_cut(&["crosstalk:len=20,at=100,mode=move"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &stream(120..300)]));
    assert_eq!(came.events, [Event { effect: Some(FaultKind::Drop), ..event(100, 20) }]);
    let gift = Passage { bytes: stream(100..120), source: Source { conn: CONN, peer: peer(), offset: 100 } };
    assert_eq!(came.deeds, [Item::GiveAway(gift.clone(), 0), Item::Fin]);

    let (mut there, mut script) = (injector(&["crosstalk:at=999,mode=move"]), Script::default());
    there.received(&stream(0..50), &Others, &mut script);
    there.receive_gift(0, gift.clone(), &mut script);
    there.received(&stream(50..60), &Others, &mut script);
    let came = play(&mut script);
    assert_eq!(came.bytes, concat(&[&stream(0..50), &stream(100..120), &stream(50..60)]));
    assert_eq!(came.events, [Event { source: Some(gift.source), ..event(50, 20) }]);
    assert_eq!(there.added(), 20);
}

#[test]
fn stale_bytes_come_from_an_older_place_or_from_a_closed_connection() {
    let came = each_cut(&["stale:from=older,len=20,at=100"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &stream(16..36), &stream(100..300)]));
    let source = Some(Source { conn: CONN, peer: peer(), offset: 16 });
    assert_eq!(came.events, [Event { source, ..event(100, 20) }]);

    let came = each_cut(&["stale:from=closed,len=20,at=100,mode=replace"], 300);
    assert_eq!(came.bytes, concat(&[&stream(0..100), &[0x89; 20], &stream(120..300)]));
    let source = Some(Source { conn: 9, peer: peer(), offset: 1000 });
    assert_eq!(came.events, [Event { replaced: Some(20), source, ..event(100, 20) }]);
}

#[test]
fn without_another_connection_or_a_past_nothing_is_injected_nor_counted() {
    let specs = [
        "crosstalk:every=100,len=20,times=1",
        "crosstalk:at=50,mode=move",
        "stale:at=100,from=older",
        "stale:at=9,from=closed",
    ];
    let came = run(&specs, 1000, 64, &Alone);
    assert_eq!(came, Came { bytes: stream(0..1000), events: vec![], deeds: vec![Item::Fin] });

    let (mut injector, mut script) = (injector(&specs[..1]), Script::default());
    injector.received(&stream(0..500), &Alone, &mut script);
    injector.received(&stream(500..1000), &Others, &mut script);
    assert_eq!(play(&mut script).events.len(), 1, "the one time is still to come");
}

#[test]
fn a_whole_buffer_carries_the_old_bytes_behind_each_short_receive() {
    let (mut injector, mut script) = (injector(&["stale:len=100"]), Script::default());
    let mut receive = |from, to| {
        injector.received(&stream(from..to), &Others, &mut script);
        play(&mut script)
    };
    let source = |offset| Some(Source { conn: CONN, peer: peer(), offset });
    assert_eq!(receive(0, 60), Came { bytes: stream(0..60), ..Came::default() }, "nothing old is in it yet");
    let came = receive(60, 80);
    assert_eq!(came.bytes, concat(&[&stream(60..80), &stream(20..60)]));
    assert_eq!(came.events, [Event { source: source(20), ..event(80, 40) }]);
    let came = receive(80, 90);
    assert_eq!(came.bytes, concat(&[&stream(80..90), &stream(70..80), &stream(20..60)]));
    assert_eq!(
        came.events,
        [Event { source: source(70), ..event(90, 10) }, Event { source: source(20), ..event(90, 40) }]
    );
    let came = receive(90, 220);
    assert_eq!(came.bytes, concat(&[&stream(90..220), &stream(120..190)]), "two receives, a full one and a short one");
    assert_eq!(came.events, [Event { source: source(120), ..event(220, 70) }]);
}

#[test]
fn a_whole_buffer_is_sent_no_more_often_than_asked() {
    let came = run(&["stale:len=100,times=2"], 990, 30, &Others);
    assert_eq!(came.events.len(), 0, "receives of one length leave nothing old behind them");
    let (mut injector, mut script) = (injector(&["stale:len=100,times=2"]), Script::default());
    for end in [50, 60, 70, 80, 90] {
        injector.received(&stream(end - 10..end), &Others, &mut script);
        injector.received(&stream(end..end + 2), &Others, &mut script);
    }
    assert_eq!(play(&mut script).events.len(), 2);
}

#[test]
fn surplus_is_random_and_comes_where_it_is_asked_for_or_after_the_end() {
    let came = each_cut(&["surplus:len=20,at=100"], 300);
    assert_eq!((&came.bytes[..100], &came.bytes[120..]), (&stream(0..100)[..], &stream(100..300)[..]));
    assert_eq!(came.events, [event(100, 20)]);

    let came = each_cut(&["surplus:len=20"], 300);
    assert_eq!((&came.bytes[..300], came.bytes.len()), (&stream(0..300)[..], 320));
    assert_eq!((came.events, came.deeds), (vec![event(300, 20)], vec![Item::Fin]));
}

#[test]
fn what_ends_a_connection_ends_it_before_its_byte() {
    for (spec, end) in [("truncate", Item::Fin), ("stall", Item::Hold), ("reset", Item::Reset)] {
        let came = each_cut(&[&format!("{spec}:at=100"), "drop:at=150"], 300);
        assert_eq!((came.bytes, came.events), (stream(0..100), vec![event(100, 0)]), "{spec}");
        assert_eq!(came.deeds, [end], "{spec}");
    }
}

#[test]
fn the_fin_is_answered_never_or_at_once() {
    let came = each_cut(&["no-fin"], 300);
    assert_eq!(came, Came { bytes: stream(0..300), events: vec![event(300, 0)], deeds: vec![Item::Hold] });

    let (mut injector, mut script) = (injector(&["fin-without-drain:time=7ms"]), Script::default());
    injector.received(&stream(0..100), &Others, &mut script);
    assert_eq!(script.take_deed(), Some(Item::Pause(Duration::from_millis(7))), "each echo is held back");
    script.sent(30);
    injector.fin(&mut script);
    let came = play(&mut script);
    assert_eq!(came, Came { bytes: vec![], events: vec![event(30, 70)], deeds: vec![Item::Fin] });
}

#[test]
fn a_fin_with_nothing_left_to_send_is_no_fault() {
    let (mut injector, mut script) = (injector(&["fin-without-drain"]), Script::default());
    injector.received(&stream(0..100), &Others, &mut script);
    play(&mut script);
    injector.fin(&mut script);
    assert_eq!(play(&mut script), Came { deeds: vec![Item::Fin], ..Came::default() });
}

#[test]
fn delay_pauses_at_its_place() {
    let (mut injector, mut script) = (injector(&["delay:time=9ms,at=100"]), Script::default());
    injector.received(&stream(0..300), &Others, &mut script);
    assert_eq!(script.to_send(), stream(0..100));
    let came = play(&mut script);
    assert_eq!(came.bytes, stream(0..300));
    assert_eq!((came.events, came.deeds), (vec![event(100, 0)], vec![Item::Pause(Duration::from_millis(9))]));
}

#[test]
fn a_fault_within_another_is_passed_over_and_one_behind_it_is_not() {
    let came = each_cut(
        &["drop:len=10,at=100", "flip:at=105", "drop:len=5,at=110", "surplus:at=120", "zero:len=2,at=120"],
        300,
    );
    let seen: Vec<_> = came.events.iter().map(|event| (event.fault, event.offset)).collect();
    assert_eq!(seen, [(0, 100), (2, 110), (3, 120), (4, 120)]);
}

#[test]
fn an_edit_that_the_end_cuts_short_is_logged_as_far_as_it_went() {
    for (spec, extent) in [("drop:len=50", 10), ("zero:len=50", 10), ("duplicate:len=50", 10)] {
        assert_eq!(each_cut(&[&format!("{spec},at=290")], 300).events, [event(290, extent)], "{spec}");
    }
}

#[test]
fn a_connection_that_turns_out_to_be_another_meets_that_ones_faults() {
    let (mut injector, mut script) = (injector(&["flip:at=4,conn=3", "drop:at=50,conn=7"]), Script::default());
    injector.received(&stream(0..3), &Others, &mut script);
    injector.renumber(7);
    injector.received(&stream(3..100), &Others, &mut script);
    assert_eq!(play(&mut script).bytes, concat(&[&stream(0..50), &stream(51..100)]));
}

#[test]
fn a_probability_decides_for_a_connection_as_a_whole_where_there_is_no_place() {
    let hit = |conn| {
        let faults: Vec<Fault> = vec!["no-fin:p=0.25".parse().expect("a fault")];
        let (mut injector, mut script) = (Injector::new(faults.into(), SEED, conn, peer()), Script::default());
        injector.fin(&mut script);
        play(&mut script).deeds == [Item::Hold]
    };
    let hits = (0..1000).filter(|conn| hit(*conn)).count();
    assert!((200..300).contains(&hits), "{hits} of 1000");
    assert!((0..100).all(|conn| hit(conn) == hit(conn)));
}

#[test]
fn bytes_are_neither_lost_nor_made_but_by_faults() {
    // received + added = sent + left out, which is what the server's counters rest on.
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
        let came = play(&mut script);
        let lost = |event: &&Event| matches!(event.fault, 1) || event.replaced.is_some();
        let left_out: u64 = came.events.iter().filter(lost).map(|event| event.extent).sum();
        assert!(came.events.len() > 100, "{}", came.events.len());
        assert_eq!(50_000 + injector.added(), came.bytes.len() as u64 + left_out);
    }
}
