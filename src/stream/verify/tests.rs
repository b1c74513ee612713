//! What the verifier finds in streams that were tampered with.

use std::collections::BTreeMap;

use properties::matches;

use super::*;
use crate::stream::MAX_FINDINGS;
use crate::stream::earlier::EarlierRun;
use crate::stream::finding::{Change, Corruption, StreamSource};
use crate::stream::ledger::LedgerEntry;

mod properties;
mod reordering;

const SENT: u64 = 40_000;
const OWN: u32 = 7;
const OTHER: u32 = 9;
const CLOSED: u32 = 4;

fn conn(id: u32) -> ConnId {
    ConnId::new(id).expect("at most 31 bits")
}

fn stream() -> Stream {
    Stream::new(42)
}

fn bytes(id: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    stream().fill(conn(id), offset, &mut out);
    out
}

fn own(offset: u64, len: usize) -> Vec<u8> {
    bytes(OWN, offset, len)
}

/// Bytes that nobody sent.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Stream::new(seed ^ 0x00DD).fill(conn(0), 0, &mut out);
    out
}

struct TestLedger(BTreeMap<ConnId, LedgerEntry>, Vec<EarlierRun>);

impl Ledger for TestLedger {
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry> {
        self.0.get(&conn).copied()
    }

    fn earlier(&self) -> &[EarlierRun] {
        &self.1
    }
}

/// A run before this one, whose connections have sent as much.
fn earlier(name: &str, seed: u64) -> EarlierRun {
    EarlierRun { name: name.to_owned(), stream: Stream::new(seed), conns: 20, bytes: SENT }
}

fn ledger(own: u64) -> TestLedger {
    let sent = |bytes, open| LedgerEntry { bytes, open, known: true };
    TestLedger(
        [(conn(OWN), sent(own, true)), (conn(OTHER), sent(SENT, true)), (conn(CLOSED), sent(SENT, false))].into(),
        vec![earlier("3.4 first", 7), earlier("3.5 second", 8)],
    )
}

/// What was found, and the verifier afterwards.
struct Verified {
    found: Vec<Divergence>,
    verifier: Verifier,
}

/// Hands these bytes to a verifier in reads of these sizes, which repeat, and ends with `end`.
fn verify(sent: u64, received: &[u8], reads: &[usize], end: End) -> Verified {
    let (stream, ledger) = (stream(), ledger(sent));
    let mut verifier = Verifier::new(conn(OWN));
    let mut found = Vec::new();
    let mut rest = received;
    for size in reads.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (read, later) = rest.split_at(rest.len().min(*size));
        verifier.check(&stream, &ledger, read, &mut found);
        rest = later;
    }
    assert_eq!(verifier.received(), received.len() as u64);
    verifier.end(&stream, &ledger, end, &mut found);
    Verified { found, verifier }
}

const FIN: End = End { missing: Some(FindingKind::Truncated), complete: None };

/// The findings if all of it comes in one read, followed by EOF.
fn received(parts: &[Vec<u8>]) -> Vec<Divergence> {
    verify(SENT, &parts.concat(), &[usize::MAX], FIN).found
}

/// The only finding.
#[track_caller]
fn only(found: Vec<Divergence>) -> Divergence {
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().expect("the length was just checked")
}

fn rest(offset: u64) -> Vec<u8> {
    own(offset, (SENT - offset) as usize)
}

#[track_caller]
fn assert_is(divergence: &Divergence, kind: FindingKind, offset: u64, extent: u64) {
    assert_eq!((divergence.kind, divergence.offset, divergence.extent), (kind, offset, extent), "{divergence:#?}");
}

#[test]
fn a_verifier_of_a_sound_connection_is_small() {
    assert!(size_of::<Verifier>() <= 32);
}

#[test]
fn what_was_sent_is_accepted() {
    let outcome = verify(SENT, &rest(0), &[1, 64, 1000], FIN);
    assert_eq!(outcome.found, []);
    assert_eq!(outcome.verifier.verified(), SENT);
    assert_eq!(outcome.verifier.position(), SENT);
}

