//! What changed bytes look like: the marks that text conversions, stripped bits and empty buffers leave.
//!
//! A change that keeps the length is recognized by a rule that holds for every byte; that is counted as the bytes pass.
//! A conversion that changes the length moves everything after it, and is recognized by converting the bytes that
//! should have come.

use super::finding::{Change, Corruption};

/// A conversion of single bytes, and its name.
type ByteRule = (Change, fn(u8) -> u8);
/// A conversion of a text, and its name.
type TextRule = (Change, fn(&[u8]) -> Vec<u8>);

/// Conversions that keep the length. The first that fits is reported.
const BYTE_RULES: &[ByteRule] = &[
    (Change::ZeroFilled, |_| 0),
    (Change::HighBitStripped, |byte| byte & 0x7f),
    (Change::Inverted, |byte| !byte),
    (Change::UpperCased, |byte| byte.to_ascii_uppercase()),
    (Change::LowerCased, |byte| byte.to_ascii_lowercase()),
    (Change::CrToLf, |byte| if byte == b'\r' { b'\n' } else { byte }),
];

/// Conversions that change the length.
const TEXT_RULES: &[TextRule] = &[
    (Change::LfToCrLf, |text| replace(text, b"\n", b"\r\n")),
    (Change::CrLfToLf, |text| replace(text, b"\r\n", b"\n")),
    (Change::Latin1ToUtf8, |text| text.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()),
    (Change::Utf8Replaced, |text| String::from_utf8_lossy(text).into_owned().into_bytes()),
];

/// Received bytes that must match a text conversion before it is reported.
const MIN_CONVERTED_BYTES: usize = 12;
/// Received bytes of which most must be zero before that is reported.
const MIN_PADDED_BYTES: u64 = 32;

/// How bytes differ from those in whose place they came.
#[derive(Clone, Debug, Default)]
pub(super) struct DiffStats {
    compared: u64,
    differing: u64,
    differing_bits: u64,
    /// The rules of [`BYTE_RULES`] that some byte broke, one bit each.
    broken_rules: u8,
    /// The first byte received.
    first: Option<u8>,
    /// Whether a later byte received was not equal to the first.
    varied: bool,
    /// Received bytes that are zero.
    zeros: u64,
    /// How many bytes and bits differ is not known.
    is_uncounted: bool,
}

impl DiffStats {
    /// The difference of received bytes from those that should have come.
    pub(super) fn of(expected: &[u8], received: &[u8]) -> DiffStats {
        let mut stats = DiffStats::default();
        stats.compare(expected, received);
        stats
    }

    /// Adds received bytes and those that should have come.
    pub(super) fn compare(&mut self, expected: &[u8], received: &[u8]) {
        for (&expected, &received) in expected.iter().zip(received) {
            self.compared += 1;
            self.zeros += u64::from(received == 0);
            self.differing += u64::from(expected != received);
            self.differing_bits += u64::from((expected ^ received).count_ones());
            self.varied |= *self.first.get_or_insert(received) != received;
            for (n, (_, rule)) in BYTE_RULES.iter().enumerate() {
                self.broken_rules |= u8::from(rule(expected) != received) << n;
            }
        }
    }

    /// Adds the difference of the bytes that follow.
    pub(super) fn append(&mut self, later: &DiffStats) {
        self.varied |= later.varied || (self.first.is_some() && later.first.is_some() && self.first != later.first);
        self.compared += later.compared;
        self.zeros += later.zeros;
        self.is_uncounted |= later.is_uncounted;
        self.differing += later.differing;
        self.differing_bits += later.differing_bits;
        self.broken_rules |= later.broken_rules;
        self.first = self.first.or(later.first);
    }

    /// The same, without the number of bytes and bits that differ: some of the bytes compared came in between.
    pub(super) fn without_counts(&self) -> DiffStats {
        DiffStats { is_uncounted: true, ..self.clone() }
    }

    /// How the bytes were changed in place.
    pub(super) fn corruption(&self) -> Corruption {
        // One flipped bit can make a byte zero or a letter upper case, so one bit alone is not evidence of a rule.
        let is_evidence = self.differing >= 2 || (self.differing == 1 && self.differing_bits >= 2);
        let unbroken = BYTE_RULES.iter().enumerate().find(|(n, _)| self.broken_rules >> n & 1 == 0);
        let by_rule = unbroken.map(|(_, rule)| rule.0).filter(|_| is_evidence);
        let (bytes, bits) = if self.is_uncounted { (0, 0) } else { (self.differing, self.differing_bits) };
        Corruption { bytes, bits, looks_like: by_rule.or(self.fill()) }
    }

