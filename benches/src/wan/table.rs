//! The results as Markdown.

use std::fmt::Write;

use super::cell::{Cell, Contestant, Figure, Scenario};
use super::store::Line;
use super::verdict::{Row, Verdict};

/// What is told of a cell in which nothing happens, on a path that takes the whole budget.
const STEADY: &[Figure] = &[
    Figure::Goodput,
    Figure::OfLimit,
    Figure::Delivered,
    Figure::Loss,
    Figure::Rtt,
    Figure::SenderCpu,
    Figure::ReceiverCpu,
];

/// What is told of one whose path takes less.
const NARROW: &[Figure] = &[
    Figure::Goodput,
    Figure::OfPath,
    Figure::QueueP50,
    Figure::SelfLoss,
    Figure::Rtt,
    Figure::SenderCpu,
    Figure::ReceiverCpu,
];

/// What is told of one in which something happens, where it was measured.
const SCENARIO: &[Figure] = &[
    Figure::Goodput,
    Figure::OfPath,
    Figure::QueueP50,
    Figure::SelfLoss,
    Figure::Settled,
    Figure::Sessions,
    Figure::Share,
    Figure::LatencyP99,
];

/// The figures that `cell` is told by.
fn figures(cell: &Cell) -> &'static [Figure] {
    match cell.scenario {
        Scenario::Steady if cell.budget > cell.path_rate => NARROW,
        Scenario::Steady => STEADY,
        Scenario::Changes(_) | Scenario::BesideTcp | Scenario::Trickle { .. } => SCENARIO,
    }
}

/// A table for each kind of cell there is in `cells`.
pub(crate) fn markdown(cells: &[Cell], lines: &[&Line]) -> String {
    let kinds = [STEADY, NARROW, SCENARIO];
    let of = |kind| cells.iter().filter(|cell| figures(cell) == kind).collect::<Vec<_>>();
    let tables = kinds.map(|kind| (kind, of(kind))).into_iter().filter(|(_, cells)| !cells.is_empty());
    tables.map(|(kind, cells)| table(kind, &cells, lines)).collect::<Vec<_>>().join("\n")
}

/// `told` of each of `cells`, beside what others carried there.
fn table(told: &[Figure], cells: &[&Cell], lines: &[&Line]) -> String {
    let others: &[Contestant] = if cells.iter().all(|cell| cell.beside.is_empty()) { &[] } else { &Contestant::OTHERS };
    let labels = told.iter().map(|figure| figure.label()).chain(others.iter().map(|other| other.name()));
    let columns: Vec<&str> = ["cell"].into_iter().chain(labels).chain(["must", "verdict"]).collect();
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for cell in cells {
        let own = Row::of(cell, Contestant::Causeway, lines);
        let mut columns = vec![cell.name.clone()];
        columns.extend(told.iter().map(|figure| own.show(*figure)));
        columns.extend(others.iter().map(|other| Row::of(cell, *other, lines).show(Figure::Goodput)));
        columns.extend([cell.bounds(), verdict(cell, &own)]);
        let _ = writeln!(text, "| {} |", columns.join(" | "));
    }
    text
}

/// In words, with what spoils it.
fn verdict(cell: &Cell, row: &Row) -> String {
    let said = match Verdict::of(cell, row) {
        Verdict::Met => "met".to_owned(),
        Verdict::Missed(missed) => format!("**missed**: {}", missed.join("; ")),
        Verdict::Open(why) => why,
    };
    let faults =
        if row.seeds > 0 && !row.faults.is_empty() { format!(" ({})", row.faults.join("; ")) } else { String::new() };
    format!("{said}{faults}").replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    #[test]
    fn every_cell_has_its_row_with_as_many_columns_as_the_heading() {
        let cells = plan::all();
        let text = markdown(&cells, &[]);
        for table in text.split("\n\n") {
            let columns: Vec<_> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{columns:?}");
        }
        for cell in &cells {
            assert!(text.contains(&format!("| {} |", cell.name)), "{}", cell.name);
        }
        assert!(text.contains("not run"));
    }
}
