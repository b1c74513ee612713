//! Streams that are tampered with at random: what was done is found exactly, whatever the cuts and the end.

use proptest::prelude::*;

use super::*;

/// One thing done to a stream.
#[derive(Clone, Debug)]
enum Tampering {
    Insert { seed: u64, len: usize },
    Delete { len: usize },
    Change { by: Vec<u8> },
    Swap { first: usize, second: usize },
    Repeat { len: usize },
    Foreign { open: bool, offset: u64, len: usize, instead: bool },
}

/// A tampering with pieces of at least this many bytes.
fn any_tampering(least: usize) -> impl Strategy<Value = Tampering> {
    let from = |least: usize| prop_oneof![3 => least..24, 1 => 24usize..700];
    let short_or_long = move || from(least);
    // If a CR changes places with what follows and comes before an LF, it looks like a text conversion.
    let swapped = move || from(least.max(2));
    prop_oneof![
        (any::<u64>(), short_or_long()).prop_map(|(seed, len)| Tampering::Insert { seed, len }),
        short_or_long().prop_map(|len| Tampering::Delete { len }),
        proptest::collection::vec(1u8.., 1..40).prop_map(|by| Tampering::Change { by }),
        (swapped(), swapped()).prop_map(|(first, second)| Tampering::Swap { first, second }),
        (least..64).prop_map(|len| Tampering::Repeat { len }),
        (any::<bool>(), 0..SENT - 1000, 15usize..700, any::<bool>())
            .prop_map(|(open, offset, len, instead)| Tampering::Foreign { open, offset, len, instead }),
    ]
}

/// A finding that must be made: its kind, offset and extent, and how many bytes it replaced or was overtaken by.
type Wanted = (FindingKind, u64, u64, u64);

impl Tampering {
    /// Appends what comes instead of the stream from `at` on. Returns where the stream goes on, and what must be found.
    fn apply(&self, at: u64, received: &mut Vec<u8>) -> (u64, Option<Wanted>) {
        match self {
            Tampering::Insert { seed, len } => {
                received.extend(noise(*seed, *len));
                (at, Some((FindingKind::Surplus, at, *len as u64, 0)))
            }
            Tampering::Delete { len } => (at + *len as u64, Some((FindingKind::Lost, at, *len as u64, 0))),
            Tampering::Change { by } => {
                received.extend(own(at, by.len()).iter().zip(by).map(|(byte, by)| byte ^ by));
                (at + by.len() as u64, Some((FindingKind::Corrupt, at, by.len() as u64, 0)))
            }
            Tampering::Swap { first, second } => {
                let (a, b) = (own(at, *first), own(at + *first as u64, *second));
                let swapped = [b.clone(), a.clone()].concat();
                let changes = swapped != [a, b].concat();
                received.extend(swapped);
                let wanted = (FindingKind::Reordered, at, *first as u64, *second as u64);
                (at + (first + second) as u64, changes.then_some(wanted))
            }
            Tampering::Repeat { len } => {
                received.extend(own(at - *len as u64, *len));
                (at, Some((FindingKind::Duplicated, at, *len as u64, 0)))
            }
            Tampering::Foreign { open, offset, len, instead } => {
                received.extend(bytes(if *open { OTHER } else { CLOSED }, *offset, *len));
                let kind = if *open { FindingKind::Crosstalk } else { FindingKind::Stale };
                let replaced = if *instead { *len as u64 } else { 0 };
                (at + replaced, Some((kind, at, *len as u64, replaced)))
            }
        }
    }
}

/// A stream tampered with like this, each time that many right bytes after the time before.
fn tampered(tamperings: &[(usize, Tampering)]) -> (Vec<u8>, u64, Vec<Wanted>) {
    let (mut received, mut at, mut wanted) = (Vec::new(), 0, Vec::new());
    for (apart, tampering) in tamperings {
        received.extend(own(at, *apart));
        at += *apart as u64;
        let (next, want) = tampering.apply(at, &mut received);
        at = next;
        wanted.extend(want);
    }
    received.extend(own(at, 100));
    (received, at + 100, wanted)
}

