//! Every cell there is: the matrix of round trips and losses, and the scenarios with a name.

use std::time::Duration;

use wire::units::Rate;

use super::cell::{Cell, Change, Contestant, Expect, Figure, Flow, Must, Scenario, Turn};

pub(super) const fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

pub(super) const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

const ROUND_TRIPS_MS: [u64; 4] = [20, 100, 200, 300];

/// Shares lost each way, and how they are written.
const LOSSES: [(f64, &str); 5] = [(0.0, "0"), (0.001, "0.1"), (0.01, "1"), (0.02, "2"), (0.05, "5")];

/// Budgets of the matrix and the paths that they are for: one as wide as the budget, and a wider one.
const BUDGETS: [(Rate, Rate); 2] = [(mbit(300), mbit(300)), (mbit(500), mbit(600))];

/// The queue of a path where the cell does not say otherwise: what provider edges give a port of this size.
const QUEUE: &str = "limit 50 ms";

/// One that shows each kind of thing, within ten minutes.
const QUICK: [&str; 8] = [
    "300-100ms-0pct",
    "300-100ms-1pct",
    "300-200ms-2pct",
    "300-300ms-5pct",
    "500-200ms-2pct",
    "narrow-1bdp",
    "steps",
    "dark-3s",
];

/// Every cell, in the order in which they are run.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = matrix();
    cells.extend(losses());
    cells.extend(narrow());
    cells.extend(changes());
    cells.extend(neighbours());
    cells.extend(latencies());
    cells.push(cpu());
    cells
}

/// Those of the quick set.
pub(crate) fn quick() -> Vec<Cell> {
    all().into_iter().filter(|cell| QUICK.contains(&cell.name.as_str())).collect()
}

/// A path of one rate and one delay each way, with nothing special about it.
pub(super) fn plain(name: &str, budget: Rate, path_rate: Rate, rtt: Duration) -> Cell {
    Cell {
        name: name.to_owned(),
        path: format!("delay {} us, rate {path_rate}, {QUEUE}", rtt.as_micros() / 2),
        back: String::new(),
        path_rate,
        budget,
        rtt,
        loss: 0.0,
        scenario: Scenario::Steady,
        wan: &[],
        tables: "",
        must: Vec::new(),
        beside: &[],
    }
}

fn matrix() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (budget, path) in BUDGETS {
        for rtt in ROUND_TRIPS_MS {
            for (loss, percent) in LOSSES {
                let name = format!("{}-{rtt}ms-{percent}pct", budget.bits_per_second() / 1_000_000);
                let cell = plain(&name, budget, path, ms(rtt));
                let must = if loss <= 0.02 { 0.97 } else { 0.94 };
                cells.push(Cell {
                    path: format!("{}, loss {percent} %", cell.path),
                    loss,
                    must: vec![Must::at_least(Figure::OfLimit, must)],
                    beside: &Contestant::OTHERS,
                    ..cell
                });
            }
        }
    }
    cells
}

/// Losses of another kind.
fn losses() -> [Cell; 2] {
    let bursts = plain("bursts", mbit(300), mbit(300), ms(200));
    let reorder = plain("reorder", mbit(300), mbit(300), ms(200));
    [
        Cell {
            path: format!("{}, loss 2 % in bursts of 10", bursts.path),
            back: "loss 5 %".to_owned(),
            loss: 0.02,
            must: vec![Must::at_least(Figure::OfLimit, 0.95)],
            beside: &Contestant::OTHERS,
            ..bursts
        },
        Cell {
            path: format!("{}, loss 2 %, reorder 10 % by 5 ms", reorder.path),
            loss: 0.02,
            must: vec![Must::at_least(Figure::OfLimit, 0.92)],
            beside: &Contestant::OTHERS,
            ..reorder
        },
    ]
}

/// A path that carries less than the budget.
fn narrow() -> [Cell; 3] {
    let queue = |name: &str, limit: &str| {
        let cell = plain(name, mbit(500), mbit(300), ms(100));
        Cell {
            path: cell.path.replace(QUEUE, limit),
            must: vec![
                Must::at_least(Figure::OfPath, 0.93),
                Must::at_most(Figure::QueueP50, 15.0),
                Must::at_most(Figure::SelfLoss, 0.01),
            ],
            beside: &Contestant::OTHERS,
            ..cell
        }
    };
    let policed = plain("policer", mbit(500), mbit(300), ms(100));
    [
        // One round trip's worth of the path's rate.
        queue("narrow-1bdp", "limit 100 ms"),
        queue("narrow-20ms", "limit 20 ms"),
        Cell {
            path: policed.path.replace(QUEUE, "policer 128 KiB"),
            must: vec![Must::at_least(Figure::OfPath, 0.85), Must::at_most(Figure::SelfLoss, 0.03)],
            beside: &Contestant::OTHERS,
            ..policed
        },
    ]
}

pub(super) fn change(at: u64, turn: Turn, expect: Option<Expect>) -> Change {
    Change { at: Duration::from_secs(at), turn, expect }
}

/// A rate that is to be reached, between these shares of it.
pub(super) fn near(flow: Flow, rate: Rate, within: (f64, f64)) -> Option<Expect> {
    Some(Expect { flow, rate, within })
}

