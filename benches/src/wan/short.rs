//! The short form, which the gate runs: a few cells at a rate that a busy machine has time for, in ratios that leave it
//! room. What it finds is a link that has become a slow one, not one that has lost a percent.

use super::cell::{Cell, Contestant, Figure, Flow, Must, Scenario, Turn};
use super::plan::{change, mbit, ms, near, plain};

/// Every cell of it.
pub(crate) fn all() -> Vec<Cell> {
    let cell = |name: &str| plain(name, mbit(100), mbit(100), ms(100));
    let (full, lossy, narrow) = (cell("short-0pct"), cell("short-2pct"), cell("short-narrow"));
    let whole = (0.85, f64::INFINITY);
    vec![
        Cell { must: vec![Must::at_least(Figure::OfLimit, 0.9)], ..full },
        Cell {
            path: format!("{}, loss 2 %", lossy.path),
            loss: 0.02,
            beside: &[Contestant::QuinnCubic],
            must: vec![Must::at_least(Figure::OfLimit, 0.9), Must::at_least(Figure::TimesPlain, 5.0)],
            ..lossy
        },
        Cell {
            budget: mbit(160),
            must: vec![
                Must::at_least(Figure::OfPath, 0.8),
                Must::at_most(Figure::QueueP50, 30.0),
                Must::at_most(Figure::SelfLoss, 0.02),
            ],
            ..narrow
        },
        Cell {
            scenario: Scenario::Changes(vec![
                change(2, Turn::Budget(mbit(40)), near(Flow::Offered, mbit(40), (0.95, 1.05))),
                change(6, Turn::Budget(mbit(100)), near(Flow::Offered, mbit(100), (0.9, 1.05))),
                change(10, Turn::Channel(1), near(Flow::Delivered, mbit(100), whole)),
                change(14, Turn::Path("down"), None),
                change(16, Turn::Path("up"), near(Flow::Delivered, mbit(100), whole)),
            ]),
            must: vec![Must::at_most(Figure::Settled, 5.0), Must::at_most(Figure::Sessions, 1.0)],
            ..cell("short-changes")
        },
    ]
}
