//! From trials to a row: the median of the seeds, and whether it will do.

use std::collections::BTreeMap;

use super::cell::{Cell, Contestant, Figure, Must};
use super::store::Line;

/// What all seeds of one contestant have shown in a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Medians; the worst, where that is what counts.
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Trials that count.
    pub(crate) seeds: usize,
    /// Why others do not.
    pub(crate) faults: Vec<String>,
}

/// Whether a cell is as it must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Every bound is kept.
    Met,
    /// These are not, with what was found.
    Missed(Vec<String>),
    /// There is no result that counts.
    Open(String),
}

impl Row {
    /// The row of `contestant` in `cell`, out of all `lines`.
    pub(crate) fn of(cell: &Cell, contestant: Contestant, lines: &[&Line]) -> Self {
        let own = lines.iter().filter(|line| line.key.cell == cell.name && line.key.contestant == contestant);
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        let mut row = Self::default();
        for line in own {
            if let Some(fault) = line.error.as_ref().or(line.measured.invalid.as_ref()) {
                row.faults.push(format!("seed {}: {fault}", line.key.seed));
                // A late emulator has bent the numbers, but there are no others.
                if line.error.is_some() {
                    continue;
                }
            }
            row.seeds += 1;
            line.measured.figures.iter().for_each(|(figure, value)| values.entry(*figure).or_default().push(*value));
        }
        let middle = |(figure, values): (Figure, Vec<f64>)| {
            let worst = figure.is_judged_by_the_worst();
            (figure, if worst { values.iter().copied().fold(f64::MIN, f64::max) } else { median(values) })
        };
        row.figures = values.into_iter().map(middle).collect();
        if contestant == Contestant::Causeway {
            let plain = Self::of(cell, Contestant::QuinnCubic, lines);
            let goodput = |row: &Self| row.figures.get(&Figure::Goodput).copied();
            if let (Some(own), Some(plain)) = (goodput(&row), goodput(&plain)) {
                row.figures.insert(Figure::TimesPlain, own / plain);
            }
        }
        row
    }

    /// A figure as it is shown; a dash where there is none.
    pub(crate) fn show(&self, figure: Figure) -> String {
        self.figures.get(&figure).map_or_else(|| "–".to_owned(), |value| figure.show(*value))
    }
}

impl Verdict {
    /// Judges the product's row of a cell.
    pub(crate) fn of(cell: &Cell, row: &Row) -> Self {
        if row.seeds == 0 {
            return Self::Open(row.faults.first().cloned().unwrap_or_else(|| "not run".to_owned()));
        }
        let always = Must::at_most(Figure::Wrong, 0.0);
        let missed: Vec<String> = [always].iter().chain(&cell.must).filter_map(|must| missed(must, row)).collect();
        if missed.is_empty() { Self::Met } else { Self::Missed(missed) }
    }
}

fn missed(must: &Must, row: &Row) -> Option<String> {
    match row.figures.get(&must.figure) {
        Some(value) if must.is_met(*value) => None,
        Some(value) => Some(format!("{must}: {}", must.figure.show(*value))),
        None => Some(format!("{must}: not measured")),
    }
}

/// The value in the middle; between the two in the middle, where there are two.
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
    use super::super::plan;
    use super::super::store::Key;
    use super::*;

    fn cell() -> Cell {
        Cell {
            must: vec![Must::at_least(Figure::OfLimit, 0.97), Must::at_most(Figure::Sessions, 1.0)],
            ..plan::all().remove(0)
        }
    }

    fn line(seed: u64, of_limit: f64, sessions: f64) -> Line {
        let key = Key { cell: cell().name, contestant: Contestant::Causeway, seed, seconds: 15 };
        let figures = [(Figure::OfLimit, of_limit), (Figure::Sessions, sessions), (Figure::Wrong, 0.0)];
        let measured = Measured { figures: figures.into(), ..Measured::default() };
        Line { key, attempts: 1, error: None, measured }
    }

    fn verdict(lines: &[Line]) -> Verdict {
        let lines: Vec<&Line> = lines.iter().collect();
        Verdict::of(&cell(), &Row::of(&cell(), Contestant::Causeway, &lines))
    }

    #[test]
    fn the_middle_is_found_whatever_the_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_multiple_of_plain_quic_is_ours_over_its() {
        let of = |contestant, goodput| {
            let mut line = line(1, 0.9, 1.0);
            line.key.contestant = contestant;
            line.measured.figures.insert(Figure::Goodput, goodput);
            line
        };
        let (own, plain) = (of(Contestant::Causeway, 90e6), of(Contestant::QuinnCubic, 6e6));
        let times =
            |lines: &[&Line]| Row::of(&cell(), Contestant::Causeway, lines).figures.get(&Figure::TimesPlain).copied();
        assert_eq!(times(&[&own, &plain]), Some(15.0));
        assert_eq!(times(&[&own]), None, "nothing to compare with");
    }

    #[test]
    fn one_bad_seed_does_not_spoil_a_median_but_a_lost_session_does() {
        assert_eq!(verdict(&[line(1, 0.98, 1.0), line(2, 0.10, 1.0), line(3, 0.99, 1.0)]), Verdict::Met);
        let Verdict::Missed(missed) = verdict(&[line(1, 0.98, 1.0), line(2, 0.98, 2.0), line(3, 0.99, 1.0)]) else {
            panic!("a session was lost");
        };
        assert_eq!(missed, ["sessions ≤ 1: 2"]);
    }

    #[test]
    fn what_is_too_little_is_named_with_its_bound() {
        let Verdict::Missed(missed) = verdict(&[line(1, 0.9699, 1.0)]) else { panic!("it is too little") };
        assert_eq!(missed, ["of the limit ≥ 97.0 %: 97.0 %"]);
    }

    #[test]
    fn a_wrong_record_is_never_good_enough() {
        let mut wrong = line(1, 0.99, 1.0);
        wrong.measured.figures.insert(Figure::Wrong, 1.0);
        assert_eq!(verdict(&[wrong]), Verdict::Missed(vec!["wrong records ≤ 0: 1".to_owned()]));
    }

    #[test]
    fn without_a_result_nothing_is_said_to_be_met() {
        let failed = Line { error: Some("no record has arrived".to_owned()), ..line(1, 0.0, 0.0) };
        assert_eq!(verdict(&[failed]), Verdict::Open("seed 1: no record has arrived".to_owned()));
        assert_eq!(verdict(&[]), Verdict::Open("not run".to_owned()));
    }
}
