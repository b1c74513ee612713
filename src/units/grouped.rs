//! Numbers as people read them.

/// A count with its thousands separated: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A count with what is counted, in the singular or the plural: `1 thread`, `1,234 threads`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// The same as the subject of a passive: `1 connection was`, `3 connections were`.
pub fn counted_were(count: u64, noun: &str) -> String {
    format!("{} {}", counted(count, noun), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn only_one_is_singular() {
        assert_eq!([0, 1, 1000].map(|n| counted(n, "thread")), ["0 threads", "1 thread", "1,000 threads"]);
        assert_eq!([1, 2].map(|n| counted_were(n, "thread")), ["1 thread was", "2 threads were"]);
    }
}
