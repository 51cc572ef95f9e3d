//! The verdict on a cell: medians of its seeds, compared with its bounds.

use std::collections::BTreeMap;

use super::store::TrialResult;
use crate::wan::cell::{Cell, Contestant, Figure, Requirement, at_most};

/// Results of all seeds of one contestant in a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Median of each figure, or the worst value where that counts.
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Number of trials with figures.
    pub(crate) seeds: usize,
    /// Errors, and reasons why measurements are invalid.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Met,
    /// Bounds that are not kept, each with the measured value.
    Missed(Vec<String>),
    /// Reason why there is no result.
    NotMeasured(String),
}

impl Row {
    /// Returns the row of `contestant` in `cell` from all `results`.
    pub(crate) fn of(cell: &Cell, contestant: Contestant, results: &[&TrialResult]) -> Self {
        let own = results.iter().filter(|result| result.key.cell == cell.name && result.key.contestant == contestant);
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        let mut row = Self::default();
        for TrialResult { key, error, measured, .. } in own {
            if let Some(fault) = error.as_ref().or(measured.invalid.as_ref()) {
                row.faults.push(format!("seed {}: {fault}", key.seed));
            }
            // Figures of a late emulator are distorted, but better than none.
            if error.is_some() {
                continue;
            }
            row.seeds += 1;
            measured.figures.iter().for_each(|(figure, value)| values.entry(*figure).or_default().push(*value));
        }
        let combine = |(figure, values): (Figure, Vec<f64>)| {
            let worst = figure.is_judged_by_the_worst();
            (figure, if worst { values.iter().copied().fold(f64::MIN, f64::max) } else { median(values) })
        };
        row.figures = values.into_iter().map(combine).collect();
        if contestant == Contestant::Causeway {
            let plain = Self::of(cell, Contestant::QuinnCubic, results);
            let goodput = |row: &Self| row.figures.get(&Figure::Goodput).copied();
            if let (Some(own), Some(plain)) = (goodput(&row), goodput(&plain)) {
                row.figures.insert(Figure::TimesPlain, own / plain);
            }
        }
        row
    }

    /// Formats a figure; a dash if it was not measured.
    pub(crate) fn show(&self, figure: Figure) -> String {
        self.figures.get(&figure).map_or_else(|| "–".to_owned(), |value| figure.show(*value))
    }
}

impl Verdict {
    /// Compares Causeway's row with the cell's bounds.
    pub(crate) fn of(cell: &Cell, row: &Row) -> Self {
        if row.seeds == 0 {
            return Self::NotMeasured(row.faults.first().cloned().unwrap_or_else(|| "not run".to_owned()));
        }
        let always = at_most(Figure::Wrong, 0.0);
        let all = [always].into_iter().chain(cell.requirements.iter().copied());
        let missed: Vec<String> = all.filter_map(|requirement| missed(requirement, row)).collect();
        if missed.is_empty() { Self::Met } else { Self::Missed(missed) }
    }
}

/// Returns the requirement and the measured value, if the requirement is not met.
fn missed(requirement: Requirement, row: &Row) -> Option<String> {
    let figure = requirement.figure;
    match row.figures.get(&figure) {
        Some(value) if requirement.is_met(*value) => None,
        Some(value) => Some(format!("{requirement}: {}", figure.show(*value))),
        None => Some(format!("{requirement}: not measured")),
    }
}

/// Returns the median: the value in the middle, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Measured;
    use super::super::store::TrialKey;
    use super::*;
    use crate::wan::cell::at_least;
    use crate::wan::plan;

    fn cell() -> Cell {
        Cell {
            requirements: vec![at_least(Figure::OfLimit, 0.97), at_most(Figure::Sessions, 1.0)],
            ..plan::all().remove(0)
        }
    }

    fn line(seed: u64, of_limit: f64, sessions: f64) -> TrialResult {
        let key = TrialKey { cell: cell().name, contestant: Contestant::Causeway, seed, seconds: 15 };
        let figures = [(Figure::OfLimit, of_limit), (Figure::Sessions, sessions), (Figure::Wrong, 0.0)];
        let measured = Measured { figures: figures.into(), ..Measured::default() };
        TrialResult { key, attempts: 1, error: None, measured }
    }

    fn verdict(lines: &[TrialResult]) -> Verdict {
        let lines: Vec<&TrialResult> = lines.iter().collect();
        Verdict::of(&cell(), &Row::of(&cell(), Contestant::Causeway, &lines))
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn times_plain_quic_is_causeways_goodput_over_its() {
        let of = |contestant, goodput| {
            let mut line = line(1, 0.9, 1.0);
            line.key.contestant = contestant;
            line.measured.figures.insert(Figure::Goodput, goodput);
            line
        };
        let own = of(Contestant::Causeway, 90e6);
        let plain = of(Contestant::QuinnCubic, 6e6);
        let times = |lines: &[&TrialResult]| {
            Row::of(&cell(), Contestant::Causeway, lines).figures.get(&Figure::TimesPlain).copied()
        };
        assert_eq!(times(&[&own, &plain]), Some(15.0));
        assert_eq!(times(&[&own]), None, "nothing to compare with");
    }

    #[test]
    fn a_bad_seed_does_not_count_but_a_lost_session_does() {
        assert_eq!(verdict(&[line(1, 0.98, 1.0), line(2, 0.10, 1.0), line(3, 0.99, 1.0)]), Verdict::Met);
        let Verdict::Missed(missed) = verdict(&[line(1, 0.98, 1.0), line(2, 0.98, 2.0), line(3, 0.99, 1.0)]) else {
            panic!("a session was lost");
        };
        assert_eq!(missed, ["sessions ≤ 1: 2"]);
    }

    #[test]
    fn a_missed_bound_is_reported_with_the_value() {
        let Verdict::Missed(missed) = verdict(&[line(1, 0.9699, 1.0)]) else { panic!("96.99 % is below the bound") };
        assert_eq!(missed, ["of the limit ≥ 97.0 %: 97.0 %"]);
    }

    #[test]
    fn a_wrong_record_is_always_a_miss() {
        let mut wrong = line(1, 0.99, 1.0);
        wrong.measured.figures.insert(Figure::Wrong, 1.0);
        assert_eq!(verdict(&[wrong]), Verdict::Missed(vec!["wrong records ≤ 0: 1".to_owned()]));
    }

    #[test]
    fn a_cell_without_results_is_not_met() {
        let failed = TrialResult { error: Some("no record has arrived".to_owned()), ..line(1, 0.0, 0.0) };
        assert_eq!(verdict(&[failed]), Verdict::NotMeasured("seed 1: no record has arrived".to_owned()));
        assert_eq!(verdict(&[]), Verdict::NotMeasured("not run".to_owned()));
    }
}
