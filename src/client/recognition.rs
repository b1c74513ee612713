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

#[cfg(test)]
mod tests {
    use super::*;

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
