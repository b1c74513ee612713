//! What a change of bytes looks like: the marks that text conversions, stripped bits and empty buffers leave.
//!
//! Changes of equal length are told by what holds for every byte of the extent, counted as the bytes pass. Conversions
//! that change the length move all that follows, and are told by converting the bytes that should have come.

use super::finding::{Change, Corruption};

/// A conversion of one byte, with the name of what does it.
type ByteRule = (Change, fn(u8) -> u8);
/// A conversion of a text, with the name of what does it.
type TextRule = (Change, fn(&[u8]) -> Vec<u8>);

/// Conversions that keep the length. The first that holds is named.
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

/// Converted bytes that must have come as they did for a conversion to be named.
const CERTAIN: usize = 12;

/// Counts over bytes that stand in the place of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    compared: u64,
    differing: u64,
    bits: u64,
    /// The rules of [`BYTE_RULES`] that some byte broke, one bit each.
    broken: u8,
    /// The first byte received, and whether a later one was another.
    first: Option<u8>,
    varied: bool,
}

impl Tally {
    /// Takes in received bytes and those that should have come.
    pub(super) fn add(&mut self, expected: &[u8], received: &[u8]) {
        for (&expected, &received) in expected.iter().zip(received) {
            self.compared += 1;
            self.differing += u64::from(expected != received);
            self.bits += u64::from((expected ^ received).count_ones());
            self.varied |= *self.first.get_or_insert(received) != received;
            for (n, (_, rule)) in BYTE_RULES.iter().enumerate() {
                self.broken |= u8::from(rule(expected) != received) << n;
            }
        }
    }

    /// Takes in the counts over the bytes that follow.
    pub(super) fn append(&mut self, later: &Tally) {
        self.varied |= later.varied || (self.first.is_some() && later.first.is_some() && self.first != later.first);
        self.compared += later.compared;
        self.differing += later.differing;
        self.bits += later.bits;
        self.broken |= later.broken;
        self.first = self.first.or(later.first);
    }

    /// How the bytes were changed in place.
    pub(super) fn corruption(&self) -> Corruption {
        // A single flipped bit makes some byte a zero, and some letter its capital: that alone says nothing.
        let telling = self.differing >= 2 || (self.differing == 1 && self.bits >= 2);
        let by_rule = BYTE_RULES.iter().enumerate().find(|(n, _)| self.broken >> n & 1 == 0).map(|(_, rule)| rule.0);
        let constant = (self.compared >= 3 && !self.varied).then_some(Change::ConstantFill);
        Corruption { bytes: self.differing, bits: self.bits, looks_like: by_rule.filter(|_| telling).or(constant) }
    }

    /// What bytes that nobody sent look like, standing in nobody's place.
    pub(super) fn filling(&self) -> Option<Change> {
        match self.first? {
            _ if self.varied || self.compared < 3 => None,
            0 => Some(Change::ZeroFilled),
            _ => Some(Change::ConstantFill),
        }
    }
}

/// The text conversion that makes the received bytes of all of those that should have come. Both end with the first
/// byte that is right again, so that a CR is seen with its LF.
pub(super) fn whole_conversion(expected: &[u8], received: &[u8]) -> Option<Change> {
    // One of equal length would be a change in place.
    let differs = expected.len() != received.len();
    TEXT_RULES.iter().find(|(_, rule)| differs && rule(expected) == received).map(|rule| rule.0)
}

/// The text conversion that makes the received bytes, of which more may follow, of those that should have come.
pub(super) fn begun_conversion(expected: &[u8], received: &[u8]) -> Option<Change> {
    TEXT_RULES.iter().find(|(_, rule)| certain(expected, &rule(expected), received)).map(|rule| rule.0)
}

fn certain(expected: &[u8], converted: &[u8], received: &[u8]) -> bool {
    // The end of either may have been cut within a character.
    let known = converted.len().min(received.len()).saturating_sub(3);
    known >= CERTAIN
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
        let mut tally = Tally::default();
        tally.add(&TEXT[..10], &received[..10]);
        let mut later = Tally::default();
        later.add(&TEXT[10..], &received[10..]);
        tally.append(&later);
        tally.corruption().looks_like
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
        let mut tally = Tally::default();
        tally.add(b"\x01", b"\x00");
        assert_eq!(tally.corruption(), Corruption { bytes: 1, bits: 1, looks_like: None });
        let mut tally = Tally::default();
        tally.add(b"k", b"K");
        assert_eq!(tally.corruption().looks_like, None);
    }

    #[test]
    fn differences_are_counted_in_bytes_and_bits() {
        let mut tally = Tally::default();
        tally.add(b"\x00\xff\x55", b"\x03\xff\x54");
        assert_eq!(tally.corruption(), Corruption { bytes: 2, bits: 3, looks_like: None });
    }
}
