//! Blocks that refer to blocks before: what they save, what they refuse, and what both ends forget.

use shape::{BlockWriter, DecodeError, Decoder, DecoderState, Encoder, EncoderState, Limits, RecordsBuf, Template};

const BOUND: usize = 4 << 20;

/// Both ends of a lane.
struct Lane {
    encoder: EncoderState,
    decoder: DecoderState,
    writer: BlockWriter,
}

impl Lane {
    fn new(bound: usize) -> Self {
        Self { encoder: EncoderState::new(bound, 1), decoder: DecoderState::new(bound), writer: BlockWriter::new(1) }
    }

    fn write(&mut self, stream: u32, template: &mut Template, records: &RecordsBuf) -> Vec<u8> {
        let mut block = Vec::new();
        assert!(self.writer.write_with(&mut self.encoder, stream, template, records.as_records(), &mut block));
        block
    }

    fn decode(&mut self, block: &[u8]) -> Result<RecordsBuf, DecodeError> {
        let mut back = RecordsBuf::default();
        Decoder::new(Limits::default()).decode_with(&mut self.decoder, block, &mut back).map(|()| back)
    }

    /// Carries records; returns the length of their block.
    fn carry(&mut self, stream: u32, template: &mut Template, records: &RecordsBuf) -> usize {
        let block = self.write(stream, template, records);
        self.encoder.commit();
        assert_eq!(self.decode(&block).as_ref(), Ok(records));
        block.len()
    }
}

fn orders(from: usize, count: usize) -> RecordsBuf {
    let order = |row: usize| {
        let place = row * 7_919 % 400;
        format!(
            "{{\"id\": {row}, \"place\": \"shop-{place:04}\", \"town\": \"town {}\", \"sum\": {}.{:02}, \"paid\": {}}}",
            place * 31 % 57,
            row * 13 % 997,
            row % 100,
            row.is_multiple_of(3)
        )
    };
    (from..from + count).map(order).collect()
}

fn template() -> Template {
    Template::learn(orders(0, 4_000).as_records()).expect("JSON has a template")
}

#[test]
fn small_blocks_are_smaller_with_state() {
    let mut lane = Lane::new(BOUND);
    let mut template = template();
    let mut encoder = Encoder::new(1);
    let [mut alone, mut with_state] = [0; 2];
    for number in 0..100 {
        let records = orders(number * 40, 40);
        let mut block = Vec::new();
        encoder.encode(records.as_records(), &mut block);
        alone += block.len();
        with_state += lane.carry(0, &mut template, &records);
    }
    assert!(with_state * 2 < alone, "{with_state} and {alone} bytes");
}

#[test]
fn a_block_needs_all_blocks_before_it() {
    let mut lane = Lane::new(BOUND);
    let mut template = template();
    lane.carry(0, &mut template, &orders(0, 100));
    let blocks: Vec<Vec<u8>> = (1..4).map(|number| lane.write(0, &mut template, &orders(number * 100, 100))).collect();
    lane.encoder.commit();
    assert_eq!(lane.decode(&blocks[1]), Err(DecodeError::OtherState { needed: 2, found: 1 }));
    assert_eq!(lane.decode(&blocks[0]), Ok(orders(100, 100)), "what was refused has changed nothing");
    assert_eq!(lane.decode(&blocks[0]), Err(DecodeError::OtherState { needed: 1, found: 2 }), "a second time");

    // The same number after another block.
    let mut other = Lane::new(BOUND);
    other.carry(0, &mut template, &orders(7, 100));
    other.carry(0, &mut template, &orders(8, 100));
    assert_eq!(other.decode(&blocks[1]), Err(DecodeError::OtherState { needed: 2, found: 2 }));

    // Another bound is another state: both ends would forget at different times.
    let mut small = Lane::new(BOUND / 2);
    std::mem::swap(&mut small.decoder, &mut other.decoder);
    small.carry(0, &mut template, &orders(0, 100));
    let block = small.write(0, &mut template, &orders(1, 100));
    assert!(matches!(small.decode(&block), Err(DecodeError::OtherState { .. })));
}

