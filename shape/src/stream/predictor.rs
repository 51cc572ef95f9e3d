//! Predictors of integers. Both ends compute the same guesses, from values that both have.

use super::memory::{EMPTY, Memory};
use crate::error::DecodeError;
use crate::varint::{unzigzag, zigzag};

/// Rule by which a value is guessed. A and B are other columns of the same block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Predictor {
    /// The least value of the stream.
    Base,
    /// The value before.
    Previous,
    /// The value of A.
    Minus,
    /// The value of A less that of B.
    MinusDifference,
    /// The last value where A had the same value.
    Same,
    /// The last value where A and B had the same values.
    SamePair,
    /// The last value that followed the value before.
    SameSelf,
    /// The last value that followed the two values before.
    SameSelfPair,
    /// The last value where A and the value before were the same.
    SameSelfWith,
    /// The value before, plus the step of A.
    MinusStep,
}

impl Predictor {
    pub(crate) const ALL: [Self; 10] = [
        Self::Base,
        Self::Previous,
        Self::Minus,
        Self::MinusDifference,
        Self::Same,
        Self::SamePair,
        Self::SameSelf,
        Self::SameSelfPair,
        Self::SameSelfWith,
        Self::MinusStep,
    ];

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_number(number: u8) -> Result<Self, DecodeError> {
        Self::ALL.get(usize::from(number)).copied().ok_or(DecodeError::Malformed("an unknown predictor"))
    }

    /// Returns whether the predictor looks values up in a table.
    pub(crate) const fn has_table(self) -> bool {
        matches!(self, Self::Same | Self::SamePair | Self::SameSelf | Self::SameSelfPair | Self::SameSelfWith)
    }

    /// Number of other columns that the predictor uses.
    pub(crate) const fn parents(self) -> usize {
        match self {
            Self::Base | Self::Previous | Self::SameSelf | Self::SameSelfPair => 0,
            Self::Minus | Self::Same | Self::SameSelfWith | Self::MinusStep => 1,
            Self::MinusDifference | Self::SamePair => 2,
        }
    }
}

/// Values of the other columns, row by row; empty where the predictor does not use them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parents<'a> {
    pub(crate) a: &'a [i64],
    pub(crate) b: &'a [i64],
}

const KEY_A: u64 = 0x9e37_79b9_7f4a_7c15;
const KEY_B: u64 = 0xd6e8_feb8_6659_fd93;

const fn key(a: i64) -> u64 {
    let mixed = (a as u64).wrapping_mul(KEY_A);
    (mixed ^ mixed >> 29).wrapping_mul(KEY_B)
}

pub(crate) const fn key_of_pair(a: i64, b: i64) -> u64 {
    let mixed = (a as u64).wrapping_mul(KEY_A).wrapping_add(b as u64 ^ b as u64 >> 31);
    (mixed ^ mixed >> 29).wrapping_mul(KEY_B)
}

/// Replaces `residuals` by the differences between values and guesses; returns the base.
pub(crate) fn forward(
    predictor: Predictor,
    values: &[i64],
    parents: Parents<'_>,
    memory: &mut Memory,
    residuals: &mut Vec<u64>,
) -> i64 {
    residuals.clear();
    residuals.reserve(values.len());
    let mut base = 0;
    match predictor {
        Predictor::Base => {
            base = values.iter().copied().min().unwrap_or(0);
            residuals.extend(values.iter().map(|value| value.wrapping_sub(base) as u64));
        }
        Predictor::Previous => {
            let mut before = memory.before;
            residuals
                .extend(values.iter().map(|value| zigzag(value.wrapping_sub(std::mem::replace(&mut before, *value)))));
        }
        Predictor::Minus => {
            residuals.extend(values.iter().zip(parents.a).map(|(value, a)| zigzag(value.wrapping_sub(*a))));
        }
        Predictor::MinusDifference => {
            let guesses = parents.a.iter().zip(parents.b).map(|(a, b)| a.wrapping_sub(*b));
            residuals.extend(values.iter().zip(guesses).map(|(value, guess)| zigzag(value.wrapping_sub(guess))));
        }
        Predictor::MinusStep => {
            let mut offset = memory.offset;
            residuals.extend(values.iter().zip(parents.a).map(|(value, a)| {
                let now = value.wrapping_sub(*a);
                zigzag(now.wrapping_sub(std::mem::replace(&mut offset, now)))
            }));
            memory.offset = offset;
        }
        Predictor::Same => forward_by(values, memory, residuals, |row, _, _| key(parents.a[row])),
        Predictor::SamePair => {
            forward_by(values, memory, residuals, |row, _, _| key_of_pair(parents.a[row], parents.b[row]));
        }
        Predictor::SameSelf => forward_by(values, memory, residuals, |_, before, _| key(before)),
        Predictor::SameSelfPair => {
            forward_by(values, memory, residuals, |_, before, earlier| key_of_pair(before, earlier));
        }
        Predictor::SameSelfWith => {
            forward_by(values, memory, residuals, |row, before, _| key_of_pair(parents.a[row], before));
        }
    }
    memory.end(values);
    base
}

