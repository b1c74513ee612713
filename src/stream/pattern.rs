//! The stream of every connection, computed instead of stored.
//!
//! Word `i` of connection `c` under seed `S` is `P_S(c, i)`, little-endian: a keyed bijection of 64 bits onto 64 bits
//! over `c` (24 bits) and `i` (40 bits). So any byte follows from seed, connection and offset alone, and any eight
//! aligned bytes tell which connection and offset they belong to ([`Stream::locate`]). Servers must never import this
//! module: a server that knew the pattern could hide its own bug.
//!
//! Hours of churn open more connections than 24 bits can number. So an id has seven more bits, its round, which become
//! the highest of `i`. The ids `c`, `c + 2^24`, `c + 2 * 2^24` … share the words of `c`: each has 2^33 of them, and the
//! first one must not have more either. `plan` says which ids are used like this.
//!
//! The mix is a Weyl sequence (`x` times an odd constant, so one word to the next is one addition), then xor-shift,
//! multiplication, xor-shift, key. The constants are those of SplitMix64 (Steele, Lea, Flood 2014), with one
//! multiplication fewer. That is a choice by measurement: 19 / 27 / 110 GB/s (portable / AVX2 / AVX-512, on a Zen 4)
//! against 13 / 16 / 81, and still neighbouring words, connections and seeds share no more bytes than chance allows
//! (see the tests). It is not a cipher and need not be: no part of a stream must be mistaken for another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random;
use crate::sys::simd::{self, Kernel, Level};

/// Bytes that one connection may carry: 2^40 words (8 TiB).
pub const MAX_STREAM_BYTES: u64 = 1 << 43;
/// Bytes that a connection may carry whose id shares its words with others: 2^33 words (64 GiB).
pub const MAX_SHARED_STREAM_BYTES: u64 = 1 << (SHARED_INDEX_BITS + 3);

const PERIOD_BITS: u32 = 24;
const INDEX_BITS: u32 = 40;
const SHARED_INDEX_BITS: u32 = 33;
/// Bytes of a word.
pub(super) const WORD_BYTES: usize = 8;
/// Words compared between two checks whether one differs: enough that the checks cost nothing.
const BLOCK_WORDS: usize = 512;

/// Step from one word to the next before mixing. It is odd, hence invertible.
const STEP: u64 = random::GOLDEN_GAMMA;
/// Of the usual candidates, distant connections look least alike under this one. It is odd, hence invertible.
const MULTIPLIER: u64 = random::FIRST_MULTIPLIER;
const STEP_INVERSE: u64 = inverse(STEP);
const MULTIPLIER_INVERSE: u64 = inverse(MULTIPLIER);

/// The inverse of an odd number modulo 2^64, by Newton's iteration. Each round doubles the number of right bits.
const fn inverse(odd: u64) -> u64 {
    let mut result = odd;
    let mut round = 0;
    while round < 5 {
        result = result.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(result)));
        round += 1;
    }
    result
}

/// The number of a connection of a run. Ids count up from 0, are never reused, and have at most 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
pub struct ConnId(u32);

impl ConnId {
    /// The greatest id: 2,147,483,647.
    pub const MAX: ConnId = ConnId((1 << 31) - 1);
    /// Ids that differ by a multiple of this share the same words.
    pub const PERIOD: u32 = 1 << PERIOD_BITS;

