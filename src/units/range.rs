//! A range that is written with a hyphen, as many people do. Here a range has two dots.

use super::ParseError;

/// The refusal of `1-16KiB`, with the form that is meant; `None` if the text is no such range.
pub(crate) fn with_hyphen(text: &str) -> Option<ParseError> {
    let (low, high) = text.trim().split_once('-')?;
    let begins_with_digit = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    let (low, high) = (low.trim(), high.trim());
    (begins_with_digit(low) && begins_with_digit(high)).then(|| {
        ParseError::new(format!("{low}-{high} is not how a range is written"))
            .with_remedy(format!("write {low}..{high}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_numbers_with_a_hyphen_between_them_are_meant_as_a_range() {
        let refused = |text: &str| with_hyphen(text).map(|error| error.to_string());
        assert_eq!(refused(" 1 - 5ms"), Some("1-5ms is not how a range is written: write 1..5ms".to_owned()));
        for text in ["-5", "5-", "5", "1..5", "a-b", "after-echo", "5-x", ""] {
            assert_eq!(refused(text), None, "{text}");
        }
    }
}
