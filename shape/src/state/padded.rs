//! Texts with bytes behind them, so that each may be copied in steps of a fixed size.

use crate::payload::STEP;
use crate::records::Span;

/// Texts that only grow.
#[derive(Debug)]
pub(super) struct Padded(Vec<u8>);

impl Default for Padded {
    fn default() -> Self {
        Self(vec![0; STEP])
    }
}

impl Padded {
    /// Bytes of all texts.
    pub(super) const fn len(&self) -> usize {
        self.0.len() - STEP
    }

    pub(super) fn push(&mut self, text: &[u8]) -> Span {
        let start = self.len();
        self.0.truncate(start);
        self.0.extend_from_slice(text);
        self.0.resize(start + text.len() + STEP, 0);
        Span::new(start, start + text.len())
    }

    /// Forgets the texts behind the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len + STEP);
    }

    /// The texts and the bytes behind them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
