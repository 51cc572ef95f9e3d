//! The plan: every cell of the benchmark, which are a matrix of round trips and losses, and named scenarios.

use std::ops::RangeInclusive;
use std::time::Duration;

use wire::units::Rate;

use super::cell::Figure::*;
use super::cell::{
    Action, Cell, Change, Contestant, ExpectedRate, MeasuredAt, Requirement, Scenario, at_least, at_most,
};

pub(super) const fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

pub(super) const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

const ROUND_TRIPS_MS: [u64; 4] = [20, 100, 200, 300];
/// Shares of packets lost in each direction, and their text in percent.
const LOSSES: [(f64, &str); 5] = [(0.0, "0"), (0.001, "0.1"), (0.01, "1"), (0.02, "2"), (0.05, "5")];
/// Budgets of the matrix and the rates of their paths: one path as wide as the budget, and a wider one.
const BUDGETS: [(Rate, Rate); 2] = [(mbit(300), mbit(300)), (mbit(500), mbit(600))];
/// The queue of a path unless its cell says otherwise: about what provider edges give a port of this rate.
const QUEUE: &str = "limit 50 ms";

/// Cells of the quick set, one of each kind, which take ten minutes together.
const QUICK: [&str; 8] = [
    "300-100ms-0pct",
    "300-100ms-1pct",
    "300-200ms-2pct",
    "300-300ms-5pct",
    "500-200ms-2pct",
    "narrow-1bdp",
    "steps",
    "outage-3s",
];

/// Returns every cell, in the order in which they run.
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

pub(crate) fn quick() -> Vec<Cell> {
    all().into_iter().filter(|cell| QUICK.contains(&cell.name.as_str())).collect()
}

/// Returns a cell with one rate and one delay in each direction and no special conditions.
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
        requirements: Vec::new(),
        compared_with: &[],
    }
}

fn matrix() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (budget, path) in BUDGETS {
        for rtt in ROUND_TRIPS_MS {
            for (loss, percent) in LOSSES {
                let name = format!("{}-{rtt}ms-{percent}pct", budget.bits_per_second() / 1_000_000);
                let cell = plain(&name, budget, path, ms(rtt));
                let bound = if loss <= 0.02 { 0.97 } else { 0.94 };
                cells.push(Cell {
                    path: format!("{}, loss {percent} %", cell.path),
                    loss,
                    requirements: vec![at_least(OfLimit, bound)],
                    compared_with: &Contestant::OTHERS,
                    ..cell
                });
            }
        }
    }
    cells
}

fn losses() -> [Cell; 2] {
    let bursts = plain("bursts", mbit(300), mbit(300), ms(200));
    let reorder = plain("reorder", mbit(300), mbit(300), ms(200));
    [
        Cell {
            path: format!("{}, loss 2 % in bursts of 10", bursts.path),
            back: "loss 5 %".to_owned(),
            loss: 0.02,
            requirements: vec![at_least(OfLimit, 0.95)],
            compared_with: &Contestant::OTHERS,
            ..bursts
        },
        Cell {
            path: format!("{}, loss 2 %, reorder 10 % by 5 ms", reorder.path),
            loss: 0.02,
            requirements: vec![at_least(OfLimit, 0.92)],
            compared_with: &Contestant::OTHERS,
            ..reorder
        },
    ]
}

/// Returns the cells whose path carries less than the budget.
fn narrow() -> [Cell; 3] {
    let queue = |name: &str, limit: &str| {
        let cell = plain(name, mbit(500), mbit(300), ms(100));
        Cell {
            path: cell.path.replace(QUEUE, limit),
            requirements: vec![at_least(OfPath, 0.93), at_most(QueueP50, 15.0), at_most(SelfLoss, 0.01)],
            compared_with: &Contestant::OTHERS,
            ..cell
        }
    };
    let policed = plain("policer", mbit(500), mbit(300), ms(100));
    [
        // A queue of one round trip at the path's rate.
        queue("narrow-1bdp", "limit 100 ms"),
        queue("narrow-20ms", "limit 20 ms"),
        Cell {
            path: policed.path.replace(QUEUE, "policer 128 KiB"),
            requirements: vec![at_least(OfPath, 0.85), at_most(SelfLoss, 0.03)],
            compared_with: &Contestant::OTHERS,
            ..policed
        },
    ]
}

pub(super) fn change(at: u64, action: Action, expected: Option<ExpectedRate>) -> Change {
    Change { at: Duration::from_secs(at), action, expected }
}

/// Returns the expectation that packets are sent at `rate`, times a share `within` these bounds.
pub(super) fn sent(rate: Rate, within: RangeInclusive<f64>) -> Option<ExpectedRate> {
    Some(ExpectedRate { at: MeasuredAt::Offered, rate, within })
}

/// Returns the expectation that packets arrive at `rate`, times a share `within` these bounds.
pub(super) fn arrived(rate: Rate, within: RangeInclusive<f64>) -> Option<ExpectedRate> {
    Some(ExpectedRate { at: MeasuredAt::Delivered, rate, within })
}

