//! Memory that hostile blocks cost: counted, claim by claim. One test, because the count is the process's.

use std::io::Write as _;

use peak_alloc::PeakAlloc;
use shape::{BlockWriter, Decoder, DecoderState, Encoder, EncoderState, Limits, RecordsBuf, Template};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The most bytes that were allocated beyond those before, while `f` ran.
fn peak(f: impl FnOnce()) -> usize {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    f();
    HEAP.peak_usage() - before
}

/// A number in its shortest form.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A block with a template, before compression: the start and one node that ends a record, then `rest`.
fn shaped(records: u64, bytes: u64, rest: &[u8]) -> Vec<u8> {
    let nodes = [&[2, 0, 1][..], b"x", &[0, 1, 0, 0, 0]].concat();
    let content = [&number(records)[..], &number(bytes), &nodes, rest].concat();
    let mut block = vec![2];
    block.extend(zstd::bulk::compress(&content, 1).expect("zstd compresses"));
    block
}

#[test]
fn no_claim_costs_more_memory_than_the_limits_say() {
    const BOOKKEEPING: usize = 512 * 1024;
    let limits = Limits { bytes: 1 << 20, records: 10_000 };
    let decode = |block: &[u8], is_right: bool| {
        peak(|| {
            let mut records = RecordsBuf::default();
            assert_eq!(Decoder::new(limits).decode(block, &mut records).is_ok(), is_right);
        })
    };

    // The smallest block with a template, and claims that it cannot keep.
    assert!(decode(&shaped(3, 3, &[0]), true) < BOOKKEEPING);
    for (records, bytes) in [(10_000, 1 << 20), (10_001, 3), (3, u64::MAX), (u64::MAX, 3), (4, 3), (0, 3)] {
        let used = decode(&shaped(records, bytes, &[0]), false);
        assert!(used < (3 << 20) + BOOKKEEPING, "{records} records of {bytes} bytes: {used} bytes");
    }

    // Columns, texts and differences that the block has no bytes for.
    for rest in
        [&[0xff, 0x0f][..], &[1, 5, 0xff, 0xff, 0x03, 0, 0, 0], &[1, 0, 0, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0x0f]]
    {
        let used = decode(&shaped(3, 3, rest), false);
        assert!(used < BOOKKEEPING, "{rest:?}: {used} bytes");
    }

    // A walk that is long for records without bytes.
    let mut long = Vec::new();
    for _ in 1..1_000 {
        long.extend([0, 1, 0]);
    }
    let content = [&number(10_000)[..], &[0], &number(1_000), &[0; 1_000], &long, &[0, 0, 0]].concat();
    let mut block = vec![2];
    block.extend(zstd::bulk::compress(&content, 1).expect("zstd compresses"));
    let used = decode(&block, false);
    assert!(used < BOOKKEEPING, "a long walk: {used} bytes");

    // A plain block whose zstd frame states 64 MiB, and lengths beyond the limit.
    let mut bomb = vec![1, 1, 0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    bomb.extend((64_u32 << 20).to_le_bytes());
    bomb.extend([0x01, 0x00, 0x00]);
    assert!(decode(&bomb, false) < BOOKKEEPING);
    assert!(decode(&[0, 1, 0, 0xff, 0xff, 0x7f], false) < BOOKKEEPING);

    // As many tokens as a block may have.
    let dense: RecordsBuf = std::iter::repeat_n("1,".repeat(2_000), 250).collect();
    let mut block = Vec::new();
    Encoder::new(1).encode(dense.as_records(), &mut block);
    let used = decode(&block, true);
    assert!(used < 20 << 20, "{used} bytes for {} bytes of records", dense.as_records().bytes().len());

    // In the same test: the heap is measured as a whole.
    states_of_both_ends_stay_within_their_bound();
    streams_of_nothing_stay_within_the_bound();
}

/// Measures what states hold after records of many topics with many texts.
fn states_of_both_ends_stay_within_their_bound() {
    const BOUND: usize = 4 << 20;
    let mut blocks = Vec::new();
    let mut templates: Vec<Template> =
        (0..10).filter_map(|topic| Template::learn(users(topic, 0).as_records())).collect();
    let mut writer = BlockWriter::new(1);
    let before = HEAP.current_usage();
    let mut encoder = EncoderState::new(BOUND, 1);
    for round in 0..6 {
        for (topic, template) in templates.iter_mut().enumerate() {
            let mut block = Vec::new();
            let records = users(topic, round);
            assert!(writer.write_with(&mut encoder, topic as u32, template, records.as_records(), &mut block));
            encoder.commit();
            blocks.push(block);
        }
    }
    templates.clear();
    let held: usize = blocks.iter().map(Vec::capacity).sum();
    drop(writer);
    let used = HEAP.current_usage().saturating_sub(before + held);
    let [codec, charged] = encoder.memory();
    assert!(charged > BOUND / 4 && used + codec <= BOUND, "{used} and {codec} bytes; {charged} charged");
    drop(encoder);

    let before = HEAP.current_usage();
    let mut state = DecoderState::new(BOUND);
    let mut decoder = Decoder::new(Limits::default());
    let mut records = RecordsBuf::default();
    blocks.iter().for_each(|block| decoder.decode_with(&mut state, block, &mut records).expect("a block"));
    drop((decoder, records));
    let used = HEAP.current_usage().saturating_sub(before);
    let [codec, charged] = state.memory();
    assert!(charged > BOUND / 4 && used + codec <= BOUND, "{used} and {codec} bytes; {charged} charged");
}

/// Measures what blocks without a record leave behind that begin one stream after another, each with a node for the last
/// column.
fn streams_of_nothing_stay_within_the_bound() {
    const BOUND: usize = 4 << 20;
    let payload = [&[0, 0, 1, 0][..], &number(1 + 2 * 2_047), &[0]].concat();
    let packed = flushed(&payload);
    let before = HEAP.current_usage();
    let mut state = DecoderState::new(BOUND);
    let mut decoder = Decoder::new(Limits::default());
    let mut records = RecordsBuf::default();
    let mut fingerprint = BOUND as u64;
    for stream in 0..10_000 {
        let begins = stream == 0;
        let mut block = [&[3, if begins { 7 } else { 6 }][..], &number(stream)].concat();
        if !begins {
            block.extend(number(stream));
            block.extend((fingerprint as u32).to_le_bytes());
        }
        block.extend(number(payload.len() as u64));
        block.extend(&packed);
        decoder.decode_with(&mut state, &block, &mut records).expect("a block of no records");
        fingerprint = fingerprint_behind(fingerprint, &block);
    }
    drop((decoder, records));
    let used = HEAP.current_usage().saturating_sub(before);
    let [codec, charged] = state.memory();
    assert!(charged > BOUND / 4 && used + codec <= BOUND, "{used} and {codec} bytes; {charged} charged");
}

/// A zstd frame that is flushed and does not end.
fn flushed(payload: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("level 1");
    encoder.window_log(18).expect("a window of 256 KiB");
    encoder.write_all(payload).and_then(|()| encoder.flush()).expect("zstd compresses");
    encoder.get_ref().clone()
}

/// `h` of predictor 5, as the format has it.
fn key_of_pair(a: u64, b: u64) -> u64 {
    let mixed = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b ^ b >> 31);
    (mixed ^ mixed >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Fingerprint of a state behind a block without rows.
fn fingerprint_behind(before: u64, block: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [block.len() as u64].into_iter().chain(block.chunks(8).map(word)).fold(before, key_of_pair)
}

/// Records with many distinct texts, each of which comes three times.
fn users(topic: usize, round: usize) -> RecordsBuf {
    let user = |row: usize| {
        let name = (row / 3 * 7_919 + topic * 31) % 5_003;
        let letter = |place: u32| char::from(b'a' + (name / 10_usize.pow(place) % 10) as u8);
        let text: String = (0..4).map(letter).collect();
        format!("{{\"user\": \"{text}son of\", \"group\": \"of-{}\", \"n\": {row}}}", name * 13 % 509)
    };
    (round * 3_000..round * 3_000 + 4_000).map(user).collect()
}