#[test]
fn a_flipped_bit_is_corrupt_and_shown() {
    let mut stream = rest(0);
    stream[1000] ^= 0x10;
    let outcome = verify(SENT, &stream, &[usize::MAX], FIN);
    let divergence = only(outcome.found);
    assert_is(&divergence, FindingKind::Corrupt, 1000, 1);
    assert_eq!(divergence.detail, Some(Corruption { bytes: 1, bits: 1, looks_like: None }));
    assert_eq!(divergence.excerpt_offset, 992);
    assert_eq!(divergence.expected, own(992, 32));
    assert_eq!(divergence.received[..9], stream[992..1001]);
    assert_eq!(outcome.verifier.verified(), SENT - 1);
    assert_eq!(outcome.verifier.position(), SENT);
}

#[test]
fn a_hole_filled_with_zeros_is_recognized() {
    let found = received(&[own(0, 5000), vec![0; 3000], rest(8000)]);
    let divergence = only(found);
    let (first, last) = (own(5000, 1)[0] == 0, own(7999, 1)[0] == 0);
    assert!(!first && !last, "choose another place");
    assert_is(&divergence, FindingKind::Corrupt, 5000, 3000);
    assert_eq!(divergence.detail.and_then(|detail| detail.looks_like), Some(Change::ZeroFilled));
}

#[test]
fn a_stripped_high_bit_is_one_finding_over_all_that_came() {
    let found = received(&[rest(0).iter().map(|byte| byte & 0x7f).collect()]);
    let divergence = only(found);
    assert_eq!(divergence.kind, FindingKind::Corrupt);
    assert!(divergence.offset < 10 && divergence.extent > SENT - 20, "{divergence:#?}");
    assert_eq!(divergence.detail.and_then(|detail| detail.looks_like), Some(Change::HighBitStripped));
}

#[test]
fn text_conversions_are_corrupt_and_recognized() {
    let sent = rest(0);
    let mut crlf = Vec::new();
    for byte in &sent {
        if *byte == b'\n' {
            crlf.push(b'\r');
        }
        crlf.push(*byte);
    }
    let outcome = verify(SENT, &crlf, &[usize::MAX], FIN);
    assert!(outcome.found.len() as u64 <= crlf.len() as u64 - SENT);
    assert_eq!(outcome.verifier.position(), SENT);
    for divergence in &outcome.found {
        assert_eq!(divergence.kind, FindingKind::Corrupt, "{divergence:#?}");
        assert_eq!(divergence.detail.and_then(|detail| detail.looks_like), Some(Change::LfToCrLf));
    }
    let replaced = String::from_utf8_lossy(&sent).into_owned().into_bytes();
    let found = received(&[replaced]);
    assert_eq!(found[0].detail.and_then(|detail| detail.looks_like), Some(Change::Utf8Replaced), "{:#?}", found[0]);
    let latin: String = sent.iter().map(|byte| char::from(*byte)).collect();
    let found = received(&[latin.into_bytes()]);
    assert_eq!(found[0].detail.and_then(|detail| detail.looks_like), Some(Change::Latin1ToUtf8), "{:#?}", found[0]);
}

#[test]
fn a_carriage_return_lost_before_a_line_feed_is_a_text_conversion() {
    let at = (0..SENT).find(|&at| own(at, 2) == *b"\r\n");
    let Some(at) = at else {
        // This seed has none in these bytes.
        return assert!(rest(0).windows(2).all(|pair| pair != b"\r\n"));
    };
    let divergence = only(received(&[own(0, at as usize), rest(at + 1)]));
    assert_is(&divergence, FindingKind::Corrupt, at, 1);
    assert_eq!(divergence.detail.and_then(|detail| detail.looks_like), Some(Change::CrLfToLf));
}

#[test]
fn one_lost_byte_is_one_finding_of_one_byte() {
    let outcome = verify(SENT, &[own(0, 1234), rest(1235)].concat(), &[usize::MAX], FIN);
    assert_is(&only(outcome.found), FindingKind::Lost, 1234, 1);
    assert_eq!(outcome.verifier.position(), SENT);
    assert_eq!(outcome.verifier.verified(), SENT - 1);
}