/// Paths and budgets that change.
fn changes() -> [Cell; 5] {
    let steps = plain("steps", mbit(600), mbit(600), ms(100));
    let (tenth, whole) = ((0.9, 1.1), (0.9, f64::INFINITY));
    let steps = Cell {
        scenario: Scenario::Changes(vec![
            change(8, Turn::Path("rate 200 Mbit/s"), near(Flow::Offered, mbit(200), tenth)),
            change(20, Turn::Path("rate 600 Mbit/s"), near(Flow::Delivered, mbit(600), tenth)),
        ]),
        must: vec![Must::at_most(Figure::Settled, 2.0), Must::at_most(Figure::Sessions, 1.0)],
        ..steps
    };
    let dark = |name: &str, seconds: u64, within: f64| Cell {
        scenario: Scenario::Changes(vec![
            change(5, Turn::Path("down"), None),
            change(5 + seconds, Turn::Path("up"), near(Flow::Delivered, mbit(300), whole)),
        ]),
        must: vec![Must::at_most(Figure::Settled, within)],
        ..plain(name, mbit(300), mbit(300), ms(200))
    };
    let command = plain("rate-change", mbit(300), mbit(600), ms(100));
    let two = (0.98, 1.02);
    let command = Cell {
        scenario: Scenario::Changes(vec![
            change(8, Turn::Budget(mbit(100)), near(Flow::Offered, mbit(100), two)),
            change(20, Turn::Budget(mbit(300)), near(Flow::Offered, mbit(300), two)),
        ]),
        must: vec![Must::at_most(Figure::Settled, 1.0), Must::at_most(Figure::Sessions, 1.0)],
        ..command
    };
    let channel = plain("dead-channel", mbit(300), mbit(300), ms(100));
    // A path that is dead for one of four is first seen as three quarters of the rate, or less.
    let channel = Cell {
        scenario: Scenario::Changes(vec![change(5, Turn::Channel(2), near(Flow::Delivered, mbit(300), whole))]),
        must: vec![Must::at_most(Figure::Settled, 5.0), Must::at_most(Figure::Sessions, 1.0)],
        ..channel
    };
    [steps, dark("dark-3s", 3, 2.0), dark("dark-120s", 120, 5.0), command, channel]
}

/// What it is like beside others.
fn neighbours() -> [Cell; 4] {
    let tcp = |name: &str, wan: &'static [&'static str], must: Vec<Must>| Cell {
        // One round trip's worth of the path's rate.
        path: "delay 20 ms, rate 200 Mbit/s, limit 40 ms".to_owned(),
        scenario: Scenario::BesideTcp,
        wan,
        must,
        ..plain(name, mbit(200), mbit(200), ms(40))
    };
    let share = Figure::Share;
    let thin = plain("thin", mbit(5), mbit(5), ms(600));
    [
        tcp("tcp-adaptive", &[], vec![Must::at_least(share, 0.3), Must::at_most(share, 0.7)]),
        tcp("tcp-scavenger", &["policy = \"scavenger\""], vec![Must::at_most(share, 0.15)]),
        // A scavenger takes less beside TCP than this floor: what is above it is the floor's doing.
        tcp("tcp-floor", &["policy = \"scavenger\"", "floor = \"20 %\""], vec![Must::at_least(Figure::OfLimit, 0.2)]),
        Cell {
            path: thin.path.replace(QUEUE, "limit 600 ms"),
            must: vec![Must::at_least(Figure::OfLimit, 0.9)],
            ..thin
        },
    ]
}

/// The trickle is worth more than the bulk.
const CRITICAL: &str = r#"[[classes]]
name = "critical"
topics = ["trickle"]
priority = "strict""#;

/// How long a record takes.
fn latencies() -> [Cell; 3] {
    let critical = |name: &str, rate: u64| Cell {
        scenario: Scenario::Trickle { alone: false },
        tables: CRITICAL,
        // 50 ms one way.
        must: vec![Must::at_most(Figure::LatencyP99, 50.0 + 100.0)],
        ..plain(name, mbit(rate), mbit(rate), ms(100))
    };
    let idle = Cell {
        scenario: Scenario::Trickle { alone: true },
        must: vec![Must::at_most(Figure::LatencyP99, 100.0 + 60.0)],
        ..plain("idle", mbit(300), mbit(300), ms(200))
    };
    [critical("critical-5", 5), critical("critical-500", 500), idle]
}

fn cpu() -> Cell {
    Cell {
        must: vec![Must::at_most(Figure::SenderCpu, 0.25), Must::at_most(Figure::ReceiverCpu, 0.25)],
        ..plain("cpu", mbit(500), mbit(600), ms(100))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use netem::{Conditions, parse_knobs};

    use super::*;

    #[test]
    fn every_cell_has_a_name_of_its_own_and_a_path_that_netem_reads() {
        let cells = all();
        let names: HashSet<_> = cells.iter().map(|cell| &cell.name).collect();
        assert_eq!(names.len(), cells.len());
        for cell in &cells {
            let conditions = Conditions::default().with(parse_knobs(&cell.path).unwrap());
            assert_eq!(conditions.delay * 2, cell.rtt, "{}", cell.name);
            assert_eq!(conditions.rate, Some(cell.path_rate), "{}", cell.name);
            assert!((conditions.loss.mean() - cell.loss).abs() < 1e-6, "{}", cell.name);
            parse_knobs(&cell.back).unwrap();
            assert!(!cell.must.is_empty(), "{}", cell.name);
            if let Scenario::Changes(changes) = &cell.scenario {
                for change in changes {
                    if let Turn::Path(knobs) = change.turn {
                        parse_knobs(knobs).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn the_matrix_is_whole_and_the_quick_set_is_in_the_plan() {
        assert_eq!(matrix().len(), 2 * 4 * 5);
        assert_eq!(quick().len(), QUICK.len());
    }
}