/// Computes the differences of a predictor with a table. `key_of` gets the row and the two values before.
fn forward_by(values: &[i64], memory: &mut Memory, residuals: &mut Vec<u64>, key_of: impl Fn(usize, i64, i64) -> u64) {
    let Memory { table, before, earlier, .. } = memory;
    let [mut before, mut earlier] = [*before, *earlier];
    residuals.extend(values.iter().enumerate().map(|(row, value)| {
        let slot = table.slot_to_write(key_of(row, before, earlier));
        let guess = if *slot == EMPTY { before } else { *slot };
        *slot = *value;
        earlier = before;
        before = *value;
        zigzag(value.wrapping_sub(guess))
    }));
}

/// Reverses [`forward`]: replaces `values`. Parents have at least as many rows as there are residuals.
pub(crate) fn inverse(
    predictor: Predictor,
    base: i64,
    residuals: &[u64],
    parents: Parents<'_>,
    memory: &mut Memory,
    values: &mut Vec<i64>,
) {
    values.clear();
    let steps = residuals.iter().map(|residual| unzigzag(*residual));
    match predictor {
        Predictor::Base => values.extend(residuals.iter().map(|residual| base.wrapping_add(*residual as i64))),
        Predictor::Previous => {
            let mut value = memory.before;
            values.extend(steps.map(|step| {
                value = value.wrapping_add(step);
                value
            }));
        }
        Predictor::Minus => values.extend(steps.zip(parents.a).map(|(step, a)| a.wrapping_add(step))),
        Predictor::MinusDifference => {
            let guesses = parents.a.iter().zip(parents.b).map(|(a, b)| a.wrapping_sub(*b));
            values.extend(steps.zip(guesses).map(|(step, guess)| guess.wrapping_add(step)));
        }
        Predictor::MinusStep => {
            let mut offset = memory.offset;
            values.extend(steps.zip(parents.a).map(|(step, a)| {
                offset = offset.wrapping_add(step);
                a.wrapping_add(offset)
            }));
            memory.offset = offset;
        }
        Predictor::Same => inverse_by(residuals, memory, values, |row, _, _| key(parents.a[row])),
        Predictor::SamePair => {
            inverse_by(residuals, memory, values, |row, _, _| key_of_pair(parents.a[row], parents.b[row]));
        }
        Predictor::SameSelf => inverse_by(residuals, memory, values, |_, before, _| key(before)),
        Predictor::SameSelfPair => {
            inverse_by(residuals, memory, values, |_, before, earlier| key_of_pair(before, earlier));
        }
        Predictor::SameSelfWith => {
            inverse_by(residuals, memory, values, |row, before, _| key_of_pair(parents.a[row], before));
        }
    }
    memory.end(values);
}

fn inverse_by(residuals: &[u64], memory: &mut Memory, values: &mut Vec<i64>, key_of: impl Fn(usize, i64, i64) -> u64) {
    let Memory { table, before, earlier, .. } = memory;
    let [mut before, mut earlier] = [*before, *earlier];
    values.extend(residuals.iter().enumerate().map(|(row, residual)| {
        let slot = table.slot(key_of(row, before, earlier));
        let guess = if *slot == EMPTY { before } else { *slot };
        let value = guess.wrapping_add(unzigzag(*residual));
        *slot = value;
        earlier = before;
        before = value;
        value
    }));
}