#[test]
fn a_long_loss_is_measured() {
    assert_is(&only(received(&[own(0, 1000), rest(30_000)])), FindingKind::Lost, 1000, 29_000);
}

#[test]
fn a_repeated_chunk_is_duplicated() {
    for len in [1usize, 5, 8, 100, 3000] {
        let outcome = verify(SENT, &[own(0, 3333), rest(3333 - len as u64)].concat(), &[usize::MAX], FIN);
        let divergence = only(outcome.found);
        assert_is(&divergence, FindingKind::Duplicated, 3333, len as u64);
        assert_eq!(divergence.source.map(|source| source.offset), Some(3333 - len as u64));
        assert_eq!(divergence.replaced, 0);
        assert_eq!(outcome.verifier.verified(), SENT);
    }
}

#[test]
fn swapped_chunks_are_reordered_whatever_their_lengths() {
    for first in [1, 2, 3, 7, 14, 15, 16, 40, 500, 5000] {
        for second in [1, 2, 3, 7, 14, 15, 16, 40, 500, 5000] {
            let (a, b) = (own(2000, first), own(2000 + first as u64, second));
            let found = received(&[own(0, 2000), b, a, rest(2000 + (first + second) as u64)]);
            let divergence = only(found);
            assert_is(&divergence, FindingKind::Reordered, 2000, first as u64);
            assert_eq!(divergence.overtaken_by, second as u64);
        }
    }
}

#[test]
fn chunks_that_swap_places_across_others_overtake_those_and_each_other() {
    let found = received(&[own(0, 1000), own(1800, 100), own(1100, 700), own(1000, 100), rest(1900)]);
    let brief: Vec<_> = found.iter().map(|d| (d.kind, d.offset, d.extent, d.overtaken_by)).collect();
    assert_eq!(brief, [(FindingKind::Reordered, 1100, 700, 100), (FindingKind::Reordered, 1000, 100, 800)]);
}

#[test]
fn last_bytes_that_came_too_early_are_reordered() {
    for early in [1, 2, 5, 9, 14, 40] {
        for late in [20, 100] {
            let (at, end) = (SENT - late - early, SENT - early);
            let parts = [own(0, at as usize), own(end, early as usize), own(at, late as usize)];
            let divergence = only(received(&parts));
            assert_is(&divergence, FindingKind::Reordered, at, late);
            assert_eq!(divergence.overtaken_by, early);
        }
    }
}

#[test]
fn when_the_last_bytes_sent_came_too_early_nothing_is_awaited() {
    let (stream, ledger) = (stream(), ledger(SENT));
    let (mut verifier, mut found) = (Verifier::new(conn(OWN)), Vec::new());
    let received = [own(0, SENT as usize - 107), own(SENT - 7, 7), own(SENT - 107, 100)].concat();
    verifier.check(&stream, &ledger, &received, &mut found);
    assert_eq!((verifier.position(), verifier.reached()), (SENT, SENT));
    let divergence = only(found);
    assert_is(&divergence, FindingKind::Reordered, SENT - 107, 100);
    assert_eq!(divergence.overtaken_by, 7);
}

#[test]
fn late_bytes_begin_where_they_do_even_if_a_neighbour_is_equal_by_chance() {
    let text = own(0, SENT as usize);
    for len in [20, 100] {
        let first_hidden = |at: &usize| text[*at] == text[at + len];
        let last_before_hidden = |at: &usize| text[at - 1] == text[at + len - 1];
        for hides in [&first_hidden as &dyn Fn(&usize) -> bool, &last_before_hidden] {
            for at in (1000..SENT as usize - 1000).filter(|at| hides(at)).take(20) {
                let (a, b) = (own(at as u64, len), own((at + len) as u64, len));
                let divergence = only(received(&[own(0, at), b, a, rest((at + 2 * len) as u64)]));
                assert_is(&divergence, FindingKind::Reordered, at as u64, len as u64);
                assert_eq!(divergence.overtaken_by, len as u64);
            }
        }
    }
}

