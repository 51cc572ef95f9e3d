//! Shaper of one lane: finds the parts of a frame that have a template, and writes their blocks (wire-format.md#shaped-body).
//! Records of all partitions of a topic in a frame share blocks. Templates come from a library that all lanes share;
//! another thread learns them. With a state, blocks refer to those of earlier frames, so that small ones pay too.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use shape::{BlockWriter, Judge, Library, RecordsBuf, Shelf, Template};

use super::content::Content;
use super::noise::Noise;
use super::part::{Part, Parts, REMAINDER_PACKED, REMAINDER_PLAIN};
use super::sent_state::SentState;
use super::state_bound::StateBound;
use crate::codec::Writer;
use crate::ids::Slot;
use crate::limits::{FRAME_RAW_TARGET, GROUPS_MAX, SHAPE_MIN, STATE_EXCESS_MAX};

/// Least bytes of a part for a block of its own: a smaller one would rather grow.
const PART_MIN: usize = 4 << 10;
/// The same where blocks refer to those of earlier frames.
const STATE_PART_MIN: usize = 48;
/// Topics of which a lane keeps copies of templates; the library has the others.
const TOPICS_KEPT: usize = 16;
/// Topics of a frame from which on templates do not keep the memory of their last block.
const MANY: usize = 4;
/// Frames with a state, most of them of few topics, from one look for superfluous templates to the next.
const RELEASE_EVERY: u64 = 64;
/// Comparisons in a row that a template may lose before another one is learned.
const LOSSES_MAX: u32 = 4;
/// Bytes by which a frame may be larger than a plain one if that saves the time for making both.
const EXCESS_MAX: usize = 8;

/// Shaper of the frames of one lane.
pub struct Shaper {
    library: Arc<Library>,
    writer: BlockWriter,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    by_slot: HashMap<Slot, usize>,
    /// Judge of whole frames.
    judge: Judge,
    draft: Draft,
    /// What the receiver remembers of the frames in this epoch, if it remembers anything.
    state: Option<SentState>,
    /// Bytes by which a frame may exceed its raw length, if it begins what later ones refer to.
    excess: usize,
    /// Number of frames.
    time: u64,
}

struct Topic {
    name: Arc<str>,
    parts: [Option<Kept>; Part::ALL.len()],
    used: u64,
}

/// Template of a part of a topic's records.
struct Kept {
    shelf: Arc<Shelf>,
    version: u64,
    template: Option<Template>,
    judge: Judge,
    losses: u32,
    noise: Noise,
}

/// Blocks of the present frame.
#[derive(Default)]
struct Draft {
    /// Topic of each run.
    topics: Vec<Option<usize>>,
    table: Vec<u8>,
    groups: u8,
    /// Bytes of the blocks of each group.
    group_bytes: Vec<u64>,
    blocks: Vec<u8>,
    records: RecordsBuf,
    plain: Vec<u8>,
    /// The only part that may have a block: the whole frame is compared instead of it.
    alone: Option<(usize, Part)>,
    /// Bytes of records in blocks with a template.
    shaped_bytes: usize,
    /// True while all blocks are noise, as earlier frames have shown.
    is_noise: bool,
    /// True if this frame decides whether some of its bytes are noise, or has a block that is larger than without a
    /// template.
    is_open: bool,
    /// True if a block refers to earlier frames, or is to be remembered.
    uses_state: bool,
    /// True if a block begins what later ones refer to: it costs more than it saves.
    begins: bool,
}

/// Bytes of a topic in a frame.
struct Share {
    topic: usize,
    parts: [usize; Part::ALL.len()],
}

impl Share {
    fn bytes(&self) -> usize {
        self.parts.iter().sum()
    }

    /// Parts that are large enough for a block, with at least so many bytes.
    fn large(&self, least: usize) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.parts[*part as usize] >= least)
    }
}

