//! The law against a simulated pipe, packet by packet in virtual time: what this project promises of its rate. A rate
//! is of whole IP packets; what fills a path that loses a share is that much less of it at its end.

mod cubic;
mod neighbours;
mod pipe;
mod quic;
mod world;

use std::time::Duration;

use wire::share::Share;

use super::*;
use world::{Observed, World};

fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

fn budget(rate: u64) -> FlowSettings {
    FlowSettings::new(Some(mbit(rate)))
}

/// Whether at least `share` of `rate` Mbit/s arrived.
#[track_caller]
fn assert_fills(observed: &Observed, rate: f64, share: f64) {
    let part = observed.ours / (rate * 1e6);
    assert!(
        part >= share,
        "{:.1} % of {rate} Mbit/s, at least {:.0} % wanted: {observed:?}",
        part * 100.0,
        share * 100.0
    );
}
