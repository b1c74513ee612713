//! The known word that a wrong one probably stands for: 'did you mean'. Flags, keys, models and metrics all ask here.

/// Words that are less alike than this (0: nothing in common, 1: equal) are not offered.
const MIN_LIKENESS: f64 = 0.8;

/// How much alike two words are, from 0.8 to 1, whatever their case; `None` if they are less alike.
pub(crate) fn likeness(typed: &str, known: &str) -> Option<f64> {
    let likeness = strsim::jaro_winkler(&typed.to_lowercase(), &known.to_lowercase());
    (likeness >= MIN_LIKENESS).then_some(likeness)
}

/// The known word that is most like the typed one, if one is near enough: among equals, the first.
pub(crate) fn nearest<'w>(typed: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let likely = known.into_iter().filter_map(|word| Some((likeness(typed, word)?, word)));
    likely.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, word)| word)
}

/// The known word that one slip turned into the typed one: a letter too many, too few, another one, or two that changed
/// their places.
pub(crate) fn one_slip_away<'w>(typed: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let typed = typed.to_lowercase();
    known.into_iter().find(|word| strsim::damerau_levenshtein(&typed, &word.to_lowercase()) <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_answered_with_the_word_and_another_word_with_nothing() {
        let words = ["threads", "select", "poll", "epoll", "io-uring", "conns", "messages"];
        for (typed, meant) in [
            ("epol", Some("epoll")),
            ("io_uring", Some("io-uring")),
            ("SELECT", Some("select")),
            ("connections", Some("conns")),
            ("mesages", Some("messages")),
            ("all", None),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
    }

    #[test]
    fn one_slip_is_told_from_another_word() {
        for (typed, meant) in [("adr", Some("addr")), ("prot", Some("port")), ("Host", Some("host")), ("print", None)] {
            assert_eq!(one_slip_away(typed, ["addr", "host", "port"]), meant, "{typed}");
        }
    }
}
