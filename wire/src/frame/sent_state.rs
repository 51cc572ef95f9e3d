//! State of the frames that a lane has sent within one epoch: what the receiver remembers of them. Beginning to remember
//! costs bytes, which only later frames win back, so that beginnings are limited.

use shape::{BlockWriter, EncoderState, Records, Template};

use super::state_bound::StateBound;

/// Streams of similar records that a lane may begin at any time.
const BEGINNINGS_FREE: u32 = 32;
/// The highest zstd level: the tables of others would exceed what a lane's state may take.
const LEVEL_MAX: i32 = 9;
/// Blocks that must have referred to earlier ones for each stream that is begun beyond those.
const BLOCKS_PER_BEGINNING: u32 = 8;

/// What the receiver remembers of the frames of one epoch.
#[derive(Debug)]
pub(super) struct SentState {
    bound: StateBound,
    level: i32,
    encoder: Option<EncoderState>,
    sent: Blocks,
    /// The same, with the blocks of the present frame.
    present: Blocks,
}

/// Numbers of blocks.
#[derive(Debug, Clone, Copy, Default)]
struct Blocks {
    begun: u32,
    continued: u32,
}

impl SentState {
    pub(super) const fn new(bound: StateBound) -> Self {
        let none = Blocks { begun: 0, continued: 0 };
        Self { bound, level: 1, encoder: None, sent: none, present: none }
    }

    pub(super) const fn bound(&self) -> StateBound {
        self.bound
    }

    /// Sets the zstd level. It counts from the next beginning of the codec's window on.
    pub(super) fn set_level(&mut self, level: i32) {
        self.level = level.min(LEVEL_MAX);
        if let Some(encoder) = &mut self.encoder {
            encoder.set_level(self.level);
        }
    }

    /// Returns whether another stream may begin.
    pub(super) const fn may_begin(&self) -> bool {
        self.present.begun < BEGINNINGS_FREE.saturating_add(self.present.continued / BLOCKS_PER_BEGINNING)
    }

    /// Returns whether the receiver remembers a stream with this template.
    pub(super) fn knows(&self, stream: u32, template: &Template) -> bool {
        self.encoder.as_ref().is_some_and(|encoder| template.is_known(encoder, stream))
    }

    /// Appends the block of these records. Returns whether its stream begins; `None`, without any effect, if the
    /// template does not fit the records.
    pub(super) fn write(
        &mut self,
        stream: u32,
        template: &mut Template,
        records: Records<'_>,
        writer: &mut BlockWriter,
        out: &mut Vec<u8>,
    ) -> Option<bool> {
        let begins = !self.knows(stream, template);
        let Self { bound, level, encoder, .. } = self;
        let encoder = encoder.get_or_insert_with(|| EncoderState::new(bound.bytes(), *level));
        if !writer.write_with(encoder, stream, template, records, out) {
            return None;
        }
        let Blocks { begun, continued } = &mut self.present;
        let count = if begins { begun } else { continued };
        *count = count.saturating_add(1);
        Some(begins)
    }

    /// Notes whether the blocks since the last call are sent. If not, the receiver does not get to know them.
    pub(super) fn complete(&mut self, is_sent: bool) {
        let Some(encoder) = &mut self.encoder else { return };
        if is_sent {
            encoder.commit();
            self.sent = self.present;
        } else {
            encoder.rollback();
            self.present = self.sent;
        }
    }
}
