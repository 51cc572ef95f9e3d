//! The results as SVG plots, written by hand because no other feature of a plotting library is needed.

use std::fmt::Write;

use super::store::TrialResult;
use super::timeline::Point;
use super::verdict::Row;
use crate::wan::cell::{Cell, Contestant, Figure, Scenario};

// All sizes are in pixels: of a panel, and of the margins around its plot.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 26.0;
const RIGHT: f64 = 12.0;
const ACROSS: usize = 4;
/// Height of the legend above all panels.
const LEGEND: f64 = 30.0;
/// Colours of the lines, which colour-blind readers can tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#888888"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// Linear from zero to this value.
    Linear(f64),
    /// Logarithmic from the first to the second value.
    Decades(f64, f64),
}

#[derive(Debug, Clone, PartialEq)]
struct Panel {
    title: String,
    x_label: &'static str,
    y_label: &'static str,
    x_max: f64,
    x_marks: Vec<(f64, String)>,
    y: Scale,
    y_marks: Vec<f64>,
    /// Points of a bound, drawn as a dashed line.
    bound: Option<Vec<(f64, f64)>>,
    /// Lines: the number of a colour, and points.
    lines: Vec<(usize, Vec<(f64, f64)>)>,
}

impl Scale {
    /// Returns the height of a value between 0, the bottom, and 1, the top.
    fn part(self, value: f64) -> f64 {
        match self {
            Self::Linear(max) => (value / max).clamp(0.0, 1.0),
            Self::Decades(low, high) => ((value / low).max(1.0).ln() / (high / low).ln()).min(1.0),
        }
    }
}

/// Returns the goodput over the loss, with a panel per budget and round trip; none if nothing was measured.
pub(crate) fn matrix(cells: &[Cell], results: &[&TrialResult], record_bytes: usize) -> Option<String> {
    let of_matrix: Vec<&Cell> = cells.iter().filter(|cell| cell.name.ends_with("pct")).collect();
    let mut panels = Vec::new();
    for group in of_matrix.chunk_by(|a, b| (a.budget, a.rtt) == (b.budget, b.rtt)) {
        let values = |contestant: Contestant| -> Vec<(f64, f64)> {
            let goodput = |cell: &Cell| Row::of(cell, contestant, results).figures.get(&Figure::Goodput).copied();
            let points = group.iter().enumerate();
            points.filter_map(|(index, cell)| Some((index as f64, goodput(cell)? / 1e6))).collect()
        };
        let lines: Vec<_> = Contestant::ALL.iter().enumerate().map(|(index, who)| (index, values(*who))).collect();
        if lines.iter().all(|(_, points)| points.is_empty()) {
            continue;
        }
        let limits = group.iter().enumerate().map(|(index, cell)| (index as f64, cell.limit(record_bytes) / 1e6));
        let marks = group.iter().enumerate().map(|(index, cell)| (index as f64, format!("{}", cell.loss * 100.0)));
        panels.push(Panel {
            title: format!("{}, {} ms", group[0].budget, group[0].rtt.as_millis()),
            x_label: "loss each way, %",
            y_label: "Mbit/s",
            x_max: (group.len().max(2) - 1) as f64,
            x_marks: marks.collect(),
            y: Scale::Decades(0.1, 1000.0),
            y_marks: vec![0.1, 1.0, 10.0, 100.0, 1000.0],
            bound: Some(limits.collect()),
            lines,
        });
    }
    let legend: Vec<_> = Contestant::ALL.iter().map(|contestant| contestant.name()).collect();
    (!panels.is_empty()).then(|| svg(&panels, &legend, Some("limit")))
}

/// Returns the rates over time for cells with changes, from the first result of each; none if there is no result.
pub(crate) fn timelines(cells: &[Cell], results: &[&TrialResult]) -> Option<String> {
    let mut panels = Vec::new();
    for cell in cells.iter().filter(|cell| matches!(cell.scenario, Scenario::Changes(_))) {
        let of_cell = results.iter().filter(|line| line.key.cell == cell.name);
        let Some(timeline) = of_cell.filter_map(|line| line.measured.timeline.as_ref()).next() else { continue };
        let rates = |bytes: fn(&Point) -> u64| -> Vec<(f64, f64)> {
            // Each rate is measured over half a second, as for the verdict.
            let pairs = timeline.0.iter().zip(timeline.0.iter().skip(5)).step_by(2);
            let rate = |(a, b): (&Point, &Point)| (b.at, (bytes(b) - bytes(a)) as f64 * 8e-6 / (b.at - a.at));
            pairs.map(rate).collect()
        };
        let last = timeline.0.last().map_or(1.0, |point| point.at);
        let max = cell.budget.max(cell.path_rate).bits_per_second() as f64 * 1.2e-6;
        panels.push(Panel {
            title: cell.name.clone(),
            x_label: "s",
            y_label: "Mbit/s",
            x_max: last,
            x_marks: (0..=5).map(|fifth| last * f64::from(fifth) / 5.0).map(|at| (at, format!("{at:.0}"))).collect(),
            y: Scale::Linear(max),
            y_marks: (0..=4).map(|quarter| (max * f64::from(quarter) / 4.0).round()).collect(),
            bound: None,
            lines: vec![(0, rates(|point| point.delivered)), (1, rates(|point| point.offered))],
        });
    }
    (!panels.is_empty()).then(|| svg(&panels, &["arrived", "sent"], None))
}