#[test]
fn bytes_that_were_not_sent_yet_are_surplus_even_if_they_would_come_next() {
    for len in [1, 2, 40] {
        for noisy in [0, 30] {
            let parts = [own(0, SENT as usize), own(SENT, len), noise(3, noisy)].concat();
            for reads in [&[1][..], &[usize::MAX], &[SENT as usize, 1]] {
                let outcome = verify(SENT, &parts, reads, FIN);
                assert_is(&only(outcome.found), FindingKind::Surplus, SENT, (len + noisy) as u64);
                assert_eq!(outcome.verifier.verified(), SENT);
            }
        }
    }
}

#[test]
fn a_doubled_byte_is_no_conversion_of_the_next_one() {
    let text = own(0, SENT as usize);
    // The conversion of Latin-1 to UTF-8 would make these two bytes of the second alone.
    let looks_converted = |at: &usize| text[*at] == 0xc2 && (0x80..0xc0).contains(&text[at + 1]);
    let places: Vec<usize> = (1000..SENT as usize - 1000).filter(looks_converted).collect();
    assert!(places.len() > 10);
    for at in places {
        let doubled = only(received(&[own(0, at + 1), rest(at as u64)]));
        assert_is(&doubled, FindingKind::Duplicated, at as u64 + 1, 1);
    }
}

#[test]
fn old_bytes_after_the_last_are_stale_even_if_the_first_would_come_next() {
    let text = own(0, SENT as usize);
    let hides = |at: &usize| text[*at] == text[at - 1000];
    for at in (1000..SENT as usize - 1000).filter(hides).take(20) {
        let parts = [own(0, at), own(at as u64 - 1000, 400)].concat();
        for reads in [&[usize::MAX][..], &[at, usize::MAX], &[at + 1, usize::MAX]] {
            let stale = only(verify(at as u64, &parts, reads, FIN).found);
            assert_is(&stale, FindingKind::Stale, at as u64, 400);
            assert_eq!(stale.source.map(|source| source.offset), Some(at as u64 - 1000));
        }
    }
}

#[test]
fn missing_bytes_are_lost_only_when_they_can_no_longer_be_late() {
    let long = (20 << 20) as u64;
    let received = [own(0, 1000), own(1100, (long - 1100) as usize)].concat();
    let (stream, ledger) = (stream(), ledger(long));
    let mut verifier = Verifier::new(conn(OWN));
    let mut found = Vec::new();
    verifier.check(&stream, &ledger, &received[..100_000], &mut found);
    assert_eq!(found, []);
    assert_eq!(verifier.position(), 100_100);
    verifier.check(&stream, &ledger, &received[100_000..], &mut found);
    assert_is(&only(found), FindingKind::Lost, 1000, 100);
}

#[test]
fn bytes_of_another_open_connection_are_crosstalk() {
    for len in [15, 16, 64, 1000] {
        let outcome = verify(SENT, &[own(0, 3001), bytes(OTHER, 4099, len), rest(3001)].concat(), &[usize::MAX], FIN);
        let divergence = only(outcome.found);
        assert_is(&divergence, FindingKind::Crosstalk, 3001, len as u64);
        assert_eq!(divergence.source, Some(StreamSource { conn: conn(OTHER), offset: 4099, open: true }));
        assert_eq!(divergence.replaced, 0);
        let instead = [own(0, 3001), bytes(OTHER, 4099, len), rest(3001 + len as u64)].concat();
        let divergence = only(verify(SENT, &instead, &[usize::MAX], FIN).found);
        assert_is(&divergence, FindingKind::Crosstalk, 3001, len as u64);
        assert_eq!(divergence.replaced, len as u64);
    }
}

#[test]
fn two_connections_swapped_for_good_are_crosstalk_to_the_end() {
    let divergence = only(received(&[own(0, 1000), bytes(OTHER, 1000, (SENT - 1000) as usize)]));
    assert_is(&divergence, FindingKind::Crosstalk, 1000, SENT - 1000);
    assert_eq!(divergence.replaced, SENT - 1000);
}

