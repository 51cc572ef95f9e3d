//! State of an encoder: what the decoder knows once it has all committed blocks, and how to undo the others.

use super::journal::{Journal, Step};
use super::known::{Change, Column, Stream};
use super::number::Number;
use super::streams::{Room, Streams};
use super::weight;
use crate::block::STATE;
use crate::limits::payload_max;
use crate::payload::PayloadWriter;
use crate::plan::Plan;
use crate::records::Records;
use crate::template::Graph;
use crate::varint::{put, put_len};
use crate::window::WindowPacker;

/// Marks in a block of what begins with it: the state, its stream, the codec's window.
pub(super) const STATE_BEGINS: u8 = 1;
pub(super) const STREAM_BEGINS: u8 = 2;
pub(super) const WINDOW_BEGINS: u8 = 4;

/// Memory of an encoder of blocks that refer to blocks before: one lane's, for as long as the other end decodes its
/// blocks in their order. Its memory is bounded; both ends forget the same when it is full.
#[derive(Debug)]
pub struct EncoderState {
    bound: usize,
    room: Room,
    streams: Streams<Stream>,
    number: Number,
    /// Number after the last commit.
    committed: Number,
    journal: Journal,
    window: WindowPacker,
    /// True if the next block begins the codec's window.
    window_begins: bool,
}

/// Records to encode.
pub(crate) struct Block<'a> {
    pub(crate) stream: u32,
    /// Identity of the graph.
    pub(crate) template: u64,
    pub(crate) records: Records<'a>,
    /// The graph, which was shown the records last.
    pub(crate) graph: &'a Graph,
    pub(crate) plan: &'a Plan,
}

impl EncoderState {
    /// State of at most `bound` bytes, the codec's included, for a zstd level. The decoder's must have the same bound.
    pub fn new(bound: usize, level: i32) -> Self {
        let room = Room::of(bound);
        let number = Number::first(bound);
        Self {
            bound,
            room,
            streams: Streams::new(),
            number,
            committed: number,
            journal: Journal::default(),
            window: WindowPacker::new(level, room.window_log),
            window_begins: true,
        }
    }

    /// Sets the zstd level. It counts from the next beginning of the codec's window on.
    pub const fn set_level(&mut self, level: i32) {
        self.window.set_level(level);
    }

    /// Forgets everything: the next block begins, and the decoder forgets everything too.
    pub fn reset(&mut self) {
        self.streams = Streams::new();
        self.number = Number::first(self.bound);
        self.window_begins = true;
        self.commit();
    }

    /// Keeps the blocks since the last commit: the decoder will get them.
    pub fn commit(&mut self) {
        self.committed = self.number;
        self.journal.clear();
    }

    /// Undoes the blocks since the last commit: the decoder will not get them. The codec's window begins again.
    pub fn rollback(&mut self) {
        if self.number == self.committed && self.journal.len() == 0 {
            return;
        }
        self.journal.undo(0, &mut self.streams);
        self.number = self.committed;
        self.window_begins = true;
    }

    /// Bytes of the codec, and those that are charged for everything else.
    pub fn memory(&self) -> [usize; 2] {
        [self.window.memory(), self.streams.total()]
    }

    /// Returns whether the next block of a stream with this graph refers to blocks before.
    pub(crate) fn knows(&self, stream: u32, template: u64) -> bool {
        self.streams.get(stream).is_some_and(|stream| stream.template == template)
    }

    /// Appends a block. Returns false, and changes nothing, if it would be too large.
    pub(crate) fn write(
        &mut self,
        block: Block<'_>,
        writer: &mut PayloadWriter,
        payload: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        let undo_to = self.journal.len();
        let number = block.stream;
        let stream_begins = self.streams.get_mut(number).is_none_or(|stream| stream.template != block.template);
        if stream_begins {
            let stream = Stream::new(block.template, block.graph, block.plan);
            let replaced = self.streams.begin(number, stream);
            self.journal.push_step(number, Step::Began(replaced));
        }
        let Some(stream) = self.streams.get_mut(number) else { return false };
        payload.clear();
        let cuts = writer.write_known(&block, stream, self.room, &mut self.journal, payload);
        let begins = self.number == Number::first(self.bound);
        let flags = [(begins, STATE_BEGINS), (stream_begins, STREAM_BEGINS), (self.window_begins, WINDOW_BEGINS)];
        out.push(STATE);
        out.push(flags.iter().map(|(is_set, flag)| if *is_set { *flag } else { 0 }).sum());
        put(out, number.into());
        if !begins {
            self.number.put(out);
        }
        put_len(out, payload.len());
        let fits = payload.len() <= payload_max(block.records.bytes().len());
        if !fits || !self.window.pack(payload, cuts, self.window_begins, out) {
            self.window_begins |= fits;
            self.journal.undo(undo_to, &mut self.streams);
            out.truncate(start);
            return false;
        }
        self.window_begins = false;
        self.number = self.number.next(&out[start..], stream.last_values());
        self.trim(number);
        true
    }

    /// Forgets what exceeds the memory.
    fn trim(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        let Stream { nodes, columns, used, .. } = stream;
        let weight = weight::trim(nodes, columns, used, self.room.streams, |place, column: &mut Column| {
            let kept = std::mem::take(&mut column.kept);
            self.journal.push(number, Change::Forgot { number: place, kept });
        });
        self.journal.push_step(number, Step::Used(self.streams.last_use(number)));
        self.streams.note_use(number, weight);
        for (number, entry) in self.streams.evict(self.room.streams) {
            self.journal.push_step(number, Step::Evicted(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RecordsBuf;
    use crate::writer::{BlockWriter, Template};

    fn events(from: usize, count: usize) -> RecordsBuf {
        let event = |row: usize| {
            let group = row * 7 % 101;
            let rare =
                if row.is_multiple_of(50) { format!(",\"rare{}\":\"x{row}y\"", row / 400) } else { String::new() };
            format!("{{\"id\":{row},\"group\":\"g-{group}\",\"of\":\"{}\"{rare},\"at\":{}}}", group * 3, row * row)
        };
        (from..from + count).map(event).collect()
    }

    #[test]
    fn a_dropped_block_changes_nothing() {
        for bound in [96 << 10, 4 << 20] {
            let mut writer = BlockWriter::new(1);
            let mut template = Template::learn(events(0, 500).as_records()).unwrap();
            let [mut dropping, mut straight] = [0; 2].map(|_| EncoderState::new(bound, 1));
            for round in 0..30 {
                let mut write = |state: &mut EncoderState, stream, from, count| {
                    let mut block = Vec::new();
                    let records = events(from, count);
                    assert!(writer.write_with(state, stream, &mut template, records.as_records(), &mut block));
                    block
                };
                write(&mut dropping, round % 3, 10_000 + round as usize * 400, 300);
                write(&mut dropping, 1, 20_000, 20 + round as usize * 40);
                dropping.rollback();
                straight.window_begins = true;
                let [from, count] = [round as usize * 100, 100 + round as usize % 7];
                let expected = write(&mut straight, round % 4, from, count);
                assert_eq!(write(&mut dropping, round % 4, from, count), expected, "round {round}");
                dropping.commit();
                straight.commit();
                assert_eq!(dropping.memory()[1], straight.memory()[1]);
            }
        }
    }
}
