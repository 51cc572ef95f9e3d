//! Checks that must hold for any bytes: one behind each fuzz target, the replay of its corpus, and property tests.

use shape::{
    BlockWriter, DecodeError, Decoder, DecoderState, Encoder, EncoderState, Limits, Records, RecordsBuf, Template,
};

/// Limits of a hostile block.
const LIMITS: Limits = Limits { bytes: 1 << 20, records: 10_000 };
/// Form byte of blocks with a template.
const SHAPE: u8 = 2;
/// Bytes of a small state, which forgets much.
const SMALL: usize = 96 << 10;
/// Marks of a block that begins the state, its stream 0 and the codec's window.
const BEGINS: [u8; 3] = [3, 7, 0];

/// Checks a block: it is refused, or its records survive another encoding. The bytes are also taken as the content of
/// a block before compression, which a fuzzer cannot build.
///
/// # Panics
/// If the check fails.
pub fn block(bytes: &[u8]) {
    let compressed = zstd::bulk::compress(bytes, 1).expect("zstd compresses");
    for block in [bytes, &[&[SHAPE][..], &compressed].concat()] {
        let mut records = RecordsBuf::default();
        let mut state = DecoderState::new(SMALL);
        if Decoder::new(LIMITS).decode_with(&mut state, block, &mut records).is_ok() {
            survives(&records);
        }
        assert!(state.memory()[1] <= SMALL, "the memory of a state is bounded");
    }
}

/// Checks blocks with state: they are refused, or decoded within the memory of the state. The first byte is the bound
/// in units of 16 KiB, the second one separates the blocks' contents before compression.
///
/// # Panics
/// If the check fails.
pub fn state(bytes: &[u8]) {
    let [units, separator, rest @ ..] = bytes else { return };
    let bound = usize::from(*units) << 14;
    let mut state = DecoderState::new(bound);
    let mut decoder = Decoder::new(LIMITS);
    let mut back = RecordsBuf::default();
    // Each block begins the state, because the check that others need is unknown.
    for content in rest.split(|byte| byte == separator) {
        let len = content.len() as u64;
        let mut block = BEGINS.to_vec();
        let mut left = len;
        while left >= 128 {
            block.push(left as u8 | 128);
            left >>= 7;
        }
        block.push(left as u8);
        block.extend(open_frame(content));
        let _ = decoder.decode_with(&mut state, &block, &mut back);
        assert!(state.memory()[1] <= bound, "the memory of a state is bounded");
    }
}

/// A zstd frame with a window of 1 KiB, and blocks of stored bytes, that does not end.
fn open_frame(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0];
    for chunk in content.chunks(1_000) {
        frame.extend(&((chunk.len() as u32) << 3).to_le_bytes()[..3]);
        frame.extend(chunk);
    }
    frame
}

/// What becomes of a block with state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is committed and arrives.
    Arrives,
    /// It is rolled back.
    Dropped,
    /// It is committed and does not arrive.
    Lost,
    /// The state begins with it.
    Begins,
    /// Its template is replaced before.
    Relearned,
    /// It is committed together with the next one.
    Joined,
}

impl Fate {
    /// All fates.
    pub const ALL: [Self; 6] = [Self::Arrives, Self::Dropped, Self::Lost, Self::Begins, Self::Relearned, Self::Joined];
}

/// Checks series of records of three streams with state. The first byte is the bound in units of 16 KiB, the second one
/// separates records; a third one, and the fate and stream of a block, come before each of its records.
///
/// # Panics
/// If a block becomes other records, or is refused although all before it arrived.
pub fn sequence(bytes: &[u8]) {
    let [units, separator, end, rest @ ..] = bytes else { return };
    let blocks: Vec<(Fate, u32, RecordsBuf)> = rest
        .split(|byte| byte == end)
        .filter_map(|block| {
            let (first, records) = block.split_first()?;
            let fate = Fate::ALL[usize::from(*first) % Fate::ALL.len()];
            Some((fate, u32::from(first / 64 % 3), records.split(|byte| byte == separator).collect()))
        })
        .collect();
    sequence_survives(usize::from(*units) << 14, &blocks);
}

