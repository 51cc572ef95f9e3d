//! Encoder: learns the template of a stream of records, and writes the smallest form of each block.

use crate::block::{SHAPE, put_without_shape};
use crate::learn::{Learned, learn};
use crate::limits::payload_max;
use crate::pack::Packer;
use crate::payload::PayloadWriter;
use crate::plan::Planner;
use crate::records::{Records, RecordsBuf};

/// Bytes from which templates and plans are learned, at most.
const SAMPLE_MAX: usize = 1 << 20;
/// Growth of the sample that makes it worth learning again.
const SAMPLE_GROWTH: usize = 8;
/// Most blocks that are sent without a template before it is tried again.
const PAUSE_MAX: u32 = 64;
/// Blocks between two comparisons with the plain form, where the template is far better.
const COMPARE_EVERY: u32 = 16;

/// Encoder of blocks of similar records, such as the values of one topic. It keeps what it learned about them; blocks do
/// not depend on each other.
#[derive(Debug)]
pub struct Encoder {
    learned: Option<Learned>,
    /// Records of the first blocks, until there are enough to learn from.
    sample: RecordsBuf,
    learned_from: usize,
    pause: Pause,
    comparison: Comparison,
    planner: Planner,
    writer: PayloadWriter,
    packer: Packer,
    payload: Vec<u8>,
    shaped: Vec<u8>,
}

/// Blocks that are sent without trying a template, because it lost before.
#[derive(Debug, Default)]
struct Pause {
    losses: u32,
    blocks: u32,
}

impl Pause {
    /// Returns whether this block should have a template.
    const fn is_over(&mut self) -> bool {
        if self.blocks == 0 {
            return true;
        }
        self.blocks -= 1;
        false
    }

    fn note(&mut self, won: bool) {
        self.losses = if won { 0 } else { self.losses + 1 };
        self.blocks = if won { 0 } else { (1 << self.losses.min(10)).min(PAUSE_MAX) };
    }
}

/// The last comparison of both forms of a block.
#[derive(Debug, Default)]
struct Comparison {
    plain: usize,
    shaped: usize,
    bytes: usize,
    /// Blocks since then.
    age: u32,
}

impl Comparison {
    /// Returns whether the plain form of `bytes` bytes may be smaller than `shaped`: whether the template was not far
    /// better before, or has another effect than before.
    fn is_due(&mut self, shaped: usize, bytes: usize) -> bool {
        self.age += 1;
        let now = shaped * self.bytes;
        let is_close = now * 4 > self.plain * bytes * 3;
        let is_unlike = now * 4 < self.shaped * bytes * 3;
        self.bytes == 0 || self.age >= COMPARE_EVERY || is_close || is_unlike
    }
}

impl Encoder {
    /// Encoder with a zstd level.
    pub fn new(level: i32) -> Self {
        Self {
            learned: None,
            sample: RecordsBuf::default(),
            learned_from: 0,
            pause: Pause::default(),
            comparison: Comparison::default(),
            planner: Planner::default(),
            writer: PayloadWriter::default(),
            packer: Packer::new(level),
            payload: Vec::new(),
            shaped: Vec::new(),
        }
    }

    /// Appends the block of these records to `out`.
    pub fn encode(&mut self, records: Records<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = records.bytes().len();
        let is_tried = !records.is_empty() && self.pause.is_over();
        if !is_tried || !self.shape(records) {
            if is_tried {
                self.pause.note(false);
            }
            put_without_shape(records, &mut self.packer, out);
            return;
        }
        let mut won = true;
        let shaped = self.shaped.len();
        if self.comparison.is_due(shaped, bytes) {
            put_without_shape(records, &mut self.packer, out);
            let plain = out.len() - start;
            self.comparison = Comparison { plain, shaped, bytes, age: 0 };
            won = shaped < plain;
        }
        self.pause.note(won);
        if won {
            out.truncate(start);
            out.extend_from_slice(&self.shaped);
        }
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
        if learned.graph.read(records).is_err() {
            self.learned = None;
            self.learned_from = 0;
            return false;
        }
        self.payload.clear();
        let cuts = self.writer.write(records, &learned.graph, &learned.plan, &mut self.payload);
        self.shaped.clear();
        self.shaped.push(SHAPE);
        self.payload.len() <= payload_max(records.bytes().len())
            && self.packer.pack(&self.payload, cuts, &mut self.shaped)
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
        for record in records.first(SAMPLE_MAX).iter() {
            if self.sample.bytes.len() > SAMPLE_MAX || !self.sample.push(record) {
                break;
            }
        }
        if self.learned.is_none() || self.sample.bytes.len() >= self.learned_from * SAMPLE_GROWTH {
            let sample = std::mem::take(&mut self.sample);
            self.learn(sample.as_records());
            self.sample = sample;
        }
    }
}
