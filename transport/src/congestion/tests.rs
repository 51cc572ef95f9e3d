//! Tests of the window controller on a simulated path, packet by packet in virtual time: the project's promises about its
//! rate. Rates count whole IP packets. On a path with losses, that much less arrives of a full rate.

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

/// Asserts that at least `share` of `rate` Mbit/s arrived.
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
