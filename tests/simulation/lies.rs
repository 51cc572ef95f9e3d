//! Numbers that a lying peer says: near limits, or valid before; and the reasons of the sessions that its lies ended.

use std::collections::BTreeMap;

use crate::dice::Dice;

/// Numbers of sessions that ended, by their reason with the numbers left out.
pub(crate) type Reasons = BTreeMap<String, u64>;

/// Draws a number near a limit, or one that was valid before.
pub(crate) fn odd_number(dice: &Dice, known: &[u64], next: u64) -> u64 {
    match dice.below(8) {
        0 => 0,
        1 => next + 1,
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => dice.below(next + 3),
        _ if known.is_empty() => next,
        _ => known[dice.below(known.len() as u64) as usize],
    }
}

/// Draws a position that may be of a log, or is at a limit.
pub(crate) fn odd_position(dice: &Dice, near: i64) -> i64 {
    match dice.below(8) {
        0 => 0,
        1 => i64::MAX,
        2 => i64::MAX - 1,
        3 => 1_000_000_000_000,
        _ => near.saturating_add(dice.below(8) as i64 - 4).max(0),
    }
}

/// Notes why a session ended.
pub(crate) fn note(reasons: &mut Reasons, reason: &str) {
    let words: String = reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    *reasons.entry(words).or_default() += 1;
}