/// Whether a finding is the wanted one. At a border, one byte in 256 fits both sides by chance: up to three may.
pub(super) fn matches(found: &Divergence, wanted: &Wanted) -> bool {
    let near = |a: u64, b: u64| a.abs_diff(b) <= 3;
    let (kind, offset, extent, other) = *wanted;
    let exact = found.kind == kind && near(found.offset, offset);
    match kind {
        FindingKind::Lost | FindingKind::Surplus | FindingKind::Duplicated => {
            // A few inserted bytes may equal those before them, and a lost one may be a CR before an LF.
            let alike = extent <= 3 && near(found.offset, offset);
            (exact || alike) && found.extent == extent && found.replaced == 0
        }
        FindingKind::Corrupt => exact && found.offset == offset && found.extent == extent,
        FindingKind::Reordered => {
            let swapped = near(found.extent, extent) && near(found.overtaken_by, other);
            // Several swaps of two or three bytes may give the same.
            exact && (swapped || extent + other <= 4)
        }
        _ if other > 0 => exact && near(found.extent, extent) && found.replaced == found.extent,
        _ => exact && found.extent == extent && found.replaced == 0,
    }
}

fn assert_found_exactly(tamperings: &[(usize, Tampering)], reads: &[usize]) -> Result<(), TestCaseError> {
    let (received, sent, mut wanted) = tampered(tamperings);
    let outcome = verify(sent, &received, reads, FIN);
    let mut found = outcome.found;
    found.sort_by_key(|divergence| divergence.offset);
    wanted.sort_by_key(|wanted| wanted.1);
    let brief: Vec<_> = found.iter().map(|d| (d.kind, d.offset, d.extent, d.replaced, d.overtaken_by)).collect();
    prop_assert_eq!(found.len(), wanted.len(), "{:?}\nfor {:?}", brief, &wanted);
    for (found, wanted) in found.iter().zip(&wanted) {
        prop_assert!(matches(found, wanted), "{:#?}\nfor {:?}", found, wanted);
    }
    prop_assert_eq!(outcome.verifier.position(), sent);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn one_tampering_is_found_exactly(
        at in 64usize..300, tampering in any_tampering(1), reads in proptest::collection::vec(1usize..2000, 1..6),
    ) {
        assert_found_exactly(&[(at, tampering)], &reads)?;
    }

    // One or two bytes inserted at one place and missing at another are equal by chance too often.
    #[test]
    fn tamperings_64_bytes_apart_are_found_exactly(
        tamperings in proptest::collection::vec((64usize..300, any_tampering(3)), 1..12),
        reads in proptest::collection::vec(1usize..2000, 1..6),
    ) {
        assert_found_exactly(&tamperings, &reads)?;
    }

    #[test]
    fn any_tampering_is_found_and_the_reads_make_no_difference(
        tamperings in proptest::collection::vec((64usize..80, any_tampering(1), 0usize..40), 1..30),
        reads in proptest::collection::vec(1usize..400, 1..6),
    ) {
        let tamperings: Vec<_> = tamperings.into_iter().enumerate().map(|(n, (first, tampering, later))| {
            (if n == 0 { first } else { later }, tampering)
        }).collect();
        let (received, sent, _) = tampered(&tamperings);
        let whole = verify(sent, &received, &[usize::MAX], FIN);
        prop_assert_eq!(whole.found.is_empty(), received == own(0, sent as usize));
        for reads in [&[1][..], &reads] {
            let split = verify(sent, &received, reads, FIN);
            prop_assert_eq!(&split.found, &whole.found);
            prop_assert_eq!(split.verifier.position(), whole.verifier.position());
            prop_assert_eq!(split.verifier.verified(), whole.verifier.verified());
        }
    }

    #[test]
    fn any_end_is_survived(
        tamperings in proptest::collection::vec((64usize..80, any_tampering(1)), 1..4),
        cut: prop::sample::Index,
        which in 0usize..3,
    ) {
        let (received, sent, _) = tampered(&tamperings);
        let received = &received[..cut.index(received.len())];
        let end = [
            FIN,
            End { missing: Some(FindingKind::Stalled), complete: Some(FindingKind::NoFin) },
            End::STOPPED,
        ][which];
        let outcome = verify(sent, received, &[100], end);
        if end.missing.is_some() {
            prop_assert!(!outcome.found.is_empty() || received == own(0, sent as usize));
        }
        prop_assert!(outcome.verifier.verified() <= outcome.verifier.received());
    }
}