fn svg(panels: &[Panel], legend: &[&str], bound: Option<&str>) -> String {
    let across = panels.len().min(ACROSS);
    let width = WIDTH * across as f64;
    let height = HEIGHT * panels.len().div_ceil(across) as f64 + LEGEND;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut x = LEFT;
    let names = legend.iter().zip(COLOURS).map(|(name, colour)| (*name, colour, "none"));
    for (name, colour, dashes) in names.chain(bound.map(|name| (name, "black", "4 3"))) {
        let _ = write!(
            out,
            "<path d=\"M{x} 15h24\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
        );
        let _ = writeln!(out, "<text x=\"{}\" y=\"19\">{name}</text>", x + 30.0);
        x += 130.0;
    }
    for (index, panel) in panels.iter().enumerate() {
        let left = (index % across) as f64 * WIDTH;
        let top = (index / across) as f64 * HEIGHT + LEGEND;
        let _ = writeln!(out, "<g transform=\"translate({left} {top})\">");
        draw(&mut out, panel);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel) {
    let right = WIDTH - RIGHT;
    let bottom = HEIGHT - BOTTOM;
    let x = |value: f64| LEFT + (right - LEFT) * value / panel.x_max;
    let y = |value: f64| bottom - (bottom - TOP) * panel.y.part(value);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{}</text>", panel.title);
    for mark in &panel.y_marks {
        let at = y(*mark);
        let _ = write!(out, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#dddddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>", LEFT - 4.0, at + 4.0);
    }
    for (value, mark) in &panel.x_marks {
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>", x(*value), bottom + 14.0);
    }
    let _ = write!(out, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>", bottom + 28.0, panel.x_label);
    let _ = writeln!(out, "<text x=\"{right}\" y=\"16\" text-anchor=\"end\">{}</text>", panel.y_label);
    let path = |points: &[(f64, f64)]| -> String {
        let steps = points.iter().enumerate();
        steps
            .map(|(index, (a, b))| format!("{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x(*a), y(*b)))
            .collect()
    };
    if let Some(bound) = &panel.bound {
        let _ = writeln!(out, "<path d=\"{}\" fill=\"none\" stroke=\"black\" stroke-dasharray=\"4 3\"/>", path(bound));
    }
    // Causeway's line, the first, is drawn last, on top of the others.
    for (colour, points) in panel.lines.iter().rev().filter(|(_, points)| !points.is_empty()) {
        let colour = COLOURS[colour % COLOURS.len()];
        let _ = writeln!(out, "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path(points));
        // A single point has no line, so that short lines get circles.
        for (a, b) in points.iter().filter(|_| points.len() < 10) {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Measured;
    use super::super::store::TrialKey;
    use super::super::timeline::Timeline;
    use super::*;
    use crate::wan::plan;

    fn line(cell: &str, goodput: f64, timeline: Option<Timeline>) -> TrialResult {
        let key = TrialKey { cell: cell.to_owned(), contestant: Contestant::Causeway, seed: 1, seconds: 15 };
        let measured = Measured { figures: [(Figure::Goodput, goodput)].into(), timeline, ..Measured::default() };
        TrialResult { key, attempts: 1, error: None, measured }
    }

    #[test]
    fn a_decade_has_the_same_height_everywhere() {
        let scale = Scale::Decades(0.1, 1000.0);
        assert!((scale.part(100.0) - 0.75).abs() < 1e-9 && (scale.part(1.0) - 0.25).abs() < 1e-9);
        assert_eq!((scale.part(0.0), scale.part(1e9)), (0.0, 1.0));
        assert!((Scale::Linear(200.0).part(50.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_plot_has_a_panel_only_for_measured_cells() {
        let cells = plan::all();
        assert_eq!(matrix(&cells, &[], 1024), None);
        assert_eq!(timelines(&cells, &[]), None);
        let measured = line("300-200ms-2pct", 2.7e8, None);
        let plot = matrix(&cells, &[&measured], 1024).unwrap();
        assert_eq!(plot.matches("<g ").count(), 1);
        assert!(plot.contains("300 Mbit/s, 200 ms") && plot.contains("<circle"), "{plot}");
        let point = |at: u32| Point { at: f64::from(at) / 10.0, ..Point::default() };
        let changed = line("outage-3s", 1e8, Some(Timeline((0..200).map(point).collect())));
        assert!(timelines(&cells, &[&changed]).unwrap().contains("outage-3s"));
    }
}
