//! Content of a frame that is being built: runs, and their records in an arena. It is laid out as columns when the frame
//! is closed.

use shape::RecordsBuf;

use super::part::{Part, Parts};
use super::record::RecordRef;
use super::run_bytes::RunBytes;
use crate::codec::{Writer, varint_len};
use crate::ids::{Position, Slot};

/// Usual bytes of a run without its records.
const RUN_BYTES: u64 = 10;

/// Runs with their records.
#[derive(Default)]
pub(super) struct Content {
    pub(super) runs: Vec<OpenRun>,
    pub(super) records: Vec<Packed>,
    /// Keys, values and headers in order of arrival.
    pub(super) arena: Vec<u8>,
}

/// Run that grows.
pub(super) struct OpenRun {
    pub(super) slot: Slot,
    pub(super) from: Position,
    /// Position after the last record, or `from`: the next offset is encoded relative to it.
    pub(super) reached: Position,
    /// End of the run, at least `reached`: positions without records may follow.
    pub(super) next: Position,
    leader_epoch: i32,
    pub(super) timestamp: i64,
    first: u32,
    last: u32,
    count: u32,
    /// Group whose blocks hold parts of the records, from 1; 0 for none.
    pub(super) group: u8,
    /// Parts of the records that blocks hold.
    pub(super) parts: Parts,
    /// Bytes of each part of the records, if they were counted.
    pub(super) part_bytes: [usize; Part::ALL.len()],
    /// Bytes of keys, values and headers.
    record_bytes: u64,
    /// Bytes of the records' columns.
    columns_bytes: u64,
    /// Group whose blocks the frame had when it was shaped, and the bytes that they hold of this run. They stay when the
    /// run leaves its group, because the shaped frame may be sent even so.
    shaped: (u8, u64),
}

/// A record in the arena: its key, value and headers follow each other from `start`.
pub(super) struct Packed {
    pub(super) offset_gap: u64,
    pub(super) timestamp_step: u64,
    pub(super) start: u32,
    /// Length + 1; 0 for null.
    pub(super) key: u32,
    /// Length + 1; 0 for null.
    pub(super) value: u32,
    pub(super) headers: u32,
    pub(super) headers_len: u32,
    /// Number of the next record of the same run.
    pub(super) following: u32,
}

impl Content {
    /// Sorts the runs as they are laid out.
    pub(super) fn sort(&mut self) {
        self.runs.sort_unstable_by_key(|run| run.slot);
    }

    /// Appends the body: run table, columns run by run, then all keys, then all values (wire-format.md#body). What blocks
    /// hold is left out.
    pub(super) fn lay_out(&self, out: &mut Vec<u8>) {
        self.lay_out_without(OpenRun::held, out);
    }

    /// Appends the whole body, as if there were no blocks.
    pub(super) fn lay_out_whole(&self, out: &mut Vec<u8>) {
        self.lay_out_without(|_| (0, Parts::default()), out);
    }

    /// Appends the body without what `held` says that blocks hold of a run: of a group, its parts.
    fn lay_out_without(&self, held: impl Fn(&OpenRun) -> (u8, Parts), out: &mut Vec<u8>) {
        let Self { runs, records, arena } = self;
        let parts = |run| held(run).1;
        let mut body = Writer::new(out);
        let mut slots_from = 0;
        for run in runs {
            body.varint(u64::from(run.slot.0) - slots_from);
            slots_from = u64::from(run.slot.0) + 1;
            run.write(held(run).0, &mut body);
        }
        for run in runs {
            // A length alone tells null from the rest where a block has the bytes.
            let length = |part: Part, length: u32| if parts(run).contain(part) { length.min(1) } else { length };
            let has_headers = !parts(run).contain(Part::Headers);
            run.records(records).for_each(|record| body.varint(record.offset_gap));
            run.records(records).for_each(|record| body.varint(record.timestamp_step));
            run.records(records).for_each(|record| body.varint(length(Part::Keys, record.key).into()));
            run.records(records).for_each(|record| body.varint(length(Part::Values, record.value).into()));
            run.records(records).for_each(|record| record.write_headers(arena, has_headers, &mut body));
        }
        for run in runs.iter().filter(|run| !parts(run).contain(Part::Keys)) {
            run.records(records).for_each(|record| body.bytes(record.key(arena)));
        }
        for run in runs.iter().filter(|run| !parts(run).contain(Part::Values)) {
            run.records(records).for_each(|record| body.bytes(record.value(arena)));
        }
    }

    /// Bytes of each part of a run.
    pub(super) fn part_bytes(&self, run: &OpenRun) -> [usize; Part::ALL.len()] {
        let mut sums = [0; Part::ALL.len()];
        for record in run.records(&self.records) {
            for part in Part::ALL {
                sums[part as usize] += record.part(part, &self.arena).map_or(0, <[u8]>::len);
            }
        }
        sums
    }

    /// Appends a part of the records of a run to those of a block. Returns the bytes that the body has less for it.
    pub(super) fn gather(&self, run: &OpenRun, part: Part, block: &mut RecordsBuf) -> usize {
        let mut saved = 0;
        for bytes in run.records(&self.records).filter_map(|record| record.part(part, &self.arena)) {
            let in_block = block.push(bytes);
            debug_assert!(in_block, "a frame is smaller than a block may be");
            let length = if part == Part::Headers {
                varint_len(bytes.len() as u64)
            } else {
                varint_len(bytes.len() as u64 + 1) - 1
            };
            saved += length + bytes.len();
        }
        saved
    }
}