fn changes() -> [Cell; 5] {
    let steps = plain("steps", mbit(600), mbit(600), ms(100));
    let steps = Cell {
        scenario: Scenario::Changes(vec![
            change(8, Action::Path("rate 200 Mbit/s"), sent(mbit(200), 0.9..=1.1)),
            change(20, Action::Path("rate 600 Mbit/s"), arrived(mbit(600), 0.9..=1.1)),
        ]),
        requirements: vec![at_most(Recovery, 2.0), at_most(Sessions, 1.0)],
        ..steps
    };
    let outage = |name: &str, seconds: u64, within: f64| Cell {
        scenario: Scenario::Changes(vec![
            change(5, Action::Path("down"), None),
            change(5 + seconds, Action::Path("up"), arrived(mbit(300), 0.9..=f64::INFINITY)),
        ]),
        requirements: vec![at_most(Recovery, within)],
        ..plain(name, mbit(300), mbit(300), ms(200))
    };
    let rate_change = plain("rate-change", mbit(300), mbit(600), ms(100));
    let rate_change = Cell {
        scenario: Scenario::Changes(vec![
            change(8, Action::Budget(mbit(100)), sent(mbit(100), 0.98..=1.02)),
            change(20, Action::Budget(mbit(300)), sent(mbit(300), 0.98..=1.02)),
        ]),
        requirements: vec![at_most(Recovery, 1.0), at_most(Sessions, 1.0)],
        ..rate_change
    };
    let channel = plain("dead-channel", mbit(300), mbit(300), ms(100));
    // A dead path of one channel in four shows first as three quarters of the rate, or less.
    let channel = Cell {
        scenario: Scenario::Changes(vec![change(5, Action::Channel(2), arrived(mbit(300), 0.9..=f64::INFINITY))]),
        requirements: vec![at_most(Recovery, 5.0), at_most(Sessions, 1.0)],
        ..channel
    };
    [steps, outage("outage-3s", 3, 2.0), outage("outage-120s", 120, 5.0), rate_change, channel]
}

/// Returns the cells with a competing TCP flow, and one with a very narrow path.
fn neighbours() -> [Cell; 4] {
    let tcp = |name: &str, wan: &'static [&'static str], requirements: Vec<Requirement>| Cell {
        // A queue of one round trip at the path's rate.
        path: "delay 20 ms, rate 200 Mbit/s, limit 40 ms".to_owned(),
        scenario: Scenario::WithTcpFlow,
        wan,
        requirements,
        ..plain(name, mbit(200), mbit(200), ms(40))
    };
    let thin = plain("thin", mbit(5), mbit(5), ms(600));
    [
        tcp("tcp-adaptive", &[], vec![at_least(Share, 0.3), at_most(Share, 0.7)]),
        tcp("tcp-scavenger", &["policy = \"scavenger\""], vec![at_most(Share, 0.15)]),
        // Next to TCP a scavenger takes less than this floor. What exceeds that is the floor's effect.
        tcp("tcp-floor", &["policy = \"scavenger\"", "floor = \"20 %\""], vec![at_least(OfLimit, 0.2)]),
        Cell { path: thin.path.replace(QUEUE, "limit 600 ms"), requirements: vec![at_least(OfLimit, 0.9)], ..thin },
    ]
}

/// Class that gives the trickle priority over the bulk topic.
const CRITICAL: &str = r#"[[classes]]
name = "critical"
topics = ["trickle"]
priority = "strict""#;

/// Returns the cells in which the latency of records is measured.
fn latencies() -> [Cell; 3] {
    let critical = |name: &str, rate: u64| Cell {
        scenario: Scenario::Trickle { alone: false },
        tables: CRITICAL,
        // The path's one-way delay of 50 ms, and 100 ms more.
        requirements: vec![at_most(LatencyP99, 50.0 + 100.0)],
        ..plain(name, mbit(rate), mbit(rate), ms(100))
    };
    let idle = Cell {
        scenario: Scenario::Trickle { alone: true },
        requirements: vec![at_most(LatencyP99, 100.0 + 60.0)],
        ..plain("idle", mbit(300), mbit(300), ms(200))
    };
    [critical("critical-5", 5), critical("critical-500", 500), idle]
}

fn cpu() -> Cell {
    Cell {
        requirements: vec![at_most(SenderCpu, 0.25), at_most(ReceiverCpu, 0.25)],
        ..plain("cpu", mbit(500), mbit(600), ms(100))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use netem::{Conditions, parse_knobs};

    use super::*;

    #[test]
    fn every_cell_has_a_unique_name_and_a_path_that_parses() {
        let cells = all();
        let names: HashSet<_> = cells.iter().map(|cell| &cell.name).collect();
        assert_eq!(names.len(), cells.len());
        for cell in &cells {
            let conditions = Conditions::default().with(parse_knobs(&cell.path).unwrap());
            assert_eq!(conditions.delay * 2, cell.rtt, "{}", cell.name);
            assert_eq!(conditions.rate, Some(cell.path_rate), "{}", cell.name);
            assert!((conditions.loss.mean() - cell.loss).abs() < 1e-6, "{}", cell.name);
            parse_knobs(&cell.back).unwrap();
            assert!(!cell.requirements.is_empty(), "{}", cell.name);
            if let Scenario::Changes(changes) = &cell.scenario {
                for change in changes {
                    if let Action::Path(knobs) = change.action {
                        parse_knobs(knobs).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn the_matrix_is_complete_and_the_quick_set_exists() {
        assert_eq!(matrix().len(), 2 * 4 * 5);
        assert_eq!(quick().len(), QUICK.len());
    }
}
