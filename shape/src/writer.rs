//! Writer of blocks with a template that was learned elsewhere.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::{SHAPE, put_raw};
use crate::learn::{Learned, learn};
use crate::limits::{SAMPLE_MAX, payload_max};
use crate::pack::Packer;
use crate::payload::PayloadWriter;
use crate::plan::Planner;
use crate::records::Records;
use crate::state::{Block, EncoderState};

/// Template of similar records with the plan of their columns. It grows with the records that it writes.
pub struct Template {
    learned: Learned,
    /// Tells this template from all others, its copies included: they grow apart.
    id: u64,
}

/// Number of templates so far.
static TEMPLATES: AtomicU64 = AtomicU64::new(0);

impl Template {
    /// Learns from records; `None` if they have no template. This takes as long as writing some hundred blocks.
    pub fn learn(records: Records<'_>) -> Option<Self> {
        let mut learned = learn(records.first(SAMPLE_MAX), &mut Planner::default())?;
        learned.graph.clear();
        Some(Self::new(learned))
    }

    fn new(learned: Learned) -> Self {
        Self { learned, id: TEMPLATES.fetch_add(1, Ordering::Relaxed) }
    }

    /// Returns whether the next block of a stream with this template refers to blocks before.
    pub fn is_known(&self, state: &EncoderState, stream: u32) -> bool {
        state.knows(stream, self.id)
    }

    /// Frees the memory of the last block.
    pub fn release(&mut self) {
        self.learned.graph.clear();
    }
}

impl Clone for Template {
    fn clone(&self) -> Self {
        Self::new(self.learned.clone())
    }
}

impl fmt::Debug for Template {
    /// Shows sizes alone: segments are parts of records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = &self.learned.graph;
        write!(f, "{} nodes, {} columns", graph.nodes().len(), graph.keys().len())
    }
}

/// Writer of blocks with any template, with reusable memory.
#[derive(Debug)]
pub struct BlockWriter {
    writer: PayloadWriter,
    packer: Packer,
    payload: Vec<u8>,
}

impl BlockWriter {
    /// Writer with a zstd level.
    pub fn new(level: i32) -> Self {
        Self { writer: PayloadWriter::default(), packer: Packer::new(level), payload: Vec::new() }
    }

    /// Sets the zstd level.
    pub fn set_level(&mut self, level: i32) {
        self.packer.set_level(level);
    }

    /// Appends the block of these records to `out`. Returns false, and appends nothing, if the template does not fit
    /// them: it is of no use any more.
    #[must_use]
    pub fn write(&mut self, template: &mut Template, records: Records<'_>, out: &mut Vec<u8>) -> bool {
        self.write_learned(&mut template.learned, records, out)
    }

    /// Appends the block of these records, which refers to the blocks before of the same `stream`: any number that the
    /// caller gives to records of one kind. The block counts once [`EncoderState::commit`] is called;
    /// [`EncoderState::rollback`] undoes it, and all others since the last commit. Returns false, and changes nothing,
    /// if the template does not fit the records: it is of no use any more.
    #[must_use]
    pub fn write_with(
        &mut self,
        state: &mut EncoderState,
        stream: u32,
        template: &mut Template,
        records: Records<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Template { learned: Learned { graph, plan }, id } = template;
        if records.is_empty() || graph.read(records).is_err() {
            return false;
        }
        let block = Block { stream, template: *id, records, graph, plan };
        state.write(block, &mut self.writer, &mut self.payload, out)
    }

    /// Appends the block of records that nothing makes smaller.
    pub fn write_raw(&mut self, records: Records<'_>, out: &mut Vec<u8>) {
        put_raw(records, &mut self.packer, out);
    }

    /// Appends bytes as one zstd frame that states its size. Returns false, and appends nothing, if zstd fails.
    #[must_use]
    pub fn pack(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        self.packer.pack(bytes, &[], out)
    }

    pub(crate) fn write_learned(&mut self, learned: &mut Learned, records: Records<'_>, out: &mut Vec<u8>) -> bool {
        if learned.graph.read(records).is_err() {
            return false;
        }
        self.payload.clear();
        let cuts = self.writer.write(records, &learned.graph, &learned.plan, &mut self.payload);
        if self.payload.len() > payload_max(records.bytes().len()) {
            return false;
        }
        let start = out.len();
        out.push(SHAPE);
        let done = self.packer.pack(&self.payload, cuts, out);
        if !done {
            out.truncate(start);
        }
        done
    }

    pub(crate) fn packer(&mut self) -> &mut Packer {
        &mut self.packer
    }
}
