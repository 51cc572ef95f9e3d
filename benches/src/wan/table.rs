//! The results as Markdown.

use std::fmt::Write;

use super::cell::{Cell, Contestant, Figure, Scenario};
use super::store::Line;
use super::verdict::{Row, Verdict};

/// What stands beside the verdict in a steady cell.
const STEADY: [Figure; 7] = [
    Figure::Goodput,
    Figure::OfLimit,
    Figure::Delivered,
    Figure::Loss,
    Figure::Rtt,
    Figure::SenderCpu,
    Figure::ReceiverCpu,
];

/// What stands beside it in a scenario, where it was measured.
const SCENARIO: [Figure; 8] = [
    Figure::Goodput,
    Figure::OfPath,
    Figure::QueueP50,
    Figure::SelfLoss,
    Figure::Settled,
    Figure::Sessions,
    Figure::Share,
    Figure::LatencyP99,
];

/// Both tables of `cells`.
pub(crate) fn markdown(cells: &[Cell], lines: &[&Line]) -> String {
    let is_matrix = |cell: &&Cell| cell.scenario == Scenario::Steady && !cell.beside.is_empty();
    let mut text = String::new();
    let (matrix, scenarios): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(is_matrix);
    if !matrix.is_empty() {
        let others = Contestant::OTHERS.map(Contestant::name);
        let figures: Vec<_> = STEADY.iter().map(|figure| figure.label()).collect();
        heading(&mut text, &[&["cell"], &figures[..], &others[..], &["verdict"]].concat());
        matrix.iter().for_each(|cell| steady(&mut text, cell, lines));
        text.push('\n');
    }
    if !scenarios.is_empty() {
        let figures: Vec<_> = SCENARIO.iter().map(|figure| figure.label()).collect();
        heading(&mut text, &[&["cell"], &figures[..], &["verdict"]].concat());
        scenarios.iter().for_each(|cell| scenario(&mut text, cell, lines));
    }
    text
}

fn heading(text: &mut String, columns: &[&str]) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(columns.len()));
}

fn steady(text: &mut String, cell: &Cell, lines: &[&Line]) {
    let own = Row::of(cell, Contestant::Causeway, lines);
    let mut columns = vec![cell.name.clone()];
    columns.extend(STEADY.iter().map(|figure| own.show(*figure)));
    columns.extend(Contestant::OTHERS.map(|contestant| Row::of(cell, contestant, lines).show(Figure::Goodput)));
    columns.push(verdict(cell, &own));
    let _ = writeln!(text, "| {} |", columns.join(" | "));
}

fn scenario(text: &mut String, cell: &Cell, lines: &[&Line]) {
    let own = Row::of(cell, Contestant::Causeway, lines);
    let mut columns = vec![cell.name.clone()];
    columns.extend(SCENARIO.iter().map(|figure| own.show(*figure)));
    columns.push(verdict(cell, &own));
    let _ = writeln!(text, "| {} |", columns.join(" | "));
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