#[test]
fn bytes_of_a_closed_connection_are_stale() {
    let divergence = only(received(&[own(0, 900), bytes(CLOSED, 77, 200), rest(900)]));
    assert_is(&divergence, FindingKind::Stale, 900, 200);
    assert_eq!(divergence.source, Some(StreamSource { conn: conn(CLOSED), offset: 77, open: false }));
}

#[test]
fn bytes_of_an_earlier_run_against_the_same_server_are_stale_and_name_it() {
    let of_earlier = |seed, id, offset, len| {
        let mut out = vec![0; len];
        Stream::new(seed).fill(conn(id), offset, &mut out);
        out
    };
    for (offset, len) in [(16, 24), (17, 24), (23, 3000)] {
        for (seed, name) in [(7, "3.4 first"), (8, "3.5 second")] {
            let stale = only(received(&[own(0, 900), of_earlier(seed, 3, offset, len), rest(900)]));
            assert_is(&stale, FindingKind::Stale, 900, len as u64);
            assert_eq!(stale.source, Some(StreamSource { conn: conn(3), offset, open: false }), "{offset}, {len}");
            assert_eq!(stale.earlier.as_deref(), Some(name));
        }
    }
    for unsent in [of_earlier(9, 3, 0, 300), of_earlier(7, 20, 0, 300), of_earlier(7, 3, SENT, 300)] {
        let surplus = only(received(&[own(0, 900), unsent, rest(900)]));
        assert_is(&surplus, FindingKind::Surplus, 900, 300);
    }
}

#[test]
fn older_bytes_of_the_connection_itself_are_stale() {
    for len in [4, 5, 14, 15, 300] {
        let divergence = only(received(&[own(0, 9000), own(1000, len), rest(9000)]));
        assert_is(&divergence, FindingKind::Stale, 9000, len as u64);
        assert_eq!(divergence.source, Some(StreamSource { conn: conn(OWN), offset: 1000, open: true }));
        let divergence = only(received(&[own(0, 9000), own(1000, len), rest(9000 + len as u64)]));
        assert_is(&divergence, FindingKind::Stale, 9000, len as u64);
        assert_eq!(divergence.replaced, len as u64);
    }
}

#[test]
fn the_rest_of_a_fixed_buffer_sent_back_is_stale_then_surplus() {
    // A server with a buffer of 4096 bytes reads 1000 bytes, then 300, and sends the whole buffer each time.
    let first = [own(0, 1000), vec![0; 3096]].concat();
    let second = [own(1000, 300), own(300, 700), vec![0; 3096]].concat();
    let found = verify(1300, &[first, second].concat(), &[usize::MAX], FIN).found;
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_is(&found[0], FindingKind::Surplus, 1000, 3096);
    assert_eq!(found[0].detail.and_then(|detail| detail.looks_like), Some(Change::ZeroFilled));
    assert_is(&found[1], FindingKind::Stale, 1300, 700);
    assert_is(&found[2], FindingKind::Surplus, 1300, 3096);
}

#[test]
fn a_padded_echo_has_no_more_changed_bytes_than_were_sent() {
    // A server with a buffer of 4096 bytes sends all of it for each message of this many bytes.
    for len in [1usize, 3, 200, 700] {
        let sent = 10 * len as u64;
        let padded: Vec<u8> = (0..10).flat_map(|n| [own(n * len as u64, len), vec![0; 4096 - len]].concat()).collect();
        for reads in [&[4096][..], &[usize::MAX], &[100]] {
            let found = verify(sent, &padded, reads, FIN).found;
            let corrupt: Vec<_> = found.iter().filter(|d| d.kind == FindingKind::Corrupt).collect();
            for divergence in &corrupt {
                let detail = divergence.detail.expect("what came is known");
                assert!(divergence.extent < sent && detail.bytes <= divergence.extent, "{len}: {divergence:#?}");
                assert!(detail.bits <= 8 * divergence.extent, "{len}: {divergence:#?}");
            }
            let surplus: Vec<_> = found.iter().filter(|d| d.kind == FindingKind::Surplus).collect();
            let looks = |d: &&Divergence| d.detail.and_then(|detail| detail.looks_like);
            let zeros = |d: &&Divergence| matches!(looks(d), Some(Change::ZeroFilled | Change::MostlyZero));
            assert!(!surplus.is_empty() && surplus.iter().all(zeros), "{len}: {surplus:#?}");
        }
    }
}