    /// The id of this number, or `None` above [`ConnId::MAX`].
    pub const fn new(id: u32) -> Option<ConnId> {
        if id <= Self::MAX.0 { Some(ConnId(id)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The least id that shares words with this one, which may be itself.
    pub const fn base(self) -> u32 {
        self.0 % Self::PERIOD
    }

    /// How many smaller ids share words with this one.
    pub const fn round(self) -> u32 {
        self.0 / Self::PERIOD
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ConnId> for u32 {
    fn from(conn: ConnId) -> u32 {
        conn.0
    }
}

/// A number above [`ConnId::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection id {0} is above {max}", max = ConnId::MAX)]
pub struct ConnIdTooGreat(u32);

impl TryFrom<u32> for ConnId {
    type Error = ConnIdTooGreat;

    fn try_from(id: u32) -> Result<Self, Self::Error> {
        ConnId::new(id).ok_or(ConnIdTooGreat(id))
    }
}

/// The place that a word belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordLocation {
    /// The connection.
    pub conn: ConnId,
    /// The word's index in its stream, below 2^40.
    pub index: u64,
}

impl WordLocation {
    /// The same word as one of a later connection that shares it, if the index is high enough for that.
    pub fn shared(self) -> Option<WordLocation> {
        let round = (self.index >> SHARED_INDEX_BITS) as u32;
        let conn = ConnId(self.conn.0 + round * ConnId::PERIOD);
        (round > 0).then_some(WordLocation { conn, index: self.index & ((1 << SHARED_INDEX_BITS) - 1) })
    }
}

/// The streams of all connections of a run.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    start: u64,
    key: u64,
    level: Level,
}

impl Stream {
    /// The streams of this seed, computed with the fastest instructions of this processor.
    pub fn new(seed: u64) -> Stream {
        Self::with_level(seed, Level::best())
    }

    /// The streams of this seed (the same bytes at every level), computed with the given instructions.
    pub fn with_level(seed: u64, level: Level) -> Stream {
        let mut state = seed;
        let start = random::split_mix(&mut state);
        // The last steps of a word are an xor-shift and the key. Shifting the key too, here and once, makes them one
        // three-way xor, where the processor has that (vpternlogq).
        Stream { start, key: xor_shift(random::split_mix(&mut state)), level }
    }

    /// Word `index` (below 2^40, or 2^33 where words are shared) of the connection's stream.
    #[inline]
    pub fn word(&self, conn: ConnId, index: u64) -> u64 {
        mix(self.weyl(conn, index), self.key)
    }

    /// The location of this word, or the first of two (see [`WordLocation::shared`]). Every word has one. The caller
    /// must check whether it was sent.
    #[inline]
    pub fn locate(&self, word: u64) -> WordLocation {
        let mixed = xor_shift(word ^ self.key);
        let weyl = xor_shift(mixed.wrapping_mul(MULTIPLIER_INVERSE));
        let x = weyl.wrapping_mul(STEP_INVERSE).wrapping_sub(self.start);
        WordLocation { conn: ConnId((x >> INDEX_BITS) as u32), index: x & ((1 << INDEX_BITS) - 1) }
    }

    /// Writes the bytes of the connection's stream from `offset` on. Any offset and any length will do, but past
    /// [`MAX_STREAM_BYTES`] the bytes are no longer the connection's own.
    #[inline]
    pub fn fill(&self, conn: ConnId, offset: u64, out: &mut [u8]) {
        self.level.run(FillKernel {
            weyl: self.weyl(conn, offset / 8),
            key: self.key,
            skip: (offset % 8) as usize,
            out,
        });
    }

    /// The index of the first received byte that differs from the connection's stream from `offset` on, or `None`.
    #[inline]
    pub fn first_mismatch(&self, conn: ConnId, offset: u64, received: &[u8]) -> Option<usize> {
        self.level.run(VerifyKernel {
            weyl: self.weyl(conn, offset / 8),
            key: self.key,
            skip: (offset % 8) as usize,
            received,
        })
    }

    /// The Weyl sequence at this word, from which [`mix`] makes the word. The next word is one [`STEP`] further.
    #[inline]
    fn weyl(&self, conn: ConnId, index: u64) -> u64 {
        let begin = (u64::from(conn.base()) << INDEX_BITS) | (u64::from(conn.round()) << SHARED_INDEX_BITS);
        let x = begin.wrapping_add(index);
        x.wrapping_add(self.start).wrapping_mul(STEP)
    }
}

#[inline(always)]
fn mix(weyl: u64, key: u64) -> u64 {
    xor_shift(xor_shift(weyl).wrapping_mul(MULTIPLIER)) ^ key
}

/// It is its own inverse, because the upper half stays.
#[inline(always)]
fn xor_shift(x: u64) -> u64 {
    x ^ (x >> 32)
}

/// The Weyl sequence at this word and those after it.
#[inline(always)]
fn lanes<const LANES: usize>(weyl: u64) -> [u64; LANES] {
    std::array::from_fn(|n| weyl.wrapping_add(STEP.wrapping_mul(n as u64)))
}

struct FillKernel<'a> {
    weyl: u64,
    key: u64,
    /// Bytes of the first word that lie before `out`.
    skip: usize,
    out: &'a mut [u8],
}

impl Kernel for FillKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const LANES: usize>(self) {
        let FillKernel { mut weyl, key, skip, mut out } = self;
        if skip > 0 {
            let (head, rest) = out.split_at_mut(out.len().min(WORD_BYTES - skip));
            head.copy_from_slice(&mix(weyl, key).to_le_bytes()[skip..skip + head.len()]);
            weyl = weyl.wrapping_add(STEP);
            out = rest;
        }
        let (mut words, tail) = out.as_chunks_mut::<WORD_BYTES>();
        if LANES > 1 {
            let mut lanes = lanes::<LANES>(weyl);
            let (vectors, rest) = words.as_chunks_mut::<LANES>();
            for vector in vectors {
                for (word, weyl) in vector.iter_mut().zip(&mut lanes) {
                    *word = mix(*weyl, key).to_le_bytes();
                    *weyl = weyl.wrapping_add(STEP.wrapping_mul(LANES as u64));
                }
                simd::end_vector();
            }
            (weyl, words) = (lanes[0], rest);
        }
        for word in words {
            *word = mix(weyl, key).to_le_bytes();
            weyl = weyl.wrapping_add(STEP);
        }
        if !tail.is_empty() {
            tail.copy_from_slice(&mix(weyl, key).to_le_bytes()[..tail.len()]);
        }
    }
}

struct VerifyKernel<'a> {
    weyl: u64,
    key: u64,
    /// Bytes of the first word that lie before `received`.
    skip: usize,
    received: &'a [u8],
}

