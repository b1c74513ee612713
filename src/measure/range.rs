//! The smallest and the largest of some values. Pure.

/// The smallest and the largest of the values so far; `None`: there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    ends: Option<(u64, u64)>,
}

impl Range {
    /// Takes a value.
    pub fn record(&mut self, value: u64) {
        self.add(&Range { ends: Some((value, value)) });
    }

    /// Takes the values of another range.
    pub fn add(&mut self, other: &Range) {
        self.ends = match (self.ends, other.ends) {
            (Some((least, most)), Some((other_least, other_most))) => {
                Some((least.min(other_least), most.max(other_most)))
            }
            (ends, other) => ends.or(other),
        };
    }

    /// The smallest value.
    pub fn min(&self) -> Option<u64> {
        self.ends.map(|(least, _)| least)
    }

    /// The largest value.
    pub fn max(&self) -> Option<u64> {
        self.ends.map(|(_, most)| most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_ends_of_what_it_and_others_took() {
        let mut range = Range::default();
        range.add(&Range::default());
        assert_eq!((range.min(), range.max()), (None, None));
        [7, 3, 5].iter().for_each(|value| range.record(*value));
        let mut other = Range::default();
        other.record(9);
        range.add(&other);
        range.add(&Range::default());
        assert_eq!((range.min(), range.max()), (Some(3), Some(9)));
    }
}
