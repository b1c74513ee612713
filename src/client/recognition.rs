//! Which connection the first bytes of a stream name.

use super::intake::FirstWords;
use crate::stream::{ConnId, Stream};

/// The connections whose streams begin like this.
pub(super) fn candidates(stream: &Stream, first: &FirstWords) -> [Option<ConnId>; 2] {
    let (words, _) = first.as_chunks::<8>();
    let [first, second] = [0, 1].map(|n| u64::from_le_bytes(words[n]));
    let begins = |conn: ConnId| stream.word(conn, 0) == first && stream.word(conn, 1) == second;
    let place = stream.locate(first);
    let shared = place.shared().map(|place| place.conn);
    [Some(place.conn).filter(|conn| begins(*conn)), shared.filter(|conn| begins(*conn))]
}

/// How far into a stream a piece may lie by which its connection is recognized although its first words are damaged.
const MOST_LOST_WORDS: u64 = 8 << 10;

/// The connections from whose beginnings eight of these bytes in a row may be, though they are not where they should
/// be, or not all of them. By chance, one that is open is named once in 2^50 times.
pub(super) fn damaged_candidates(stream: &Stream, bytes: &[u8]) -> impl Iterator<Item = ConnId> {
    bytes.windows(8).flat_map(|window| {
        let place = stream.locate(u64::from_le_bytes(*window.first_chunk().expect("a window has its length")));
        let places = [Some(place), place.shared()].into_iter().flatten();
        places.filter(|place| place.index < MOST_LOST_WORDS).map(|place| place.conn)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_beginning_names_its_connection_by_what_is_left_of_it() {
        let stream = Stream::new(5);
        let conn = ConnId::new(7).expect("small");
        let mut bytes = [0; 40];
        stream.fill(conn, 0, &mut bytes);
        let names = |bytes: &[u8]| damaged_candidates(&stream, bytes).any(|named| named == conn);
        let mut changed = bytes;
        changed[3] ^= 1;
        assert!(names(&changed[..16]), "one byte is changed");
        assert!((1..24).all(|lost| names(&bytes[lost..lost + 16])), "some bytes are lost");
        assert!(names(&[b"HTTP/1.1 200 OK\r\n\r\n", &bytes[..16]].concat()), "others came first");
        assert!(!names(b"GET / HTTP/1.1\r\n") && !names(&[0; 16]) && !names(b"short"));
        changed[12] ^= 1;
        assert!(!names(&changed[..16]), "nothing is left");
    }

    #[test]
    fn a_connection_is_named_by_its_first_two_words_and_by_no_others() {
        let stream = Stream::new(5);
        for id in [0, 7, ConnId::PERIOD - 1, ConnId::PERIOD + 7, 90 * ConnId::PERIOD + 1] {
            let conn = ConnId::new(id).expect("31 bits");
            let mut first = FirstWords::default();
            stream.fill(conn, 0, &mut first);
            assert_eq!(candidates(&stream, &first).into_iter().flatten().collect::<Vec<_>>(), [conn]);
            first[15] ^= 1;
            assert_eq!(candidates(&stream, &first), [None, None], "the second word is another one");
            stream.fill(conn, 8, &mut first);
            assert_eq!(candidates(&stream, &first), [None, None], "these are not its first words");
        }
        assert_eq!(candidates(&stream, b"GET / HTTP/1.1\r\n"), [None, None]);
    }
}