impl Shaper {
    /// Shaper with the templates of a library.
    pub fn new(library: Arc<Library>) -> Self {
        Self {
            library,
            writer: BlockWriter::new(1),
            topics: Vec::new(),
            by_name: HashMap::new(),
            by_slot: HashMap::new(),
            judge: Judge::default(),
            draft: Draft::default(),
            state: None,
            excess: 0,
            time: 0,
        }
    }

    /// Forgets all slots and their topics, and what the receiver remembers.
    pub fn clear(&mut self) {
        self.topics.clear();
        self.by_name.clear();
        self.by_slot.clear();
        self.state = None;
    }

    /// Begins an epoch, in which the receiver remembers at most `bound` of what it gets.
    pub fn begin(&mut self, bound: Option<StateBound>) {
        self.clear();
        self.state = bound.map(SentState::new);
    }

    /// Sets the bytes by which the next frame may exceed its raw length, if it begins what later ones refer to.
    pub fn allow_excess(&mut self, bytes: u64) {
        self.excess = bytes.min(STATE_EXCESS_MAX as u64) as usize;
    }

    /// Notes the topic of a slot. Runs of slots without a topic are not shaped.
    pub fn join(&mut self, slot: Slot, topic: &Arc<str>) {
        let topics = &mut self.topics;
        let number = *self.by_name.entry(Arc::clone(topic)).or_insert_with(|| {
            topics.push(Topic { name: Arc::clone(topic), parts: Default::default(), used: 0 });
            topics.len() - 1
        });
        self.by_slot.insert(slot, number);
    }

    /// Forgets a slot.
    pub fn leave(&mut self, slot: Slot) {
        self.by_slot.remove(&slot);
    }

    /// Writes blocks, and notes in the runs what these hold. Returns the bytes that the body has less for it; `None`
    /// without any block.
    pub(super) fn shape(&mut self, content: &mut Content, level: i32) -> Option<usize> {
        self.writer.set_level(level);
        if let Some(state) = &mut self.state {
            state.set_level(level);
        }
        self.time += 1;
        let least = if self.state.is_some() { STATE_PART_MIN } else { PART_MIN };
        let shares = self.shares(content, least);
        self.draft.begin(&shares, least);
        let mut saved = 0;
        for share in &shares {
            let mut parts = Parts::default();
            let table = self.draft.table.len();
            let blocks = self.draft.blocks.len();
            self.draft.table.push(0);
            for part in share.large(least) {
                let Some(less) = self.shape_part(content, share, part) else { continue };
                saved += less;
                parts.add(part);
            }
            if parts == Parts::default() {
                self.draft.table.truncate(table);
                continue;
            }
            self.draft.table[table] = parts.byte();
            self.draft.groups += 1;
            self.draft.group_bytes.push((self.draft.blocks.len() - blocks) as u64);
            let runs = content.runs.iter_mut().zip(&self.draft.topics);
            for (run, _) in runs.filter(|(_, topic)| **topic == Some(share.topic)) {
                run.join_group(self.draft.groups, parts);
            }
            self.topics[share.topic].used = self.time;
        }
        if shares.len() > MANY || self.state.is_some() && self.time.is_multiple_of(RELEASE_EVERY) {
            self.release();
        }
        (self.draft.groups > 0).then_some(saved)
    }

    /// Raw bytes of a frame below which it is not shaped.
    pub(super) const fn raw_min(&self) -> usize {
        if self.state.is_some() { 0 } else { SHAPE_MIN }
    }

    /// Bytes by which the frame may exceed its raw length.
    pub(super) const fn excess(&self) -> usize {
        if self.draft.begins { self.excess } else { 0 }
    }

    /// Returns whether the frame has blocks with state.
    pub(super) const fn uses_state(&self) -> bool {
        self.draft.uses_state
    }