/// Checks blocks with state and a bound: those that arrive become the same records, or are refused for blocks that were
/// lost before.
///
/// # Panics
/// If they do not.
pub fn sequence_survives(bound: usize, blocks: &[(Fate, u32, RecordsBuf)]) {
    let mut series = Series {
        encoder: EncoderState::new(bound, 1),
        decoder: DecoderState::new(bound),
        writer: BlockWriter::new(1),
        templates: [const { None }; 3],
        is_behind: false,
    };
    let mut waiting = Vec::new();
    for (fate, stream, records) in blocks {
        series.write(*fate, *stream, records, &mut waiting);
    }
    series.encoder.commit();
    series.deliver(&mut waiting);
}

/// Both ends of a lane.
struct Series {
    encoder: EncoderState,
    decoder: DecoderState,
    writer: BlockWriter,
    templates: [Option<Template>; 3],
    /// True if blocks were lost that the next ones need.
    is_behind: bool,
}

impl Series {
    fn write<'a>(
        &mut self,
        fate: Fate,
        stream: u32,
        records: &'a RecordsBuf,
        waiting: &mut Vec<(Vec<u8>, Records<'a>)>,
    ) {
        let records = records.as_records();
        let place = &mut self.templates[stream as usize];
        if fate == Fate::Relearned || place.is_none() {
            *place = Template::learn(records);
        }
        if fate == Fate::Begins {
            self.encoder.commit();
            self.deliver(waiting);
            self.encoder.reset();
            self.is_behind = false;
        }
        let Some(template) = &mut self.templates[stream as usize] else { return };
        let mut block = Vec::new();
        if self.writer.write_with(&mut self.encoder, stream, template, records, &mut block) {
            waiting.push((block, records));
        }
        match fate {
            Fate::Joined => {}
            Fate::Dropped => {
                self.encoder.rollback();
                waiting.clear();
            }
            Fate::Lost => {
                self.encoder.commit();
                self.is_behind |= !waiting.is_empty();
                waiting.clear();
            }
            Fate::Arrives | Fate::Begins | Fate::Relearned => {
                self.encoder.commit();
                self.deliver(waiting);
            }
        }
        let [_, encoder] = self.encoder.memory();
        let [_, decoder] = self.decoder.memory();
        assert!(
            fate == Fate::Lost || self.is_behind || !waiting.is_empty() || fate == Fate::Dropped || encoder == decoder
        );
    }

    fn deliver(&mut self, waiting: &mut Vec<(Vec<u8>, Records<'_>)>) {
        for (block, records) in waiting.drain(..) {
            let mut back = RecordsBuf::default();
            // A block that begins the state needs none of those that were lost.
            self.is_behind &= block[1] & 1 == 0;
            let decoded = Decoder::new(Limits::default()).decode_with(&mut self.decoder, &block, &mut back);
            if self.is_behind {
                assert!(matches!(decoded, Err(DecodeError::OtherState { .. })), "{decoded:?}");
            } else {
                decoded.expect("an encoder writes what a decoder reads");
                assert!(back.as_records().iter().eq(records.iter()), "records survive");
            }
        }
    }
}

/// Checks records: they survive encoding, alone and behind others. The first byte separates the records.
///
/// # Panics
/// If the check fails.
pub fn records(bytes: &[u8]) {
    let Some((separator, rest)) = bytes.split_first() else { return };
    let records: RecordsBuf = rest.split(|byte| byte == separator).collect();
    survives(&records);
}

/// Checks that records survive encoding three times by one encoder: as a whole, the second half, and as a whole again.
///
/// # Panics
/// If they do not.
pub fn survives(records: &RecordsBuf) {
    let mut encoder = Encoder::new(1);
    let mut decoder = Decoder::new(Limits::default());
    let half: RecordsBuf = records.as_records().iter().skip(records.as_records().len() / 2).collect();
    for records in [records, &half, records] {
        let mut block = Vec::new();
        encoder.encode(records.as_records(), &mut block);
        let mut back = RecordsBuf::default();
        decoder.decode(&block, &mut back).expect("an encoder writes what a decoder reads");
        assert_eq!(&back, records, "records survive");
    }
}
