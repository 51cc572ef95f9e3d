//! Any records survive, and no bytes make a decoder panic.

use proptest::collection::vec;
use proptest::prelude::*;
use shape::{Decoder, Encoder, Limits, RecordsBuf};

#[path = "../fuzz/checks.rs"]
pub mod checks;

/// Texts that records are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\"a\": "),
        Just(", "),
        Just("null"),
        Just("true"),
        Just("\"\\\""),
        Just("\"key\":"),
        Just("\""),
        Just("{\"a\": 1, \"b\": \""),
    ];
    let token = prop_oneof![
        Just("0".to_owned()),
        Just("-0".to_owned()),
        Just("007".to_owned()),
        Just("1e5".to_owned()),
        Just("2013-01-01T05:00:00Z".to_owned()),
        Just("2013-02-30".to_owned()),
        Just("123e4567-e89b-42d3-a456-426614174000".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..100_000_i64, 1..1_000_u32).prop_map(|(whole, part)| format!("{whole}.{part}")),
        "[a-z]{1,8}",
        "[0-9a-f]{16}",
        "[A-Z]{2}[0-9]{1,5}",
    ];
    prop_oneof![
        4 => json.prop_map(|text| text.as_bytes().to_vec()),
        4 => token.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
        1 => Just(b" ,;\"=".to_vec()),
    ]
}

/// Records of a few templates with pieces between constant parts.
fn similar_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (vec(vec(piece(), 1..8), 1..4), vec(vec(piece(), 0..8), 1..120)).prop_map(|(templates, holes)| {
        let fill = |(number, holes): (usize, &Vec<Vec<u8>>)| {
            let template = &templates[number % templates.len()];
            let tokens = holes.iter().map(Vec::as_slice).chain(std::iter::repeat(&b"7"[..]));
            template.iter().zip(tokens).flat_map(|(constant, token)| [constant, token].concat()).collect()
        };
        holes.iter().enumerate().map(fill).collect()
    })
}

/// A block of similar records, and records that are like them.
fn block_of(records: &[Vec<u8>]) -> Vec<u8> {
    let records: RecordsBuf = records.iter().collect();
    let mut block = Vec::new();
    let mut encoder = Encoder::new(1);
    encoder.learn(records.as_records());
    encoder.encode(records.as_records(), &mut block);
    block
}

