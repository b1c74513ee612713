//! The frame of a plot: title, key, axes with their units, and the drawing in between.
//!
//! The drawing (SVG) stretches to the width of the page. The texts of the axes are not part of it, so they have the
//! same size on a phone and on paper.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::Scale;

/// The drawing's width and height, in units of its viewBox.
pub(super) const SIDE: f64 = 1000.0;

/// A plot without its drawing.
pub(super) struct Frame<'f> {
    /// What is drawn, and the unit.
    pub(super) title: &'f str,
    /// The whole figure in a sentence, for those who do not see it.
    pub(super) sentence: String,
    /// A class and a name for each curve; none where the title says it.
    pub(super) key: &'f [(&'f str, &'f str)],
    pub(super) across: &'f Scale,
    pub(super) up: &'f Scale,
    /// Places of events, from 0 to 1.
    pub(super) events: &'f [f64],
}

impl Frame<'_> {
    /// The figure around this drawing.
    pub(super) fn around(&self, drawing: &Markup) -> Markup {
        html! {
            figure.plot {
                figcaption {
                    b { (self.title) }
                    @for (class, name) in self.key { " " span.key { i class=(class) {} (name) } }
                }
                div.frame {
                    div.up { @for mark in &self.up.marks { span style=(percent("bottom", mark.place)) { (mark.text) } } }
                    div.area {
                        svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label=(self.sentence) {
                            path.grid d=(self.grid()) {}
                            (drawing)
                        }
                        @for event in self.events { span.event style=(percent("left", *event)) {} }
                    }
                    div.across {
                        @for mark in &self.across.marks { span.begin[mark.place < 0.03].end[mark.place > 0.96] style=(percent("left", mark.place)) { (mark.text) } }
                    }
                }
            }
        }
    }

    /// A thin line at each mark.
    fn grid(&self) -> String {
        let mut path = String::new();
        for mark in &self.up.marks {
            let _ = write!(path, "M0 {:.1}H{SIDE}", SIDE * (1.0 - mark.place));
        }
        for mark in &self.across.marks {
            let _ = write!(path, "M{:.1} 0V{SIDE}", SIDE * mark.place);
        }
        path
    }
}

fn percent(side: &str, place: f64) -> String {
    format!("{side}:{:.2}%", place * 100.0)
}

/// A curve through these points, each from 0 to 1 on both axes. It is broken where there is none.
pub(super) fn curve(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for point in points {
        let Some((across, up)) = point else {
            pen = 'M';
            continue;
        };
        let (x, y) = (SIDE * across, SIDE * (1.0 - up));
        let _ = write!(path, "{pen}{x:.1} {y:.1}");
        if pen == 'M' {
            // A single point would be a line of no length, hence invisible.
            path.push_str("h1");
        }
        pen = 'L';
    }
    path
}

/// The area under steps, each from one place to another at a height.
pub(super) fn steps(steps: impl Iterator<Item = (f64, f64, f64)>) -> String {
    let mut path = String::new();
    let mut end = 0.0;
    for (from, to, up) in steps {
        let begin = if path.is_empty() { format!("M{:.1} {SIDE}", SIDE * from) } else { String::new() };
        let _ = write!(path, "{begin}V{:.1}H{:.1}", SIDE * (1.0 - up), SIDE * to);
        end = SIDE;
    }
    if end > 0.0 { format!("{path}V{end}Z") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_value_touches_the_top_and_zero_the_bottom() {
        assert_eq!(steps([(0.0, 0.5, 0.0), (0.5, 1.0, 1.0)].into_iter()), "M0.0 1000V1000.0H500.0V0.0H1000.0V1000Z");
        assert_eq!(steps(std::iter::empty()), "");
    }

    #[test]
    fn a_curve_is_broken_where_nothing_is_known() {
        let points = [Some((0.0, 0.0)), Some((0.5, 1.0)), None, Some((1.0, 0.5))];
        assert_eq!(curve(points.into_iter()), "M0.0 1000.0h1L500.0 0.0M1000.0 500.0h1");
    }
}
