//! Planted bugs: the simulation must find each of them, with an error that names the cause.

use crate::bugs::Bug;
use crate::scenario::Scenario;
use crate::world::World;
use crate::{SEEDS, world};

/// Ensures that some seed fails with an error that contains `word`.
fn found(bug: Bug, word: &str) {
    found_if(bug, word, |_| (), World::run);
}

/// Ensures that some seed fails if three links contend for the lanes.
fn found_if_contended(bug: Bug) {
    found_if(bug, "", contended, World::run);
}

/// Makes three links contend for the lanes, as receivers that do not have the same ids: with these a fence is never missing.
pub(crate) fn contended(scenario: &mut Scenario) {
    scenario.contend();
    scenario.twins = false;
}

/// Ensures that some seed fails with an error that contains `word` when `run` plays it.
pub(crate) fn found_if(
    bug: Bug,
    word: &str,
    change: impl Fn(&mut Scenario),
    run: impl Fn(&mut World) -> Result<(), String>,
) {
    let failure = (0..SEEDS).find_map(|seed| {
        let planted = |scenario: &mut Scenario| {
            change(scenario);
            scenario.bug = Some(bug);
        };
        let error = run(&mut world(seed, false, planted)).err()?;
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
    found_if_contended(Bug::NoFence);
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

/// Ensures that some seed fails if a policy leaves out many rejected records.
fn found_if_skipping(bug: Bug, word: &str) {
    let skipping = |scenario: &mut Scenario| {
        scenario.poisons = 20;
        scenario.skipping = 1000;
    };
    found_if(bug, word, skipping, World::run);
}

#[test]
fn whole_batch_left_out_for_one_record() {
    found_if_skipping(Bug::WholeBatchNamed, "are rejected up to");
}

#[test]
fn record_left_out_without_an_entry() {
    found_if_skipping(Bug::JumpNotStored, "but their number went");
}

#[test]
fn frames_of_a_dead_channel_not_sent_again() {
    found(Bug::CopiesForgotten, "never finished");
}

#[test]
fn part_of_a_frame_taken_for_all_of_it() {
    found(Bug::PartsStayCharged, "never finished");
}

#[test]
fn frames_that_refer_to_an_earlier_epoch() {
    let remembering = |scenario: &mut Scenario| {
        scenario.remember();
        scenario.losing = 30;
    };
    found_if(Bug::FrameStateKept, "does not fit the state", remembering, World::run);
}

#[test]
fn open_transaction_taken_for_aborted() {
    found_if_contended(Bug::VoidAssumed);
}

#[test]
fn last_bid_wins() {
    found_if_contended(Bug::LastBidWins);
}

#[test]
fn bid_under_the_key_of_the_custody() {
    found_if_contended(Bug::BidIsCustody);
}

#[test]
fn bids_of_others_ignored() {
    found_if_contended(Bug::BidsIgnored);
}

#[test]
fn escape_without_a_bid() {
    found_if_contended(Bug::EscapeWithoutBid);
}

#[test]
fn holder_writes_through_another_id() {
    found_if_contended(Bug::OtherIdKept);
}

#[test]
fn no_fence_after_the_bid() {
    found_if_contended(Bug::FenceBeforeBidOnly);
}

#[test]
fn only_the_last_holder_is_fenced() {
    found_if_contended(Bug::OnlyLastFenced);
}

#[test]
fn lane_not_read_again_after_its_writer_failed() {
    found_if_contended(Bug::GrantKept);
}

#[test]
fn lane_moves_to_another_writer_without_a_bid() {
    found_if_contended(Bug::MovedWithoutBid);
}

#[test]
fn lanes_of_a_failed_transaction_taken_for_committed() {
    found(Bug::OthersCompleted, "");
}

#[test]
fn map_that_is_not_corrected() {
    found(Bug::PredictionKept, "map of");
}

#[test]
fn map_with_the_ranges_of_a_void_transaction() {
    found(Bug::VoidRangesKept, "map of");
}

#[test]
fn map_that_a_hand_over_loses() {
    found(Bug::MapNotHandedOver, "map of");
}

#[test]
fn map_that_names_another_block() {
    found(Bug::BlockMisplaced, "map of");
}