#[test]
fn lost_and_doubled_bytes_are_kept_if_they_are_few() {
    let lost = only(received(&[own(0, 1234), rest(1236)]));
    assert_eq!(lost.short, Some(own(1234, 2)));
    let doubled = only(received(&[own(0, 3333), rest(3332)]));
    assert_eq!(doubled.short, Some(own(3332, 1)));
    assert_eq!(only(received(&[own(0, 1234), rest(1334)])).short, None);
}

#[test]
fn bytes_that_nobody_sent_are_surplus() {
    for len in [1, 8, 15, 100, 1000] {
        let divergence = only(received(&[own(0, 700), noise(1, len), rest(700)]));
        assert_is(&divergence, FindingKind::Surplus, 700, len as u64);
        let divergence = only(received(&[rest(0), noise(1, len)]));
        assert_is(&divergence, FindingKind::Surplus, SENT, len as u64);
    }
}

#[test]
fn bytes_beyond_what_their_connection_sent_are_surplus() {
    let divergence = only(received(&[own(0, 700), bytes(OTHER, SENT, 100), rest(700)]));
    assert_is(&divergence, FindingKind::Surplus, 700, 100);
    let divergence = only(received(&[own(0, 700), bytes(3, 0, 100), rest(700)]));
    assert_is(&divergence, FindingKind::Surplus, 700, 100);
}

#[test]
fn missing_bytes_have_the_name_of_the_end_with_their_place() {
    let divergence = only(verify(SENT, &own(0, 39_000), &[usize::MAX], FIN).found);
    assert_is(&divergence, FindingKind::Truncated, 39_000, 1000);
    assert_eq!((divergence.expected, divergence.received), (own(38_992, 32), own(38_992, 8)));
    assert_eq!(verify(SENT, &own(0, 39_000), &[usize::MAX], End::STOPPED).found, []);
}

#[test]
fn an_end_has_one_name_if_bytes_are_missing_and_another_if_not() {
    let all = rest(0);
    let some = &all[..100];
    let kinds = |bytes: &[u8], end| -> Vec<(FindingKind, u64, u64)> {
        let found = verify(SENT, bytes, &[usize::MAX], end).found;
        found.iter().map(|divergence| (divergence.kind, divergence.offset, divergence.extent)).collect()
    };
    let end = End { missing: Some(FindingKind::Stalled), complete: Some(FindingKind::NoFin) };
    assert_eq!(kinds(some, end), [(FindingKind::Stalled, 100, SENT - 100)]);
    assert_eq!(kinds(&all, end), [(FindingKind::NoFin, SENT, 0)]);
    assert_eq!(kinds(&all, FIN), []);
}

#[test]
fn wrong_bytes_explain_why_the_stream_ended_too_soon() {
    let extra = [rest(0), bytes(OTHER, 0, 100)].concat();
    let kinds = |kind| -> Vec<FindingKind> {
        let end = End { missing: None, complete: Some(kind) };
        verify(SENT, &extra, &[usize::MAX], end).found.iter().map(|divergence| divergence.kind).collect()
    };
    assert_eq!(kinds(FindingKind::Truncated), [FindingKind::Crosstalk]);
    assert_eq!(kinds(FindingKind::Reset), [FindingKind::Crosstalk, FindingKind::Reset]);
}

