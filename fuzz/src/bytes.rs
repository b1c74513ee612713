//! The verifier: any bytes in any cuts, and streams with known edits.

use echo_tester::stream::{ConnId, Divergence, End, FindingKind, Ledger, LedgerEntry, Stream, Verifier};

use super::input::Input;

/// The connection under test, another one, and one that is closed.
const CONNS: [u32; 3] = [7, 9, 4];
/// Bytes of each of the others.
const SENT_BY_OTHERS: u64 = 4096;
/// A stream's end that asserts that all came.
const FIN: End = End { missing: Some(FindingKind::Truncated), complete: None };
/// Edits this far apart do not touch each other.
const APART: usize = 64;
/// Runs of this many bytes are not equal by chance.
const EDIT: usize = 8;

struct Known {
    sent: u64,
}

impl Ledger for Known {
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry> {
        let bytes = match CONNS.iter().position(|known| *known == conn.get())? {
            0 => self.sent,
            _ => SENT_BY_OTHERS,
        };
        Some(LedgerEntry { bytes, open: conn.get() != CONNS[2], known: true })
    }
}

fn conn(index: usize) -> ConnId {
    ConnId::new(CONNS[index]).expect("the ids are small")
}

fn piece(stream: &Stream, index: usize, from: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.fill(conn(index), from, &mut bytes);
    bytes
}

/// What the verifier says of these bytes, cut like this, and how many bytes it found right.
fn verify(stream: &Stream, sent: u64, received: &[u8], cuts: &[usize]) -> (Vec<Divergence>, u64) {
    let (mut verifier, mut found, mut rest) = (Verifier::new(conn(0)), Vec::new(), received);
    for size in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (read, later) = rest.split_at(rest.len().min(*size));
        verifier.check(stream, &Known { sent }, read, &mut found);
        rest = later;
    }
    assert_eq!(verifier.received(), received.len() as u64);
    verifier.end(stream, &Known { sent }, FIN, &mut found);
    assert!(verifier.verified() <= sent.min(received.len() as u64), "no more is right than was sent and came");
    (found, verifier.verified())
}

/// Bytes that nobody sent.
fn noise(input: &mut Input<'_>, len: usize) -> Vec<u8> {
    let seed = 0xA5A5_0000 | input.short() as u64;
    let mut bytes = vec![0; len];
    Stream::new(seed).fill(conn(1), 8 * u64::from(input.byte()), &mut bytes);
    bytes
}

/// Builds what is received. Returns it with the bytes that were sent, and how many edits were made; `None`: some are
/// too near to each other to be counted.
fn build(stream: &Stream, input: &mut Input<'_>) -> (Vec<u8>, u64, Option<usize>) {
    let (mut received, mut at, mut edits, mut is_countable) = (Vec::new(), 0u64, 0, true);
    while !input.is_empty() && received.len() < 16 << 10 {
        let (op, len) = (input.byte(), input.short() % 700);
        let right = if op & 0x80 == 0 { APART + len } else { len };
        is_countable &= right >= APART;
        received.extend(piece(stream, 0, at, right));
        at += right as u64;
        let len = EDIT + input.below(100);
        edits += 1;
        match op & 7 {
            0 => at += len as u64,
            1 => received.extend(noise(input, len)),
            2 => received.extend(piece(stream, 0, at - len.min(right) as u64, len.min(right))),
            3 => {
                received.extend(piece(stream, 0, at, len).iter().map(|byte| !byte));
                at += len as u64;
            }
            4 => {
                received.extend(piece(stream, 0, at + len as u64, len));
                received.extend(piece(stream, 0, at, len));
                at += 2 * len as u64;
            }
            5 | 6 => {
                let other = usize::from(op & 7) - 4;
                received.extend(piece(stream, other, input.short() as u64 % (SENT_BY_OTHERS - 200), len));
                at += if op & 8 == 0 { 0 } else { len as u64 };
            }
            _ => {
                edits -= 1;
                is_countable = false;
                let raw = input.below(64);
                received.extend(input.take(raw));
            }
        }
    }
    received.extend(piece(stream, 0, at, APART));
    (received, at + APART as u64, is_countable.then_some(edits))
}

/// Any bytes in any cuts: the verifier ends, the cuts make no difference, and it finds something exactly if the bytes
/// are not those that were sent. Of edits that lie apart it finds at least as many as were made.
pub fn verifier(data: &[u8]) {
    let mut input = Input(data);
    let stream = Stream::new(u64::from(input.byte()));
    let cuts = [input.below(600) + 1, input.below(20) + 1, input.below(3000) + 1];
    let cut_short = input.byte();
    let (mut received, sent, edits) = build(&stream, &mut input);
    let is_whole = cut_short & 1 == 0;
    if !is_whole {
        received.truncate(received.len().saturating_sub(usize::from(cut_short) * 4));
    }
    let (found, verified) = verify(&stream, sent, &received, &[usize::MAX]);
    let (cut, verified_cut) = verify(&stream, sent, &received, &cuts);
    assert_eq!(cut, found, "the cuts {cuts:?} make a difference");
    assert_eq!(verified_cut, verified);
    let is_right = received == piece(&stream, 0, 0, sent as usize);
    assert_eq!(found.is_empty(), is_right, "{found:#?}");
    if let Some(edits) = edits.filter(|_| is_whole) {
        let most = usize::try_from(echo_tester::stream::MAX_FINDINGS).unwrap_or(usize::MAX);
        assert!(found.len() >= edits.min(most), "{edits} edits, {} findings: {found:#?}", found.len());
    }
}