#[test]
fn only_a_beginning_repairs_a_state() {
    let mut lane = Lane::new(BOUND);
    let mut template = template();
    lane.carry(0, &mut template, &orders(0, 100));
    let mut damaged = lane.write(0, &mut template, &orders(100, 100));
    damaged.truncate(damaged.len() - 3);
    assert!(lane.decode(&damaged).is_err());
    let next = lane.write(0, &mut template, &orders(200, 100));
    assert_eq!(lane.decode(&next), Err(DecodeError::StateLost));
    lane.encoder.reset();
    lane.carry(0, &mut template, &orders(300, 100));
    let block = lane.write(0, &mut template, &orders(400, 100));
    let alone = Decoder::new(Limits::default()).decode(&block, &mut RecordsBuf::default());
    assert!(matches!(alone, Err(DecodeError::Malformed(_))), "{alone:?}");
}

#[test]
fn every_cut_of_a_block_with_state_is_refused() {
    let mut template = template();
    let mut lane = Lane::new(BOUND);
    let first = lane.write(0, &mut template, &orders(0, 30));
    let second = lane.write(0, &mut template, &orders(30, 30));
    for len in 0..second.len() {
        let mut decoder = Lane::new(BOUND);
        decoder.decode(&first).expect("a block");
        assert!(decoder.decode(&second[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn both_ends_forget_the_stream_that_was_used_least_recently() {
    let bound = 512 << 10;
    let mut lane = Lane::new(bound);
    let mut templates: Vec<Template> = (0..12).map(|_| template()).collect();
    for round in 0..3 {
        for (stream, template) in templates.iter_mut().enumerate() {
            lane.carry(stream as u32, template, &orders(round * 300, 300));
            let [_, encoder] = lane.encoder.memory();
            let [_, decoder] = lane.decoder.memory();
            assert_eq!(encoder, decoder, "both ends charge the same");
            assert!(encoder <= bound / 8 * 5, "{encoder} bytes");
        }
    }
    assert!(lane.encoder.memory()[1] * 12 > bound / 8 * 5, "some streams were forgotten");
    // The stream of the last block is known, the first one of the round is not.
    let begins =
        [11, 0].map(|stream| lane.write(stream, &mut templates[stream as usize], &orders(900, 300))[1] & 2 > 0);
    assert_eq!(begins, [false, true]);
}

#[test]
fn texts_are_forgotten_when_they_are_too_many() {
    let user = |row: usize| {
        let number = row / 2 * 7_919 % 30_011;
        let letter = |place: u32| char::from(b'a' + (number / 10_usize.pow(place) % 10) as u8);
        let name: String = (0..5).map(letter).collect();
        format!("{{\"user\": \"{name}son\", \"n\": {}}}", row % 10)
    };
    let mut template = {
        let sample: RecordsBuf = (0..4_000).map(user).collect();
        Template::learn(sample.as_records()).expect("JSON has a template")
    };
    let mut lane = Lane::new(BOUND);
    let mut most = 0;
    for number in 0..60 {
        lane.carry(0, &mut template, &(number * 700..(number + 1) * 700).map(user).collect());
        assert_eq!(lane.encoder.memory()[1], lane.decoder.memory()[1]);
        most = most.max(lane.encoder.memory()[1]);
    }
    assert!((200 << 10..900 << 10).contains(&most), "{most} bytes");
}

#[test]
fn numbers_that_become_hexadecimal_leave_their_child_readable() {
    let ids = |id: &dyn Fn(usize) -> String, from: usize| -> RecordsBuf {
        let record = |row: usize| {
            let id = id(row);
            format!("{{\"id\": {id}, \"copy\": {row}, \"next\": {}, \"of\": \"{}\"}}", row + 5, row * 3)
        };
        (from..from + 400).map(record).collect()
    };
    let number = |row: usize| row.to_string();
    let hexadecimal = |row: usize| format!("\"{:016x}{:08x}\"", row.wrapping_mul(0x9e37_79b9_7f4a_7c15), row + 7);
    let quoted = |row: usize| format!("\"{row}\"");
    for first in [&number as &dyn Fn(usize) -> String, &quoted] {
        let mut template = Template::learn(ids(first, 0).as_records()).expect("JSON has a template");
        let mut lane = Lane::new(BOUND);
        for (part, id) in (0..).zip([first, first, &hexadecimal, &hexadecimal, first]) {
            lane.carry(0, &mut template, &ids(id, part * 400));
        }
    }
}