#[test]
fn near_the_end_fewer_bytes_tell_what_happened() {
    for left in 1..20u64 {
        let at = SENT - left;
        let lost = only(verify(SENT, &[own(0, at as usize - 3), rest(at)].concat(), &[usize::MAX], FIN).found);
        assert_is(&lost, FindingKind::Lost, at - 3, 3);
        let surplus = only(received(&[own(0, at as usize), noise(3, 4), rest(at)]));
        assert_is(&surplus, FindingKind::Surplus, at, 4);
        let duplicated = only(received(&[own(0, at as usize), rest(at - 6)]));
        assert_is(&duplicated, FindingKind::Duplicated, at, 6);
        let mut changed = rest(0);
        changed[at as usize] ^= 1;
        assert_is(&only(received(&[changed])), FindingKind::Corrupt, at, 1);
        let reordered = [own(0, at as usize - 40), own(at - 20, 20), own(at - 40, 20), rest(at)];
        let reordered = only(received(&reordered));
        assert!(matches(&reordered, &(FindingKind::Reordered, at - 40, 20, 20)), "{reordered:#?}");
    }
    assert_is(&only(received(&[rest(0), own(SENT - 6, 6)])), FindingKind::Duplicated, SENT, 6);
    assert_is(&only(received(&[rest(0), own(SENT - 600, 600)])), FindingKind::Duplicated, SENT, 600);
}

#[test]
fn bytes_not_accounted_for_yet_count_as_reached() {
    let (stream, ledger) = (stream(), ledger(SENT));
    let mut verifier = Verifier::new(conn(OWN));
    let mut found = Vec::new();
    let mut received = own(0, 64);
    received[62] ^= 1;
    verifier.check(&stream, &ledger, &received, &mut found);
    assert_eq!((verifier.position(), verifier.reached()), (62, 64));
    verifier.check(&stream, &ledger, &own(64, 64), &mut found);
    assert_eq!((verifier.position(), verifier.reached(), verifier.verified()), (128, 128, 127));
}

#[test]
fn a_divergence_that_is_certain_later_keeps_the_circumstances_of_its_bytes() {
    let (stream, ledger) = (stream(), ledger(SENT));
    let mut verifier = Verifier::new(conn(OWN));
    let mut found = Vec::new();
    let received = [own(0, 500), own(600, 1000), own(1600, 1000)].concat();
    // The first wrong bytes come at 2, and are too few to tell what happened.
    for (time, read) in [(1, 0..500), (2, 500..503), (3, 503..1500), (4, 1500..2500)] {
        verifier.check(&stream, &ledger, &received[read], &mut found);
        verifier.note(|| Circumstances { at_ms: f64::from(time), recent: Vec::new(), other: None });
    }
    assert_eq!(found, []);
    verifier.end(&stream, &ledger, End::STOPPED, &mut found);
    let lost = only(found);
    assert_is(&lost, FindingKind::Lost, 500, 100);
    assert_eq!(lost.circumstances.map(|circumstances| circumstances.at_ms), Some(2.0));
}

#[test]
fn hopeless_noise_ends_in_few_findings() {
    let received = noise(5, 3 << 20);
    let outcome = verify(SENT, &received, &[1000], FIN);
    let mut kinds: Vec<_> = outcome.found.iter().map(|divergence| (divergence.kind, divergence.extent)).collect();
    kinds.sort();
    assert_eq!(kinds, [(FindingKind::Corrupt, SENT), (FindingKind::Surplus, (3 << 20) - SENT)]);
    assert_eq!(outcome.verifier.verified(), 0);
}

#[test]
fn only_the_first_of_many_findings_have_excerpts_and_a_hopeless_stream_is_given_up() {
    let mut received = Vec::new();
    for n in 0..SENT / 100 {
        received.extend(own(n * 100, 100));
        received.extend(bytes(OTHER, n * 50, 50));
    }
    let outcome = verify(SENT, &received, &[333], FIN);
    const { assert!(SENT / 100 > MAX_FINDINGS) };
    assert_eq!(outcome.found.len() as u64, MAX_FINDINGS, "nor is anything called missing that was not looked at");
    assert!(outcome.found.iter().all(|divergence| divergence.kind == FindingKind::Crosstalk));
    assert!(outcome.found[..64].iter().all(|divergence| !divergence.received.is_empty()));
    assert!(outcome.found[64..].iter().all(|divergence| divergence.received.is_empty()));
}
