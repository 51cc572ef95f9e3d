//! Encoder: learns the template of a stream of records, and writes the smallest form of each block.

use crate::block::put_without_shape;
use crate::judge::Judge;
use crate::learn::{Learned, learn};
use crate::limits::{SAMPLE_GROWTH, SAMPLE_MAX};
use crate::plan::Planner;
use crate::records::{Records, RecordsBuf};
use crate::writer::BlockWriter;

/// Encoder of blocks of similar records, such as the values of one topic. It keeps what it learned about them; blocks do
/// not depend on each other.
#[derive(Debug)]
pub struct Encoder {
    learned: Option<Learned>,
    /// Records of the first blocks, until there are enough to learn from.
    sample: RecordsBuf,
    learned_from: usize,
    judge: Judge,
    planner: Planner,
    writer: BlockWriter,
    shaped: Vec<u8>,
}

impl Encoder {
    /// Encoder with a zstd level.
    pub fn new(level: i32) -> Self {
        Self {
            learned: None,
            sample: RecordsBuf::default(),
            learned_from: 0,
            judge: Judge::default(),
            planner: Planner::default(),
            writer: BlockWriter::new(level),
            shaped: Vec::new(),
        }
    }

    /// Appends the block of these records to `out`.
    pub fn encode(&mut self, records: Records<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = records.bytes().len();
        let is_tried = !records.is_empty() && self.judge.tries();
        if !is_tried || !self.shape(records) {
            if is_tried {
                self.judge.note_failure();
            }
            put_without_shape(records, self.writer.packer(), out);
            return;
        }
        let shaped = self.shaped.len();
        if self.judge.compares(shaped, bytes) {
            put_without_shape(records, self.writer.packer(), out);
            if !self.judge.note(shaped, out.len() - start, bytes) {
                return;
            }
            out.truncate(start);
        }
        out.extend_from_slice(&self.shaped);
    }

    /// Learns the template and plans from these records, instead of from the first blocks. This takes as long as
    /// encoding some hundred blocks, so it may be done on another thread, by an encoder that then replaces the one in
    /// use. Returns false, and learns nothing, if they have no template.
    pub fn learn(&mut self, records: Records<'_>) -> bool {
        let found = learn(records.first(SAMPLE_MAX), &mut self.planner);
        self.learned_from = records.bytes().len().min(SAMPLE_MAX);
        let is_found = found.is_some();
        self.learned = found.or_else(|| self.learned.take());
        is_found
    }

    /// Writes the form with a template to `self.shaped`; returns false if there is none.
    fn shape(&mut self, records: Records<'_>) -> bool {
        self.learn_more(records);
        let Some(learned) = &mut self.learned else { return false };
        self.shaped.clear();
        let fits = self.writer.write_learned(learned, records, &mut self.shaped);
        if !fits {
            self.learned = None;
            self.learned_from = 0;
        }
        fits
    }

    /// Adds records to the sample, and learns again when it has grown enough.
    fn learn_more(&mut self, records: Records<'_>) {
        if self.learned_from >= SAMPLE_MAX / SAMPLE_GROWTH && self.learned.is_some() {
            self.sample = RecordsBuf::default();
            return;
        }
        if self.learned.is_none() {
            self.sample.clear();
        }
        self.sample.extend(records.first(SAMPLE_MAX), SAMPLE_MAX);
        if self.learned.is_none() || self.sample.bytes.len() >= self.learned_from * SAMPLE_GROWTH {
            let sample = std::mem::take(&mut self.sample);
            self.learn(sample.as_records());
            self.sample = sample;
        }
    }
}