    /// What the received bytes look like on their own.
    pub(super) fn fill(&self) -> Option<Change> {
        match self.first? {
            _ if self.compared < 3 => None,
            0 if !self.varied => Some(Change::ZeroFilled),
            _ if !self.varied => Some(Change::ConstantFill),
            _ => {
                (self.compared >= MIN_PADDED_BYTES && self.zeros >= self.compared / 8 * 7).then_some(Change::MostlyZero)
            }
        }
    }
}

/// The text conversion that turns all of the expected bytes into the received ones. Both end with the first byte that
/// is right again, so that a CR is seen together with its LF.
pub(super) fn whole_conversion(expected: &[u8], received: &[u8]) -> Option<Change> {
    // A conversion that keeps the length is a change in place.
    let differs = expected.len() != received.len();
    TEXT_RULES.iter().find(|(_, rule)| differs && rule(expected) == received).map(|rule| rule.0)
}

/// The text conversion that turns the expected bytes into the received ones. More of both may follow.
pub(super) fn begun_conversion(expected: &[u8], received: &[u8]) -> Option<Change> {
    TEXT_RULES.iter().find(|(_, rule)| is_certain(expected, &rule(expected), received)).map(|rule| rule.0)
}

fn is_certain(expected: &[u8], converted: &[u8], received: &[u8]) -> bool {
    // Either may end in the middle of a character.
    let known = converted.len().min(received.len()).saturating_sub(3);
    known >= MIN_CONVERTED_BYTES
        && converted[..known] == received[..known]
        && converted[..known] != expected[..known.min(expected.len())]
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len() + text.len() / 2);
    let mut rest = text;
    while let Some(&first) = rest.first() {
        if rest.starts_with(from) {
            result.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            result.push(first);
            rest = &rest[1..];
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"Gr\xfc\xdfe aus M\xfcnchen\r\nund eine zweite Zeile\nZ";

    fn looks_like(rule: impl Fn(u8) -> u8) -> Option<Change> {
        let received: Vec<u8> = TEXT.iter().map(|&byte| rule(byte)).collect();
        let mut stats = DiffStats::of(&TEXT[..10], &received[..10]);
        stats.append(&DiffStats::of(&TEXT[10..], &received[10..]));
        stats.corruption().looks_like
    }

    #[test]
    fn every_conversion_of_bytes_is_named() {
        for (change, rule) in BYTE_RULES {
            assert_eq!(looks_like(rule), Some(*change));
        }
        assert_eq!(looks_like(|_| 7), Some(Change::ConstantFill));
        assert_eq!(looks_like(|byte| byte ^ 0x11), None);
    }

    #[test]
    fn every_conversion_of_text_is_named() {
        for (change, rule) in TEXT_RULES {
            let converted = rule(TEXT);
            assert_eq!(whole_conversion(TEXT, &converted), Some(*change));
            assert_eq!(whole_conversion(TEXT, &converted[1..]), None);
            assert_eq!(begun_conversion(TEXT, &converted), Some(*change));
            assert_eq!(begun_conversion(TEXT, &converted[..40]), (converted[..37] != TEXT[..37]).then_some(*change));
        }
        assert_eq!(whole_conversion(b"\n", b"\r\n"), Some(Change::LfToCrLf));
        assert_eq!(whole_conversion(b"\r\n", b"\n"), Some(Change::CrLfToLf));
        assert_eq!(begun_conversion(TEXT, TEXT), None);
        assert_eq!(begun_conversion(TEXT, b"something else that nobody sent"), None);
    }

    #[test]
    fn one_flipped_bit_is_no_conversion() {
        assert_eq!(DiffStats::of(b"\x01", b"\x00").corruption(), Corruption { bytes: 1, bits: 1, looks_like: None });
        assert_eq!(DiffStats::of(b"k", b"K").corruption().looks_like, None);
    }

    #[test]
    fn bytes_of_which_most_are_zero_look_padded() {
        let received: Vec<u8> = (0..=255).map(|n| if n % 64 == 0 { 7 } else { 0 }).collect();
        let stats = DiffStats::of(&[1; 256], &received);
        assert_eq!((stats.fill(), stats.corruption().looks_like), (Some(Change::MostlyZero), Some(Change::MostlyZero)));
        assert_eq!(DiffStats::of(&[1; 20], &received[1..21]).fill(), Some(Change::ZeroFilled));
        assert_eq!(DiffStats::of(&[1; 20], &received[..20]).fill(), None, "too few to tell");
        let Corruption { bytes, bits, .. } = stats.without_counts().corruption();
        assert_eq!((bytes, bits), (0, 0), "not known");
    }

    #[test]
    fn differences_are_counted_in_bytes_and_bits() {
        let stats = DiffStats::of(b"\x00\xff\x55", b"\x03\xff\x54");
        assert_eq!(stats.corruption(), Corruption { bytes: 2, bits: 3, looks_like: None });
    }
}
