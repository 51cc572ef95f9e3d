//! Planted bugs: the simulation must find each of them, with an error that names the cause.

use crate::bugs::Bug;
use crate::{SEEDS, world};

/// Ensures that some seed fails with an error that contains `word`.
fn found(bug: Bug, word: &str) {
    let failure = (0..SEEDS).find_map(|seed| {
        let error = world(seed, false, |scenario| scenario.bug = Some(bug)).run().err()?;
        error.contains(word).then_some((seed, error))
    });
    let (seed, error) = failure.unwrap_or_else(|| panic!("{bug:?} passed {SEEDS} seeds"));
    println!("{bug:?} is found by seed {seed}: {error}");
}

#[test]
fn early_ack() {
    found(Bug::AckBeforeCommit, "is acked, but");
}

#[test]
fn position_one_too_high() {
    found(Bug::PositionTooHigh, "stored");
}

#[test]
fn missing_fence() {
    found(Bug::NoFence, "");
}

#[test]
fn state_read_from_a_deposed_leader() {
    found(Bug::ReadsToTheEnd, "");
}

#[test]
fn frame_of_an_older_epoch() {
    found(Bug::NoEpochCheck, "");
}

#[test]
fn partition_read_before_its_position_is_stored() {
    found(Bug::InitialPositionNotStored, "which is not stored");
}

#[test]
fn halt_that_is_not_stored() {
    found(Bug::HaltNotStored, "which is not stored");
}

#[test]
fn partition_taken_before_its_hand_over() {
    found(Bug::JoinsBeforeMoved, "which handed it over");
}

#[test]
fn hand_over_that_is_not_stored() {
    found(Bug::MoveNotStored, "target-not-empty");
}

#[test]
fn frames_of_a_dead_channel_not_sent_again() {
    found(Bug::CopiesForgotten, "never finished");
}

#[test]
fn part_of_a_frame_taken_for_all_of_it() {
    found(Bug::PartsStayCharged, "never finished");
}