/// Blocks with state and what becomes of them.
fn sequences() -> impl Strategy<Value = Vec<(checks::Fate, u32, RecordsBuf)>> {
    let fate = prop_oneof![
        6 => Just(checks::Fate::Arrives),
        2 => Just(checks::Fate::Dropped),
        1 => Just(checks::Fate::Lost),
        1 => Just(checks::Fate::Begins),
        1 => Just(checks::Fate::Relearned),
        2 => Just(checks::Fate::Joined),
    ];
    // Few kinds of records, so that blocks have something in common.
    (vec(similar_records(), 1..4), vec((fate, 0..3_u32, any::<usize>(), any::<usize>()), 1..24)).prop_map(
        |(kinds, blocks)| {
            let block = |(fate, stream, kind, from): (_, _, usize, usize)| {
                let kind = &kinds[kind % kinds.len()];
                (fate, stream, kind.iter().skip(from % kind.len()).collect())
            };
            blocks.into_iter().map(block).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_sequence_of_blocks_with_state_survives(units in 0..300_usize, blocks in sequences()) {
        checks::sequence_survives(units << 14, &blocks);
    }

    #[test]
    fn any_content_of_a_block_with_state_is_refused_or_decoded(bytes in vec(any::<u8>(), 0..200)) {
        checks::state(&bytes);
        checks::sequence(&bytes);
    }

    #[test]
    fn similar_records_survive(records in similar_records()) {
        checks::survives(&records.iter().collect());
    }

    #[test]
    fn any_records_survive(records in vec(vec(piece(), 0..12), 0..60)) {
        checks::survives(&records.iter().map(|pieces| pieces.concat()).collect());
    }

    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in vec(any::<u8>(), 0..200)) {
        checks::block(&bytes);
    }

    #[test]
    fn damaged_blocks_are_refused_or_decoded(
        records in similar_records(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let block = block_of(&records);
        let mut content = block[1..].to_vec();
        let len = zstd::zstd_safe::get_frame_content_size(&content).ok().flatten();
        if let Some(len) = len {
            content = zstd::bulk::decompress(&content, len as usize).unwrap();
        }
        for (place, byte) in &damages {
            if !content.is_empty() {
                let place = place.index(content.len());
                content[place] = *byte;
            }
            checks::block(&content);
            let mut damaged = block.clone();
            let place = place.index(damaged.len());
            damaged[place] = *byte;
            checks::block(&damaged);
        }
    }
}

/// Records of four kinds with `rows` rows: for tests that need the form with a template.
fn orders(rows: usize) -> RecordsBuf {
    let order = |row: usize| {
        let paid = if row.is_multiple_of(7) { "null".to_owned() } else { format!("{}.{:02}", row % 90, row % 100) };
        let day = 1 + row / 100 % 28;
        format!(
            "{{\"id\": {row}, \"day\": \"2024-05-{day:02}\", \"who\": \"user-{}\", \"paid\": {paid}, \"due\": {}}}",
            row % 13,
            row + row % 5
        )
    };
    (0..rows).map(order).collect()
}

/// Bytes of the records as one zstd frame of lengths and records.
fn plain_len(records: &RecordsBuf) -> usize {
    let records = records.as_records();
    let mut plain = Vec::new();
    for record in records.iter() {
        let len = record.len();
        plain.extend(if len < 128 { vec![len as u8] } else { vec![len as u8 | 128, (len >> 7) as u8] });
    }
    plain.extend_from_slice(records.bytes());
    zstd::bulk::compress(&plain, 1).expect("zstd compresses").len()
}

#[test]
fn records_without_a_template_cost_no_more_than_plain() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state >> 20
    };
    let mut word = move || format!("{:x}", random() % 0xffff_ffff);
    let mut noise = |_: usize| word().into_bytes();
    let mut text = |rows: usize| {
        (0..rows % 40).map(|row| ["lorem", "ipsum", "dolor", "sit"][row * rows % 4]).collect::<String>().into_bytes()
    };
    let mut keys = |row: usize| format!("{{\"k{}\":{row},\"k{}\":1}}", row * 7_919, row * 104_729).into_bytes();
    let mut equal = |row: usize| vec![b'a' + (row % 3) as u8; 100];
    let kinds: [&mut dyn FnMut(usize) -> Vec<u8>; 4] = [&mut noise, &mut text, &mut keys, &mut equal];
    for (number, kind) in kinds.into_iter().enumerate() {
        let mut encoder = Encoder::new(1);
        for block_number in 0..12 {
            let records: RecordsBuf = (0..300).map(|row| kind(block_number * 300 + row)).collect();
            let mut block = Vec::new();
            encoder.encode(records.as_records(), &mut block);
            let plain = plain_len(&records);
            assert!(block.len() <= plain + 8, "kind {number}: {} bytes and {plain} plain", block.len());
        }
    }
}

#[test]
fn tokens_that_are_too_dense_for_a_template_survive() {
    for fields in [1, 3, 4, 5, 8, 9, 500] {
        for field in ["", "1,", "1,,"] {
            let record = format!("{}{}", field.repeat(3), ",".repeat(fields));
            checks::survives(&std::iter::repeat_n(record, 300).collect());
        }
    }
}

#[test]
fn every_cut_of_a_block_is_refused() {
    let records = orders(500);
    let mut block = Vec::new();
    Encoder::new(1).encode(records.as_records(), &mut block);
    assert_eq!(block[0], 2, "the block has a template");
    let content = zstd::bulk::decompress(&block[1..], 1 << 20).unwrap();
    let mut decoder = Decoder::new(Limits::default());
    for len in 0..content.len() {
        let mut cut = vec![2];
        cut.extend(zstd::bulk::compress(&content[..len], 1).unwrap());
        assert!(decoder.decode(&cut, &mut RecordsBuf::default()).is_err(), "{len} bytes");
    }
}

#[test]
fn a_block_beyond_the_limits_is_refused() {
    let records = orders(500);
    let bytes = records.as_records().bytes().len();
    let mut blocks = [const { Vec::new() }; 2];
    let mut encoder = Encoder::new(1);
    encoder.encode(records.as_records(), &mut blocks[0]);
    let noise: RecordsBuf = (0..500_u64).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    encoder.encode(noise.as_records(), &mut blocks[1]);
    let most = [Limits { bytes, records: 500 }, Limits { bytes: 4_000, records: 500 }];
    for (block, limits) in blocks.iter().zip(most) {
        let decoded = |limits| Decoder::new(limits).decode(block, &mut RecordsBuf::default());
        assert_eq!(decoded(limits), Ok(()));
        assert!(decoded(Limits { bytes: limits.bytes - 1, ..limits }).is_err());
        assert!(decoded(Limits { records: 499, ..limits }).is_err());
    }
}
