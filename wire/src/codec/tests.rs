//! Numbers have one encoding, fields end where they end, and control messages keep their limits.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::close::{Close, CloseCode};
use crate::control::{Accepts, Control, CreditTerms, Jump, OfferedPartition, TopicConfig, Welcome};
use crate::error::DecodeError;
use crate::ids::{Epoch, LaneId, Position, Slot, TopicId};
use crate::limits::{
    CLUSTERS_MAX, CONTROL_BYTES_MAX, CREDIT_MAX, FRAME_CHARGE_MIN, OFFER_PARTITIONS_MAX, STRING_MAX, TOPIC_CONFIGS_MAX,
    TOPIC_NAME_MAX,
};

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

proptest! {
    #[test]
    fn numbers_survive_in_their_shortest_form(shift in 0..64_u32, value: u64, signed: i64) {
        for value in [value >> shift, value, u64::MAX, 0] {
            let bytes = written(|writer| writer.varint(value));
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
        for value in [signed >> shift, signed, i64::MIN, i64::MAX, -1] {
            let bytes = written(|writer| writer.zigzag(value));
            prop_assert_eq!(Reader::new(&bytes).zigzag(), Ok(value));
        }
    }

    #[test]
    fn any_varint_is_refused_or_is_the_shortest(bytes in vec(prop_oneof![Just(0x80), Just(0xff), any::<u8>()], 0..12)) {
        let mut reader = Reader::new(&bytes);
        if let Ok(value) = reader.varint() {
            let read = bytes.len() - reader.remaining();
            prop_assert_eq!(written(|writer| writer.varint(value)), &bytes[..read]);
        }
    }

    #[test]
    fn any_bytes_are_a_control_message_or_refused(kind in 0..70_u8, body in vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![kind];
        bytes.extend(body);
        crate::hostile::control(&bytes);
    }
}

#[test]
fn overlong_and_oversized_varints_are_refused() {
    assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(DecodeError::Malformed("overlong varint")));
    let wide = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    assert_eq!(Reader::new(&wide).varint(), Err(DecodeError::Malformed("varint wider than 64 bits")));
    assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(DecodeError::Malformed("varint wider than 64 bits")));
    assert_eq!(Reader::new(&[0xff]).varint(), Err(DecodeError::Truncated { missing: 1 }));
}