impl Kernel for VerifyKernel<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<const LANES: usize>(self) -> Option<usize> {
        let VerifyKernel { mut weyl, key, skip, mut received } = self;
        let mut at = 0;
        if skip > 0 {
            let (head, rest) = received.split_at(received.len().min(WORD_BYTES - skip));
            if let Some(n) = differs(head, &mix(weyl, key).to_le_bytes()[skip..skip + head.len()]) {
                return Some(n);
            }
            weyl = weyl.wrapping_add(STEP);
            at = head.len();
            received = rest;
        }
        let (mut words, tail) = received.as_chunks::<WORD_BYTES>();
        for block in words.chunks(BLOCK_WORDS) {
            let (mut difference, mut next, mut rest) = (0, weyl, block);
            if LANES > 1 {
                let (mut lanes, mut differences) = (lanes::<LANES>(weyl), [0; LANES]);
                let vectors;
                (vectors, rest) = block.as_chunks::<LANES>();
                for vector in vectors {
                    for ((word, weyl), difference) in vector.iter().zip(&mut lanes).zip(&mut differences) {
                        *difference |= u64::from_le_bytes(*word) ^ mix(*weyl, key);
                        *weyl = weyl.wrapping_add(STEP.wrapping_mul(LANES as u64));
                    }
                    simd::end_vector();
                }
                (difference, next) = (differences.iter().fold(0, |all, word| all | word), lanes[0]);
            }
            for word in rest {
                difference |= u64::from_le_bytes(*word) ^ mix(next, key);
                next = next.wrapping_add(STEP);
            }
            if difference != 0 {
                words = block;
                break;
            }
            (weyl, words) = (next, &words[block.len()..]);
            at += block.len() * WORD_BYTES;
        }
        for word in words {
            let difference = u64::from_le_bytes(*word) ^ mix(weyl, key);
            if difference != 0 {
                return Some(at + difference.trailing_zeros() as usize / 8);
            }
            weyl = weyl.wrapping_add(STEP);
            at += WORD_BYTES;
        }
        differs(tail, &mix(weyl, key).to_le_bytes()[..tail.len()]).map(|n| at + n)
    }
}