    /// Appends the blocks, and behind them what they do not hold; with the check of the whole body where blocks have
    /// state. Returns false if zstd fails.
    pub(super) fn put(&mut self, remainder: &[u8], check: Option<u32>, out: &mut Vec<u8>) -> bool {
        let stateful = self.state.as_ref().zip(check);
        if let Some((state, check)) = stateful {
            out.push(state.bound().byte());
            out.extend_from_slice(&check.to_le_bytes());
        }
        out.push(self.draft.groups);
        out.extend_from_slice(&self.draft.table);
        out.extend_from_slice(&self.draft.blocks);
        if stateful.is_none() {
            return self.writer.pack(remainder, out);
        }
        let at = out.len();
        out.push(REMAINDER_PACKED);
        if !self.writer.pack(remainder, out) || out.len() - at > remainder.len() {
            out.truncate(at);
            out.push(REMAINDER_PLAIN);
            out.extend_from_slice(remainder);
        }
        true
    }

    /// Notes whether the frame is sent with its blocks; if not, the receiver remembers nothing of them.
    pub(super) fn complete(&mut self, is_sent: bool) {
        if let Some(state) = &mut self.state {
            state.complete(is_sent);
        }
    }

    /// Returns whether a shaped body may be larger than a plain one, so that both must be compared.
    pub(super) fn compares(&mut self, shaped: usize, raw_len: usize) -> bool {
        if self.draft.begins && raw_len < SHAPE_MIN {
            return false;
        }
        let alone = self.alone().is_some_and(|kept| kept.judge.compares(shaped, raw_len));
        self.judge.compares(shaped, raw_len) || alone || self.draft.is_open
    }

    /// Notes the lengths of a shaped body and the plain one. Returns whether the shaped one is smaller.
    pub(super) fn note(&mut self, shaped: usize, plain: usize, raw_len: usize) -> bool {
        for noise in
            self.topics.iter_mut().flat_map(|topic| topic.parts.iter_mut().flatten()).map(|kept| &mut kept.noise)
        {
            noise.decide(shaped <= plain + EXCESS_MAX);
        }
        if let Some(kept) = self.alone() {
            kept.note(shaped, plain, raw_len);
        }
        self.judge.note(shaped, plain, raw_len)
    }

    /// Returns the bytes of keys, values and headers that the last shaped frame has in blocks with a template. Blocks
    /// of noise do not count.
    pub fn shaped_bytes(&self) -> u64 {
        self.draft.shaped_bytes as u64
    }

    /// Bytes of the blocks of each group of the last shaped frame.
    pub(super) fn group_bytes(&self) -> &[u64] {
        &self.draft.group_bytes
    }

    /// Returns whether all blocks are noise, so that no comparison is due.
    pub(super) const fn is_noise(&self) -> bool {
        self.draft.is_noise
    }

