//! Curves of the last 15 minutes, as SVG. Where a value is unknown the curve has a gap.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::history::{History, Point, SPAN};
use crate::overview::Chart;

/// Size of a chart in its own units; the browser stretches it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// The section with all curves.
pub(super) fn charts(history: &History, charts: &[Chart]) -> Markup {
    html! {
        section id="curves" aria-labelledby="curves-head" {
            h2 #curves-head { "The last 15 minutes" }
            div.charts { @for chart in charts { (chart.shown(&history.points(chart.curve))) } }
        }
    }
}

impl Chart {
    fn shown(&self, points: &[Point]) -> Markup {
        let values = || points.iter().filter_map(|point| point.value);
        let most = values().fold(0.0_f64, f64::max);
        let now = points.last().and_then(|point| point.value).map(self.unit);
        let now = now.unwrap_or_else(|| self.unknown.to_owned());
        let peak = if values().next().is_some() { (self.unit)(most) } else { "unknown".to_owned() };
        html! {
            figure {
                figcaption { (self.title) ": " strong { (now) } }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                    aria-label=(format!("{}: {now} now, {peak} at most", self.title)) {
                    path.curve d=(path(points, most)) {}
                }
                p.axis { span { "15 min ago" } span { "most " (peak) } span { "now" } }
            }
        }
    }
}

/// The path of a curve: a stroke for each stretch of known values.
fn path(points: &[Point], most: f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for point in points {
        let Some(value) = point.value else {
            is_drawing = false;
            continue;
        };
        let x = WIDTH * (1.0 - point.age / SPAN.as_secs_f64());
        // A line at the top or the bottom stays visible.
        let y = HEIGHT - 1.0 - (HEIGHT - 2.0) * if most > 0.0 { value / most } else { 0.0 };
        // Writing into a String cannot fail. A point alone gets a short stroke.
        let _ = match is_drawing {
            true => write!(path, "L{x:.1} {y:.1}"),
            false => write!(path, "M{x:.1} {y:.1}h0.5"),
        };
        is_drawing = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Curve;

    #[test]
    fn a_curve_has_a_gap_where_nothing_is_known() {
        let values = [Some(0.0), Some(5.0), None, Some(10.0)];
        let points: Vec<_> =
            (0..).zip(values).map(|(n, value)| Point { age: 900.0 - f64::from(n) * 300.0, value }).collect();
        assert_eq!(path(&points, 10.0), "M0.0 59.0h0.5L100.0 30.0M300.0 1.0h0.5");
        assert_eq!(path(&points[..1], 0.0), "M0.0 59.0h0.5");
        let chart = Chart { curve: Curve::Lag, title: "Lag", unit: |lag| format!("{lag} records"), unknown: "unknown" };
        let shown = chart.shown(&points).into_string();
        assert!(shown.contains("Lag: 10 records now, 10 records at most"), "{shown}");
        assert!(chart.shown(&points[2..3]).into_string().contains("Lag: unknown now, unknown at most"));
        assert!(chart.shown(&[]).into_string().contains("unknown now"));
    }
}
