//! What the frames of an epoch so far have left behind at the end that decodes.

use shape::DecoderState;

use super::state_bound::StateBound;
use crate::error::{DecodeError, ensure};

/// State of the frames of an epoch, once one of them has begun it.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The largest bound that was agreed.
    most: Option<StateBound>,
    present: Option<(StateBound, DecoderState)>,
}

impl Remembered {
    pub(super) const fn new(most: Option<StateBound>) -> Self {
        Self { most, present: None }
    }

    pub(super) const fn is_agreed(&self) -> bool {
        self.most.is_some()
    }

    /// Bytes that the state may have; 0 before it begins.
    pub(super) fn bytes(&self) -> usize {
        self.present.as_ref().map_or(0, |(bound, _)| bound.bytes())
    }

    /// Returns the state with the bound that a frame states, which is the same for all frames of an epoch.
    pub(super) fn state(&mut self, bound: u8) -> Result<&mut DecoderState, DecodeError> {
        let bound = StateBound::read(bound, self.most)?;
        let (present, state) = self.present.get_or_insert_with(|| (bound, DecoderState::new(bound.bytes())));
        ensure(*present == bound, "a state has the same bound in all frames of an epoch")?;
        Ok(state)
    }
}