    /// Returns the topics that may have blocks, the largest first.
    fn shares(&mut self, content: &mut Content, least: usize) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let mut place: HashMap<usize, usize> = HashMap::new();
        self.draft.topics.clear();
        for number in 0..content.runs.len() {
            let topic = self.by_slot.get(&content.runs[number].slot).copied();
            self.draft.topics.push(topic);
            let Some(topic) = topic else { continue };
            let index = *place.entry(topic).or_insert(shares.len());
            if index == shares.len() {
                shares.push(Share { topic, parts: Default::default() });
            }
            let bytes = content.part_bytes(&content.runs[number]);
            content.runs[number].part_bytes = bytes;
            shares[index].parts.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += bytes);
        }
        shares.sort_by_key(|share| std::cmp::Reverse(share.bytes()));
        shares.retain(|share| share.large(least).next().is_some());
        shares.truncate(GROUPS_MAX);
        shares
    }

    /// Writes the block of a part of a topic's records, if that is worth it. Returns the bytes that the body has less.
    fn shape_part(&mut self, content: &Content, share: &Share, part: Part) -> Option<usize> {
        let Self { library, writer, topics, draft, state, .. } = self;
        let topic = &mut topics[share.topic];
        let kept = topic.parts[part as usize].get_or_insert_with(|| Kept::new(library.shelf(&topic.name, part as u8)));
        let is_large = share.parts[part as usize] >= PART_MIN;
        let stream = (share.topic * Part::ALL.len() + part as usize) as u32;
        let may_begin = state.as_ref().is_none_or(SentState::may_begin);
        if may_begin || kept.template.is_some() {
            kept.refresh();
        }
        let is_known = |template| state.as_ref().is_some_and(|state| state.knows(stream, template));
        let has_template = kept.template.as_ref().is_some_and(|template| may_begin || is_known(template));
        let is_noise = is_large && kept.noise.is_known();
        let is_shown = !is_noise && kept.shelf.is_curious();
        let is_tried = !is_noise && has_template && kept.judge.tries();
        let is_suspect = is_large && !is_noise && !is_tried && kept.noise.is_due();
        if !is_noise && !is_shown && !is_tried && !is_suspect {
            return None;
        }
        let less = draft.gather(content, share.topic, part);
        let start = draft.blocks.len();
        let bytes = draft.records.as_records().bytes().len();
        let records = draft.records.as_records();
        if is_shown {
            kept.shelf.offer(records);
        }
        let is_written = if is_tried {
            draft.is_noise = false;
            match state {
                Some(state) => kept.write_with(state, stream, writer, draft),
                None => kept.write(writer, draft),
            }
        } else if is_noise || is_suspect && kept.noise.looks_like(records.bytes(), writer) {
            draft.is_noise &= is_noise;
            draft.is_open |= is_suspect;
            writer.write_raw(records, &mut draft.blocks);
            true
        } else {
            false
        };
        draft.shaped_bytes += if is_tried && is_written { bytes } else { 0 };
        let len = draft.blocks.len() - start;
        Writer::new(&mut draft.table).varint(if is_written { len as u64 } else { return None });
        Some(less)
    }

    fn alone(&mut self) -> Option<&mut Kept> {
        let (topic, part) = self.draft.alone?;
        self.topics[topic].parts[part as usize].as_mut()
    }

    /// Frees the memory of templates that frames of many topics do not need.
    fn release(&mut self) {
        let mut used: Vec<u64> =
            self.topics.iter().filter(|topic| topic.has_templates()).map(|topic| topic.used).collect();
        used.sort_unstable_by(|a, b| b.cmp(a));
        let since = used.get(TOPICS_KEPT).copied();
        for topic in &mut self.topics {
            if since.is_some_and(|since| topic.used <= since) {
                topic.parts = Default::default();
            }
            topic.parts.iter_mut().flatten().filter_map(|kept| kept.template.as_mut()).for_each(Template::release);
        }
    }
}

impl fmt::Debug for Shaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shaper of {} slots, {} topics", self.by_slot.len(), self.topics.len())
    }
}

impl Draft {
    fn begin(&mut self, shares: &[Share], least: usize) {
        self.table.clear();
        self.groups = 0;
        self.group_bytes.clear();
        self.blocks.clear();
        self.blocks.shrink_to(FRAME_RAW_TARGET);
        let mut large = shares.iter().flat_map(|share| share.large(least).map(|part| (share.topic, part)));
        self.alone = large.next().filter(|_| large.next().is_none());
        self.shaped_bytes = 0;
        self.is_noise = true;
        self.is_open = false;
        self.uses_state = false;
        self.begins = false;
    }

    /// Collects a part of a topic's records. Returns the bytes that the body has less without them.
    fn gather(&mut self, content: &Content, topic: usize, part: Part) -> usize {
        self.records.clear();
        let runs = content.runs.iter().zip(&self.topics).filter(|(_, found)| **found == Some(topic));
        runs.map(|(run, _)| content.gather(run, part, &mut self.records)).sum()
    }
}

impl Topic {
    fn has_templates(&self) -> bool {
        self.parts.iter().flatten().any(|kept| kept.template.is_some())
    }
}