#[test]
fn a_field_reader_sees_its_field_and_leaves_nothing() {
    let mut reader = Reader::new(&[1, 2, 3, 4]);
    let mut field = reader.sub(3).unwrap();
    assert_eq!(field.u16(), Ok(0x0201));
    assert_eq!(field.u16(), Err(DecodeError::Truncated { missing: 1 }));
    assert_eq!(field.finish(), Err(DecodeError::TrailingBytes(1)));
    assert_eq!(reader.u8(), Ok(4));
    assert!(reader.sub(1).is_err());
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_length_is_refused_before_anything_is_allocated_for_it() {
    assert_eq!(control_length((CONTROL_BYTES_MAX as u32).to_le_bytes()), Ok(CONTROL_BYTES_MAX));
    for wrong in [0, CONTROL_BYTES_MAX as u32 + 1, u32::MAX] {
        assert!(control_length(wrong.to_le_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn reserved_kinds_are_refused_and_given_to_nothing_else() {
    for &(number, name) in RESERVED {
        assert_eq!(decode_control(&[number, 0, 0]), Err(DecodeError::UnknownControl(number)), "{name}");
        assert!(KINDS.iter().all(|kind| kind.number != number), "{name}");
    }
}

/// An offered partition with every field at its limit.
fn largest() -> OfferedPartition {
    let most = Position(i64::MAX);
    OfferedPartition {
        slot: Slot(u32::MAX),
        topic: "t".repeat(TOPIC_NAME_MAX),
        partition: 1_999_999,
        topic_id: TopicId([255; 16]),
        partitions: 2_000_000,
        log_start: most,
        log_end: most,
        start: most,
        jump: Some(Jump {
            expected: most,
            to: most,
            accepts: Accepts::Target,
            asked: i64::MAX,
            reason: "r".repeat(STRING_MAX),
        }),
    }
}

fn offer(partitions: Vec<OfferedPartition>) -> Control {
    Control::Offer { lane: LaneId(63), epoch: Epoch(u64::MAX), partitions, last: true }
}

fn topic(name: usize, configs: usize) -> Control {
    let config = TopicConfig { name: "n".repeat(STRING_MAX), value: "v".repeat(STRING_MAX) };
    let clusters = vec!["c".repeat(STRING_MAX); CLUSTERS_MAX];
    Control::Topic { topic: "t".repeat(name), topic_id: TopicId::UNKNOWN, configs: vec![config; configs], clusters }
}

#[test]
fn every_limit_of_an_offer_is_checked() {
    type Break = fn(&mut OfferedPartition);
    let breaks: [(&str, Break); 13] = [
        ("empty topic name", |it| it.topic.clear()),
        ("topic name of 250", |it| it.topic.push('t')),
        ("partition out of range", |it| it.partition = it.partitions),
        ("partition out of range", |it| it.partition = -1),
        ("partition count out of range", |it| it.partitions = 0),
        ("partition count out of range", |it| it.partitions += 1),
        ("log start below 0", |it| it.log_start = Position(-1)),
        ("log ends before it starts", |it| it.log_end.0 -= 1),
        ("start position below 0", |it| it.start = Position(-1)),
        ("jump to below 0", |it| it.jump.as_mut().expect("has one").to = Position(-1)),
        ("jump from below -1", |it| it.jump.as_mut().expect("has one").expected = Position(-2)),
        ("jump to below -1", |it| {
            let jump = it.jump.as_mut().expect("has one");
            (jump.expected, jump.to) = (Position(-1), Position(-2));
        }),
        ("reason of 1025", |it| it.jump.as_mut().expect("has one").reason.push('r')),
    ];
    for (rule, break_it) in breaks {
        let mut partition = largest();
        break_it(&mut partition);
        let error = bounds::check(&offer(vec![largest(), partition])).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    assert!(bounds::check(&offer(vec![largest(); OFFER_PARTITIONS_MAX + 1])).is_err());
}

#[test]
fn every_limit_of_the_other_messages_is_checked() {
    let refused = [
        topic(TOPIC_NAME_MAX + 1, 0),
        topic(1, TOPIC_CONFIGS_MAX + 1),
        Control::Topic {
            topic: "t".into(),
            topic_id: TopicId::UNKNOWN,
            configs: vec![],
            clusters: vec!["c".into(); CLUSTERS_MAX + 1],
        },
        Control::OpenLane { lane: LaneId(64) },
        Control::LaneOpen { lane: LaneId(64), epoch: Epoch(1) },
        Control::Standby { behind: "x".repeat(STRING_MAX + 1) },
        Control::Close(Close::normal("x".repeat(STRING_MAX + 1))),
        Control::PartitionOpen {
            lane: LaneId(0),
            epoch: Epoch(1),
            slot: Slot(0),
            position: Position(0),
            leader_epoch: -2,
        },
        Control::PartitionOpen {
            lane: LaneId(0),
            epoch: Epoch(1),
            slot: Slot(0),
            position: Position(-1),
            leader_epoch: 0,
        },
        Control::PartitionHalted {
            lane: LaneId(0),
            epoch: Epoch(1),
            slot: Slot(0),
            position: Position(-2),
            reason: String::new(),
            detail: String::new(),
        },
    ];
    let credits = [(FRAME_CHARGE_MIN - 1, 1 << 20), (CREDIT_MAX + 1, 0), (FRAME_CHARGE_MIN, u64::MAX)];
    for control in refused.into_iter().chain(credits.map(|(reserve, pool)| welcome(reserve, pool))) {
        assert!(bounds::check(&control).is_err(), "{control:?}");
    }
    assert_eq!(bounds::check(&welcome(FRAME_CHARGE_MIN, CREDIT_MAX)), Ok(()));
}

fn welcome(reserve: u64, pool: u64) -> Control {
    let credit = CreditTerms { reserve, pool };
    Control::Welcome(Welcome {
        version: 1,
        features: 0,
        cluster_id: "t".into(),
        receiver: 1,
        token: 2,
        credit,
        classes: vec![],
    })
}

#[test]
fn the_largest_messages_fit() {
    for control in [offer(vec![largest(); OFFER_PARTITIONS_MAX]), topic(TOPIC_NAME_MAX, TOPIC_CONFIGS_MAX)] {
        assert_eq!(decode_control(&encode_control(&control)[4..]), Ok(control));
    }
}

#[test]
fn details_are_clipped_between_characters() {
    let close = Control::Close(Close::new(CloseCode::Internal, format!("x{}", "é".repeat(STRING_MAX))));
    let Ok(Control::Close(Close { detail, .. })) = decode_control(&encode_control(&close)[4..]) else {
        panic!("a close")
    };
    assert_eq!(detail, format!("x{}", "é".repeat(STRING_MAX / 2 - 1)));
}

#[test]
fn what_the_peer_would_refuse_is_never_sent() {
    let panic = std::panic::catch_unwind(|| encode_control(&Control::Standby { behind: "x".repeat(STRING_MAX + 1) }));
    let message = panic.expect_err("refused").downcast::<String>().expect("a message");
    assert_eq!(*message, "Standby breaks its own limits: instance of 1025 exceeds the limit of 1024");
}

#[test]
fn a_close_code_of_a_newer_version_is_kept() {
    let close = Control::Close(Close::new(CloseCode::Unknown(4711), ""));
    assert_eq!(decode_control(&encode_control(&close)[4..]), Ok(close));
}
