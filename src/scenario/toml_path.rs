//! Where a value of a TOML document stands in its text.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step from a value to a value inside it.
#[derive(Clone, Copy)]
pub(super) enum KeyStep<'s> {
    /// Into a table.
    Key(&'s str),
    /// Into a list.
    Index(usize),
}

/// The place of a value; for a value that does not exist, the place of the value that should hold it.
pub(super) fn span_of(text: &str, steps: &[KeyStep<'_>]) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else { return 0..0 };
    let mut span = 0..0;
    let mut table = Some(document.get_ref());
    let mut value: Option<&DeValue<'_>> = None;
    for step in steps {
        let next = match step {
            KeyStep::Key(key) => table.and_then(|table| table.get(*key)),
            KeyStep::Index(i) => value.and_then(|value| value.get(*i)),
        };
        let Some(next) = next else { break };
        span = next.span();
        value = Some(next.get_ref());
        table = next.get_ref().as_table();
    }
    span
}

/// Where a part stands within the value at `span`. If the text has escapes, that may be the whole value.
pub(super) fn span_of_part(text: &str, span: Range<usize>, part: &str) -> Range<usize> {
    let value = text.get(span.clone()).unwrap_or_default();
    value.find(part).map_or(span.clone(), |at| span.start + at..span.start + at + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_and_of_an_absent_one_the_value_that_should_hold_it() {
        let text = "a = 1\n[[load]]\nsizes = [5, 60]\n";
        let load = [KeyStep::Key("load"), KeyStep::Index(0)];
        let part = |steps: &[KeyStep<'_>]| &text[span_of(text, &[&load, steps].concat())];
        assert_eq!(part(&[KeyStep::Key("sizes"), KeyStep::Index(1)]), "60");
        assert_eq!(part(&[KeyStep::Key("sizes"), KeyStep::Index(2)]), "[5, 60]");
        assert_eq!(span_of("a = ", &load), 0..0, "no TOML");
    }
}