impl Kept {
    fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf, version: 0, template: None, judge: Judge::default(), losses: 0, noise: Noise::default() }
    }

    /// Takes a newer template, if there is one.
    fn refresh(&mut self) {
        let version = self.shelf.version();
        if version != self.version {
            self.version = version;
            if let Some(template) = self.shelf.template() {
                self.template = Some(template);
                self.judge = Judge::default();
                self.losses = 0;
            }
        }
    }

    /// Writes the block of the draft's records with the template, if that is smaller than without.
    fn write(&mut self, writer: &mut BlockWriter, draft: &mut Draft) -> bool {
        let Some(template) = &mut self.template else { return false };
        let Draft { records, blocks, plain, alone, .. } = draft;
        let records = records.as_records();
        let start = blocks.len();
        if !writer.write(template, records, blocks) {
            self.reject();
            return false;
        }
        let len = blocks.len() - start;
        let bytes = records.bytes().len();
        if alone.is_none() && self.judge.compares(len, bytes) {
            plain.clear();
            if writer.pack(records.bytes(), plain) && !self.note(len, plain.len(), bytes) {
                blocks.truncate(start);
                return false;
            }
        }
        true
    }

    /// Writes the block of the draft's records, which refers to those of earlier frames.
    fn write_with(&mut self, state: &mut SentState, stream: u32, writer: &mut BlockWriter, draft: &mut Draft) -> bool {
        let Some(template) = &mut self.template else { return false };
        let Draft { records, blocks, plain, .. } = draft;
        let records = records.as_records();
        let start = blocks.len();
        let Some(begins) = state.write(stream, template, records, writer, blocks) else {
            self.reject();
            return false;
        };
        draft.uses_state = true;
        draft.begins |= begins;
        let len = blocks.len() - start;
        let bytes = records.bytes().len();
        if !begins && draft.alone.is_none() && self.judge.compares(len, bytes) {
            plain.clear();
            // A block that loses stays, because others may refer to it: then the whole frame is compared.
            draft.is_open |= writer.pack(records.bytes(), plain) && !self.note(len, plain.len(), bytes);
        }
        true
    }

    fn note(&mut self, shaped: usize, plain: usize, bytes: usize) -> bool {
        let won = self.judge.note(shaped, plain, bytes);
        self.losses = if won { 0 } else { self.losses + 1 };
        // A block of few records says little about the template, which other lanes use too.
        if self.losses >= LOSSES_MAX && bytes >= PART_MIN {
            self.reject();
        }
        won
    }

    /// Drops a template that is of no use; another one may be learned.
    fn reject(&mut self) {
        self.template = None;
        self.losses = 0;
        self.shelf.reject(self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FrameBuilder, FrameHead, Headers, RecordRef};
    use super::*;
    use crate::compress::Codec;
    use crate::ids::{Epoch, LaneId, Offset, Position, Sequence};

    #[test]
    fn random_bytes_are_noticed_within_four_frames() {
        let (library, _jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        shaper.join(Slot(0), &"noise".into());
        let mut builder = FrameBuilder::new();
        let mut state = 1_u64;
        let mut compressed = Vec::new();
        let mut shaped = 0;
        for number in 0..200 {
            let value = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            });
            let value: Vec<u8> = value.take(100_000).collect();
            let record =
                RecordRef { offset: Offset(0), timestamp: 0, key: None, value: Some(&value), headers: Headers::EMPTY };
            builder.push(Slot(0), Position(0), 0, &record);
            let is_paused =
                shaper.topics[0].parts[0].as_ref().is_some_and(|kept| kept.noise.found > 0 && kept.noise.pause > 0);
            builder.finish_with(
                FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(number) },
                Codec::Shape(1),
                &mut shaper,
            );
            shaped += shaper.shaped_bytes();
            if !is_paused {
                compressed.push(number);
            }
        }
        assert!(compressed.len() < 10 && compressed[..2] == [0, 3], "{compressed:?}");
        assert_eq!(shaped, 0, "noise has no shape");
    }
}
