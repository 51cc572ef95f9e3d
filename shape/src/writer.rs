//! Writer of blocks with a template that was learned elsewhere.

use std::fmt;

use crate::block::{SHAPE, put_raw};
use crate::learn::{Learned, learn};
use crate::limits::{SAMPLE_MAX, payload_max};
use crate::pack::Packer;
use crate::payload::PayloadWriter;
use crate::plan::Planner;
use crate::records::Records;

/// Template of similar records with the plan of their columns. It grows with the records that it writes.
#[derive(Clone)]
pub struct Template(Learned);

impl Template {
    /// Learns from records; `None` if they have no template. This takes as long as writing some hundred blocks.
    pub fn learn(records: Records<'_>) -> Option<Self> {
        let mut learned = learn(records.first(SAMPLE_MAX), &mut Planner::default())?;
        learned.graph.clear();
        Some(Self(learned))
    }

    /// Frees the memory of the last block.
    pub fn release(&mut self) {
        self.0.graph.clear();
    }
}

impl fmt::Debug for Template {
    /// Shows sizes alone: segments are parts of records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes, {} columns", self.0.graph.nodes().len(), self.0.graph.keys().len())
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
        self.write_learned(&mut template.0, records, out)
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
