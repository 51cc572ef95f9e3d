//! The results as Markdown tables.

use std::fmt::Write;

use super::store::TrialResult;
use super::verdict::{Row, Verdict};
use crate::wan::cell::Figure::*;
use crate::wan::cell::{Cell, Contestant, Figure, Scenario};

/// Columns of a steady cell whose path carries the whole budget.
const STEADY: &[Figure] = &[Goodput, OfLimit, Delivered, Loss, Rtt, SenderCpu, ReceiverCpu];

/// Columns of a steady cell whose path carries less than the budget.
const NARROW: &[Figure] = &[Goodput, OfPath, QueueP50, SelfLoss, Rtt, SenderCpu, ReceiverCpu];

/// Columns of a cell with a scenario; a figure that was not measured is a dash.
const SCENARIO: &[Figure] = &[Goodput, OfPath, QueueP50, SelfLoss, Recovery, Sessions, Share, LatencyP99];

fn figures(cell: &Cell) -> &'static [Figure] {
    match cell.scenario {
        Scenario::Steady if cell.budget > cell.path_rate => NARROW,
        Scenario::Steady => STEADY,
        Scenario::Changes(_) | Scenario::WithTcpFlow | Scenario::Trickle { .. } => SCENARIO,
    }
}

/// Returns the tables of `cells`, one per kind of cell.
pub(crate) fn markdown(cells: &[Cell], results: &[&TrialResult]) -> String {
    let kinds = [STEADY, NARROW, SCENARIO];
    let of = |kind| cells.iter().filter(|cell| figures(cell) == kind).collect::<Vec<_>>();
    let tables = kinds.map(|kind| (kind, of(kind))).into_iter().filter(|(_, cells)| !cells.is_empty());
    tables.map(|(kind, cells)| table(kind, &cells, results)).collect::<Vec<_>>().join("\n")
}

/// Returns the table of `figures` of `cells`, with the goodput of the other contestants.
fn table(figures: &[Figure], cells: &[&Cell], results: &[&TrialResult]) -> String {
    let only_causeway = cells.iter().all(|cell| cell.compared_with.is_empty());
    let others: &[Contestant] = if only_causeway { &[] } else { &Contestant::OTHERS };
    let labels = figures.iter().map(|figure| figure.label()).chain(others.iter().map(|other| other.name()));
    let columns: Vec<&str> = ["cell"].into_iter().chain(labels).chain(["must", "verdict"]).collect();
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for cell in cells {
        let own = Row::of(cell, Contestant::Causeway, results);
        let mut columns = vec![cell.name.clone()];
        columns.extend(figures.iter().map(|figure| own.show(*figure)));
        columns.extend(others.iter().map(|other| Row::of(cell, *other, results).show(Goodput)));
        columns.extend([cell.bounds(), verdict(cell, &own)]);
        let _ = writeln!(text, "| {} |", columns.join(" | "));
    }
    text
}

/// Returns the verdict in words, with the trials that do not count.
fn verdict(cell: &Cell, row: &Row) -> String {
    let verdict = match Verdict::of(cell, row) {
        Verdict::Met => "met".to_owned(),
        Verdict::Missed(missed) => format!("**missed**: {}", missed.join("; ")),
        Verdict::NotMeasured(why) => why,
    };
    let faults =
        if row.seeds > 0 && !row.faults.is_empty() { format!(" ({})", row.faults.join("; ")) } else { String::new() };
    format!("{verdict}{faults}").replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::plan;

    #[test]
    fn every_cell_has_a_row_with_all_columns() {
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
