//! Bytes of the own stream that come late: which parts of a run fill which gaps. Pure arithmetic on stream offsets.
//!
//! When the stream jumps forward, the bytes in between are a gap. A run that comes later may fill a gap, a part of one,
//! or several; what it does not fill had come before.
//!
//! Next to a border, one byte in 256 is right on both sides: what was taken for the last byte before a gap may have
//! been the first one after it. The run that fills the gap shows which.

use super::ledger::StreamView;
use super::mismatch::BORDER_SLACK_BYTES;

/// A stretch of the own stream, from one offset to the one after its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A part of a run: bytes that fill one gap, or bytes that had come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) stretch: Stretch,
    /// The index of the gap that it fills.
    pub(super) gap: Option<usize>,
}

impl Stretch {
    pub(super) fn new(from: u64, len: u64) -> Stretch {
        Stretch { from, to: from + len }
    }

    pub(super) fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    fn overlap(&self, other: &Stretch) -> Stretch {
        let from = self.from.max(other.from);
        Stretch { from, to: self.to.min(other.to).max(from) }
    }

    /// The stretches before and after a part of this one; either may be empty.
    pub(super) fn without(&self, part: &Stretch) -> [Stretch; 2] {
        [Stretch { from: self.from, to: part.from }, Stretch { from: part.to, to: self.to }]
    }
}

/// Whether a border may be off by this many bytes.
pub(super) fn is_slack(by: u64) -> bool {
    (1..BORDER_SLACK_BYTES).contains(&by)
}

/// Whether the own stream has the same `len` bytes at both places.
pub(super) fn same(view: &StreamView<'_>, one: u64, other: u64, len: u64) -> bool {
    view.own(one, len as usize) == view.own(other, len as usize)
}

/// Moves the borders of gaps to those of a run that fills them: if the run begins shortly before a gap, then the bytes
/// before the gap had not come after all, but the same ones at the end of a gap had; and the other way round.
pub(super) fn settle_borders(view: &StreamView<'_>, gaps: &mut [Stretch], run: Stretch) {
    for n in 0..gaps.len() {
        let by = gaps[n].from.saturating_sub(run.from);
        if is_slack(by) && gaps[n].from < run.to {
            let had_come = |gap: &Stretch| {
                gap.len() >= by
                    && (gap.to <= run.from || run.to + by <= gap.to)
                    && same(view, run.from, gap.to - by, by)
            };
            if let Some(other) = first_from(n, gaps, had_come) {
                gaps[other].to -= by;
                gaps[n].from -= by;
            }
        }
        let by = run.to.saturating_sub(gaps[n].to);
        if is_slack(by) && run.from < gaps[n].to {
            let had_come = |gap: &Stretch| {
                gap.len() >= by
                    && (gap.from >= run.to || gap.from + by <= run.from)
                    && same(view, gaps[n].to, gap.from, by)
            };
            if let Some(other) = first_from(n, gaps, had_come) {
                gaps[other].from += by;
                gaps[n].to += by;
            }
        }
    }
}

/// The first gap of this kind, the one at `n` before all others.
fn first_from(n: usize, gaps: &[Stretch], is_it: impl Fn(&Stretch) -> bool) -> Option<usize> {
    std::iter::once(n).chain(0..gaps.len()).find(|&n| is_it(&gaps[n]))
}

/// The parts of a run, in their order. The gaps must not overlap.
pub(super) fn parts(gaps: &[Stretch], run: Stretch) -> Vec<Part> {
    let counts = |part: &Stretch, gap: &Stretch| {
        // Fewer bytes at the end of a run may belong to the gap by chance.
        part.len() >= BORDER_SLACK_BYTES || (part.len() > 0 && (part == gap || *part == run))
    };
    let late = |(n, gap): (usize, &Stretch)| {
        let stretch = gap.overlap(&run);
        counts(&stretch, gap).then_some(Part { stretch, gap: Some(n) })
    };
    let mut late: Vec<Part> = gaps.iter().enumerate().filter_map(late).collect();
    late.sort_by_key(|part| part.stretch.from);
    let mut parts = Vec::new();
    let mut at = run.from;
    let again = |from, to| (from < to).then_some(Part { stretch: Stretch { from, to }, gap: None });
    for part in late {
        parts.extend(again(at, part.stretch.from));
        parts.push(part);
        at = part.stretch.to;
    }
    parts.extend(again(at, run.to));
    parts
}

/// Takes the bytes of a run out of the gaps that it fills. Returns how many they are.
pub(super) fn take(view: &StreamView<'_>, gaps: &mut Vec<Stretch>, run: Stretch) -> u64 {
    let mut late = 0;
    settle_borders(view, gaps, run);
    for part in parts(gaps, run).into_iter().filter(|part| part.gap.is_some()) {
        let Some(gap) = gaps.iter().position(|gap| gap.overlap(&part.stretch) == part.stretch) else { continue };
        late += part.stretch.len();
        let rest = gaps.swap_remove(gap).without(&part.stretch);
        gaps.extend(rest.into_iter().filter(|rest| rest.len() > 0));
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: u64, to: u64) -> Stretch {
        Stretch { from, to }
    }

    #[test]
    fn a_run_is_divided_by_the_gaps_that_it_fills() {
        let gaps = [stretch(300, 400), stretch(100, 200)];
        let part = |from, to, gap| Part { stretch: stretch(from, to), gap };
        assert_eq!(parts(&gaps, stretch(100, 200)), [part(100, 200, Some(1))]);
        assert_eq!(parts(&gaps, stretch(120, 160)), [part(120, 160, Some(1))]);
        assert_eq!(parts(&gaps, stretch(0, 50)), [part(0, 50, None)]);
        assert_eq!(
            parts(&gaps, stretch(50, 350)),
            [part(50, 100, None), part(100, 200, Some(1)), part(200, 300, None), part(300, 350, Some(0))]
        );
    }

    #[test]
    fn few_bytes_at_a_border_of_a_gap_are_no_part_of_it() {
        let gap = [stretch(100, 200)];
        assert_eq!(parts(&gap, stretch(50, 103)), [Part { stretch: stretch(50, 103), gap: None }]);
        assert_eq!(parts(&gap, stretch(100, 103)), [Part { stretch: stretch(100, 103), gap: Some(0) }]);
        assert_eq!(parts(&[stretch(100, 102)], stretch(50, 150))[1].gap, Some(0), "all of a short gap");
    }
}