/// The index of the first byte that differs. For pieces of a word, where nothing faster pays off.
#[inline(always)]
fn differs(received: &[u8], expected: &[u8]) -> Option<usize> {
    received.iter().zip(expected).position(|(received, expected)| received != expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conn(id: u32) -> ConnId {
        ConnId::new(id).expect("at most 31 bits")
    }

    fn bytes(stream: &Stream, id: ConnId, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        stream.fill(id, offset, &mut out);
        out
    }

    /// Every level that this processor has, on the same seed.
    fn levels(seed: u64) -> impl Iterator<Item = Stream> {
        Level::available().into_iter().map(move |level| Stream::with_level(seed, level))
    }

    prop_compose! {
        fn any_conn()(id in 0..=ConnId::MAX.get()) -> ConnId { conn(id) }
    }

    proptest! {
        #[test]
        fn the_inverse_of_a_word_is_its_connection_and_index(
            seed: u64, id in 0..ConnId::PERIOD, index in 0..1u64 << 40
        ) {
            let stream = Stream::new(seed);
            prop_assert_eq!(stream.locate(stream.word(conn(id), index)), WordLocation { conn: conn(id), index });
        }

        #[test]
        fn a_shared_word_is_located_as_that_of_its_base_and_as_its_own(
            seed: u64, id in ConnId::PERIOD..=ConnId::MAX.get(), index in 0..1u64 << 33
        ) {
            let stream = Stream::new(seed);
            let place = stream.locate(stream.word(conn(id), index));
            prop_assert_eq!(place.shared(), Some(WordLocation { conn: conn(id), index }));
            let (first, round) = (id % ConnId::PERIOD, u64::from(id / ConnId::PERIOD));
            prop_assert_eq!((place.conn.get(), place.index >> 33), (first, round));
        }

        #[test]
        fn every_word_has_a_place_and_is_the_word_of_that_place(seed: u64, word: u64) {
            let stream = Stream::new(seed);
            let place = stream.locate(word);
            prop_assert_eq!(stream.word(place.conn, place.index), word);
        }

        #[test]
        fn any_byte_is_the_byte_of_its_word_at_every_level(
            seed: u64, id in any_conn(), offset in 0..MAX_STREAM_BYTES - 2048, len in 0usize..2048,
        ) {
            for stream in levels(seed) {
                for (n, byte) in bytes(&stream, id, offset, len).into_iter().enumerate() {
                    let at = offset + n as u64;
                    prop_assert_eq!(byte, stream.word(id, at / 8).to_le_bytes()[(at % 8) as usize]);
                }
            }
        }

        #[test]
        fn any_split_of_a_range_fills_the_same_bytes(
            seed: u64, id in any_conn(), offset in 0..1u64 << 42, cuts in proptest::collection::vec(0usize..300, 1..12),
        ) {
            for stream in levels(seed) {
                let whole = bytes(&stream, id, offset, cuts.iter().sum());
                let mut parts = Vec::new();
                for cut in &cuts {
                    parts.extend(bytes(&stream, id, offset + parts.len() as u64, *cut));
                }
                prop_assert_eq!(&parts, &whole);
            }
        }

        #[test]
        fn filled_bytes_are_accepted_and_any_changed_byte_is_the_first_mismatch(
            seed: u64, id in any_conn(), offset in 0..1u64 << 42, len in 1usize..10_000, at: prop::sample::Index,
            change in 1u8..,
        ) {
            for stream in levels(seed) {
                let mut received = bytes(&stream, id, offset, len);
                prop_assert_eq!(stream.first_mismatch(id, offset, &received), None);
                let at = at.index(len);
                received[at] ^= change;
                prop_assert_eq!(stream.first_mismatch(id, offset, &received), Some(at));
            }
        }
    }

    #[test]
    fn every_alignment_of_a_short_buffer_reports_every_changed_byte() {
        for stream in levels(3) {
            for offset in 0..16 {
                for len in 0..80 {
                    let mut received = bytes(&stream, conn(5), offset, len);
                    assert_eq!(stream.first_mismatch(conn(5), offset, &received), None);
                    for at in (0..len).rev() {
                        received[at] ^= 0x10;
                        assert_eq!(stream.first_mismatch(conn(5), offset, &received), Some(at));
                    }
                }
            }
        }
    }

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // Computed by a second implementation, in Python.
        let golden = [
            (0, 0, 0xB061_6DEE_A6F6_0463),
            (0, 1, 0x9EC2_F569_06D6_5A65),
            (1, 0, 0xD664_4989_4E1A_AD04),
            (7, 8192, 0x31CF_2C1C_B6DB_23D7),
            (ConnId::PERIOD - 1, (1 << 40) - 1, 0xF446_9416_33C4_FEB7),
            (ConnId::MAX.get(), (1 << 33) - 1, 0xF446_9416_33C4_FEB7),
        ];
        let stream = Stream::new(1);
        for (id, index, word) in golden {
            assert_eq!(stream.word(conn(id), index), word, "word {index} of connection {id}");
        }
        assert_eq!(bytes(&stream, conn(7), 65536, 8), 0x31CF_2C1C_B6DB_23D7u64.to_le_bytes());
    }

    /// Over many pairs of words in the same relation: the mean number of bits that differ, and the greatest share of
    /// pairs in which the same byte is equal (by chance: 32 bits, and 1/256).
    fn likeness(pairs: impl Iterator<Item = (u64, u64)>) -> (f64, f64) {
        let (mut count, mut bits, mut equal) = (0u32, 0u32, [0u32; 8]);
        for (a, b) in pairs {
            count += 1;
            bits += (a ^ b).count_ones();
            for (n, equal) in equal.iter_mut().enumerate() {
                *equal += u32::from(a.to_le_bytes()[n] == b.to_le_bytes()[n]);
            }
        }
        (
            f64::from(bits) / f64::from(count),
            equal.map(|equal| f64::from(equal) / f64::from(count)).into_iter().fold(0.0, f64::max),
        )
    }

    #[test]
    fn neighbours_do_not_look_alike() {
        const WORDS: u64 = 20_000;
        let stream = Stream::new(42);
        for seed in 0..16 {
            let other = Stream::new(42 ^ (1 << seed));
            let (bits, equal) = likeness((0..WORDS).map(|i| (stream.word(conn(3), i), other.word(conn(3), i))));
            assert!((31.5..32.5).contains(&bits) && equal < 2.0 / 256.0, "seed bit {seed}: {bits} bits, {equal} equal");
        }
        for step in (1..64).chain((6..30).map(|bit| 1 << bit)) {
            let (bits, equal) = likeness((0..WORDS).map(|i| (stream.word(conn(3), i), stream.word(conn(3), i + step))));
            assert!((31.0..33.0).contains(&bits) && equal < 3.0 / 256.0, "{step} words on: {bits} bits, {equal} equal");
        }
        for step in 1..=64 {
            let (bits, equal) = likeness((0..WORDS).map(|i| (stream.word(conn(3), i), stream.word(conn(3 + step), i))));
            assert!(
                (31.0..33.0).contains(&bits) && equal < 3.0 / 256.0,
                "{step} connections on: {bits} bits, {equal} equal"
            );
        }
        for bit in 6..24 {
            // At this distance the constants show, but no byte is equal often enough to hide a swap.
            let (bits, equal) =
                likeness((0..WORDS).map(|i| (stream.word(conn(3), i), stream.word(conn(3 + (1 << bit)), i))));
            assert!(
                (28.0..36.0).contains(&bits) && equal < 8.0 / 256.0,
                "2^{bit} connections on: {bits} bits, {equal} equal"
            );
        }
    }

    #[test]
    fn ids_end_at_31_bits() {
        assert_eq!(ConnId::new(ConnId::MAX.get()), Some(ConnId::MAX));
        assert_eq!(ConnId::new(ConnId::MAX.get() + 1), None);
        assert_eq!(serde_json::from_str::<ConnId>("2147483647").expect("the greatest id"), ConnId::MAX);
        assert!(serde_json::from_str::<ConnId>("2147483648").is_err());
        assert_eq!(serde_json::to_string(&conn(7)).expect("a number"), "7");
    }
}