impl OpenRun {
    pub(super) fn begin(slot: Slot, from: Position) -> Self {
        Self {
            slot,
            from,
            reached: from,
            next: from,
            leader_epoch: -1,
            timestamp: 0,
            first: 0,
            last: 0,
            count: 0,
            group: 0,
            parts: Parts::default(),
            part_bytes: Default::default(),
            record_bytes: 0,
            columns_bytes: 0,
            shaped: (0, 0),
        }
    }

    /// Adds the record numbered `index`; returns the number of the record before it in the run.
    pub(super) fn append(
        &mut self,
        index: u32,
        record: &RecordRef<'_>,
        columns_len: usize,
        leader_epoch: i32,
    ) -> Option<u32> {
        let fields = [record.key, record.value, Some(record.headers.entries())];
        self.record_bytes += fields.into_iter().flatten().map(|field| field.len() as u64).sum::<u64>();
        self.columns_bytes += columns_len as u64;
        let previous = (self.count > 0).then_some(self.last);
        self.first = if self.count == 0 { index } else { self.first };
        self.last = index;
        self.count += 1;
        self.reached = Position::after(record.offset);
        self.next = self.reached;
        self.leader_epoch = leader_epoch;
        self.timestamp = record.timestamp;
        previous
    }

    /// The run's group, and the parts that its blocks hold.
    const fn held(&self) -> (u8, Parts) {
        (self.group, self.parts)
    }

    /// Puts parts of the run into the blocks of a group.
    pub(super) fn join_group(&mut self, group: u8, parts: Parts) {
        self.group = group;
        self.parts = parts;
        let held = Part::ALL.into_iter().filter(|part| parts.contain(*part));
        self.shaped = (group, held.map(|part| self.part_bytes[part as usize] as u64).sum());
    }

    /// Returns the bytes of the run in a frame whose groups have blocks of these lengths. The first run of a group takes
    /// its length.
    pub(super) fn bytes(&self, blocks: &mut [u64]) -> RunBytes {
        let (group, held) = self.shaped;
        let block = usize::from(group).checked_sub(1).and_then(|group| blocks.get_mut(group));
        let held = if block.is_some() { held } else { 0 };
        RunBytes {
            slot: self.slot,
            records: self.count.into(),
            record_bytes: self.record_bytes,
            loose_bytes: RUN_BYTES + self.columns_bytes + self.record_bytes.saturating_sub(held),
            block_bytes: block.map_or(0, std::mem::take),
        }
    }

    /// Takes the run out of its group: blocks hold nothing of it.
    pub(super) fn leave_group(&mut self) {
        self.group = 0;
        self.parts = Parts::default();
    }

    fn records<'a>(&self, records: &'a [Packed]) -> impl Iterator<Item = &'a Packed> + use<'a> {
        let mut index = self.first;
        (0..self.count).map(move |_| {
            let record = &records[index as usize];
            index = record.following;
            record
        })
    }

    /// The run's entry in the run table, without its slot.
    fn write(&self, group: u8, body: &mut Writer<'_>) {
        body.varint(self.from.0.cast_unsigned());
        body.varint(self.next.0.abs_diff(self.from.0));
        body.varint(self.count.into());
        body.zigzag(self.leader_epoch.into());
        body.varint(group.into());
    }
}

impl Packed {
    /// Bytes of this record in its run's columns, without those in the arena.
    pub(super) fn columns_len(&self) -> usize {
        let headers = match self.headers {
            0 => 1,
            count => varint_len(count.into()) + varint_len(self.headers_len.into()),
        };
        let lengths = varint_len(self.key.into()) + varint_len(self.value.into());
        varint_len(self.offset_gap) + varint_len(self.timestamp_step) + lengths + headers
    }

    fn write_headers(&self, arena: &[u8], has_bytes: bool, body: &mut Writer<'_>) {
        body.varint(self.headers.into());
        if let Some(bytes) = self.header_bytes(arena).filter(|_| has_bytes) {
            body.varint(bytes.len() as u64);
            body.bytes(bytes);
        }
    }

    /// Bytes of a part that a block may hold; `None` for null, and without headers.
    fn part<'a>(&self, part: Part, arena: &'a [u8]) -> Option<&'a [u8]> {
        match part {
            Part::Values => (self.value > 0).then(|| self.value(arena)),
            Part::Keys => (self.key > 0).then(|| self.key(arena)),
            Part::Headers => self.header_bytes(arena),
        }
    }

    /// Bytes of the headers; `None` without headers.
    fn header_bytes<'a>(&self, arena: &'a [u8]) -> Option<&'a [u8]> {
        let start = self.start as usize + self.key(arena).len() + self.value(arena).len();
        (self.headers > 0).then(|| &arena[start..][..self.headers_len as usize])
    }

    fn key<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.start as usize..][..self.key.saturating_sub(1) as usize]
    }

    fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize + self.key.saturating_sub(1) as usize;
        &arena[start..][..self.value.saturating_sub(1) as usize]
    }
}
