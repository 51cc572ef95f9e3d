//! The gate's short set: a few cells at a rate that a busy machine can keep up with, and with generous bounds. It finds a
//! link that has become slow, not one that has lost a percent.

use super::cell::Figure::*;
use super::cell::{Action, Cell, Contestant, Scenario, at_least, at_most};
use super::plan::{arrived, change, mbit, ms, plain, sent};

pub(crate) fn all() -> Vec<Cell> {
    let cell = |name: &str| plain(name, mbit(100), mbit(100), ms(100));
    let full = cell("short-0pct");
    let lossy = cell("short-2pct");
    let narrow = cell("short-narrow");
    vec![
        Cell { requirements: vec![at_least(OfLimit, 0.9)], ..full },
        Cell {
            path: format!("{}, loss 2 %", lossy.path),
            loss: 0.02,
            compared_with: &[Contestant::QuinnCubic],
            requirements: vec![at_least(OfLimit, 0.9), at_least(TimesPlain, 5.0)],
            ..lossy
        },
        Cell {
            budget: mbit(160),
            requirements: vec![at_least(OfPath, 0.8), at_most(QueueP50, 30.0), at_most(SelfLoss, 0.02)],
            ..narrow
        },
        Cell {
            scenario: Scenario::Changes(vec![
                change(2, Action::Budget(mbit(40)), sent(mbit(40), 0.95..=1.05)),
                change(6, Action::Budget(mbit(100)), sent(mbit(100), 0.9..=1.05)),
                change(10, Action::Channel(1), arrived(mbit(100), 0.85..=f64::INFINITY)),
                change(14, Action::Path("down"), None),
                change(16, Action::Path("up"), arrived(mbit(100), 0.85..=f64::INFINITY)),
            ]),
            requirements: vec![at_most(Recovery, 5.0), at_most(Sessions, 1.0)],
            ..cell("short-changes")
        },
    ]
}
