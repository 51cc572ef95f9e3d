//! Promotion: asked at any time, of receivers that die, pause and contend, with senders that do not know of it.

use std::cell::RefCell;

use crate::bugs::Bug;
use crate::planted_bugs::{self, found_if};
use crate::scenario::Scenario;
use crate::world::World;
use crate::{for_seeds, number};

/// Makes a link that is promoted at a random step, mostly while several receivers have it.
fn promoted(scenario: &mut Scenario) {
    scenario.promoted_at = Some(scenario.steps / 4 + scenario.pool % (scenario.steps / 2));
    scenario.poisons = 0;
    scenario.trimming = 0;
    // Applications write before the link is promoted.
    scenario.foreign = 20;
}

/// Makes three links contend for the lanes when the promotion is asked for.
fn contended(scenario: &mut Scenario) {
    planted_bugs::contended(scenario);
    promoted(scenario);
}

#[test]
fn nothing_is_carried_after_a_promotion_and_all_is_stated() {
    for_seeds(number("SIM_SEEDS").unwrap_or(300), promoted, |world| world.run_promoted());
}

#[test]
fn a_promotion_takes_the_lanes_from_receivers_that_contend() {
    let carried = RefCell::new(0);
    for_seeds(number("SIM_SEEDS").unwrap_or(100), contended, |world| {
        world.run_promoted()?;
        *carried.borrow_mut() += world.oracle.records_seen;
        Ok(())
    });
    assert!(number("SEED").is_some() || carried.into_inner() > 1_000, "little was carried before");
}

/// Ensures that some seed fails with an error that contains `word`.
fn found(bug: Bug, word: &str, change: fn(&mut Scenario)) {
    found_if(bug, word, change, World::run_promoted);
}

#[test]
fn promotion_that_is_not_stored() {
    found(Bug::PromotionNotStored, "but the link is promoted", promoted);
}

#[test]
fn lane_that_a_promotion_misses() {
    found(Bug::LaneNotPromoted, "", promoted);
}

#[test]
fn way_back_that_begins_elsewhere() {
    for bug in [Bug::ReturnsTooLow, Bug::ReturnsTooHigh, Bug::ReturnsFromLogEnd] {
        found(bug, "goes back from", promoted);
    }
}

#[test]
fn missing_fence_of_the_receivers_before() {
    found(Bug::NoFence, "but the link is promoted", contended);
}
