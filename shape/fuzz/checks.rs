//! Checks that must hold for any bytes: one behind each fuzz target, the replay of its corpus, and property tests.

use shape::{Decoder, Encoder, Limits, RecordsBuf};

/// Limits of a hostile block.
const LIMITS: Limits = Limits { bytes: 1 << 20, records: 10_000 };
/// Form byte of blocks with a template.
const SHAPE: u8 = 2;

/// Checks a block: it is refused, or its records survive another encoding. The bytes are also taken as the content of
/// a block before compression, which a fuzzer cannot build.
///
/// # Panics
/// If the check fails.
pub fn block(bytes: &[u8]) {
    let mut packed = vec![SHAPE];
    packed.extend(zstd::bulk::compress(bytes, 1).expect("zstd compresses"));
    for block in [bytes, &packed] {
        let mut records = RecordsBuf::default();
        if Decoder::new(LIMITS).decode(block, &mut records).is_ok() {
            survives(&records);
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
