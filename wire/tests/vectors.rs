//! Golden bytes: what each message and frame looks like on the wire is a file in `vectors/`, read here
//! and never written. A change of any of them is a change of the protocol.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use wire::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};
use wire::close::{Close, CloseCode};
use wire::codec::{KINDS, control_length, decode_control, encode_control};
use wire::compress::{Codec, id};
use wire::condition::{Condition, FailingLane, WaitingPartition};
use wire::control::{
    Accepts, CommittedOffset, Control, CreditTerms, GoneTopic, GroupOffsets, Hello, Jump, LaneClosedReason,
    OfferedPartition, OrphanedTopic, PartitionEnd, Range, ReturningPartition, Role, Timing, TopicConfig, TopicEnds,
    TopicSettings, Welcome,
};
use wire::frame::{
    Frame, FrameBuilder, FrameCursor, FrameHead, HeaderBlock, Headers, IntactFrame, LaneDecoder, RecordRef, Shaper,
    StateBound, Step,
};
use wire::hello::{VERSIONS, agree};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot, TopicId};
use wire::lanes::{ClassLanes, ClassRequest};

const LANE: LaneId = LaneId(3);
const EPOCH: Epoch = Epoch(300);
const ORDERS: TopicId = TopicId([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn handshake() -> Vec<(&'static str, Control)> {
    let hello = Hello {
        role: Role::Sender,
        versions: Range { min: 1, max: 1 },
        features: 3,
        link: "fra-to-sin".into(),
        cluster_id: "4L6g3nShT-eMCtK--X86sw".into(),
        instance: "fra-1".into(),
        process: 7,
        stand_by: false,
        lanes: 8,
        lane_hash: "xxh3".into(),
        filter_hash: 0x0123_4567_89ab_cdef,
        rate: 62_500_000,
        classes: vec![ClassRequest { name: "bulk".into(), lanes: 4, strict: true }],
    };
    let welcome = Welcome {
        version: 1,
        features: 3,
        cluster_id: "sin".into(),
        receiver: 9,
        token: u128::MAX,
        credit: CreditTerms { reserve: 1 << 20, pool: 64 << 20 },
        classes: vec![
            ClassLanes { name: "default".into(), first: 0, count: 8 },
            ClassLanes { name: "bulk".into(), first: 8, count: 4 },
        ],
    };
    vec![
        ("hello", Control::Hello(hello)),
        ("welcome", Control::Welcome(welcome)),
        ("standby", Control::Standby { behind: "fra-2".into() }),
        ("join-channel", Control::JoinChannel { token: u128::MAX, receiver: 9, channel: 300 }),
        ("channel-open", Control::ChannelOpen { channel: 300 }),
        ("channel-closed", Control::ChannelClosed { channel: 300, detail: "no progress for 3 s".into() }),
        ("condition", Control::Condition(condition())),
        ("rate-assignment", Control::RateAssignment { bits_per_second: 20_000_000 }),
        ("clock", Control::Clock { asked: 1_700_000_000_000_000_000, answered: 0 }),
        ("close", Control::Close(Close::new(CloseCode::Misbehaved, "slot 4 was never opened"))),
    ]
}

fn condition() -> Condition {
    let waiting = WaitingPartition { topic: "orders".into(), partition: 3, detail: "no leader".into() };
    Condition {
        failing: vec![FailingLane { lane: LANE, detail: "lane 3: timed out".into() }],
        halted: 2,
        waiting: 300,
        named: vec![waiting],
        trouble: vec!["target cluster: no answer".into()],
    }
}

fn lanes() -> Vec<(&'static str, Control)> {
    let joining = OfferedPartition {
        slot: Slot(0),
        topic: "orders".into(),
        partition: 0,
        topic_id: ORDERS,
        partitions: 12,
        log_start: Position(0),
        log_end: Position(70_000),
        start: Position(0),
        jump: None,
    };
    let reason = String::from("skip");
    let asked = 1_700_000_000_000;
    let jump = Some(Jump { expected: Position(41), to: Position(42), accepts: Accepts::NewIncarnation, asked, reason });
    let jumping = OfferedPartition { slot: Slot(1), partition: 8, jump, ..joining.clone() };
    let carried = OfferedPartition { jump: Some(Jump::carried_only()), ..joining.clone() };
    let config = TopicConfig { name: "cleanup.policy".into(), value: "compact".into() };
    let settings = TopicSettings { topic: "orders".into(), settings: vec![config.clone()] };
    let none = TopicSettings { topic: "bills".into(), settings: Vec::new() };
    let lane = LANE;
    let epoch = EPOCH;
    let detail = || String::from("larger than 1048576 bytes");
    let timing = Timing { sequence: Sequence(69_999), arrived: 1_700_000_000_000_000, order: 250, commit: 4_000 };
    vec![
        ("open-lane", Control::OpenLane { lane }),
        ("lane-open", Control::LaneOpen { lane, epoch }),
        (
            "lane-closed",
            Control::LaneClosed { lane, epoch, reason: LaneClosedReason::Superseded, detail: "epoch 301".into() },
        ),
        (
            "topic",
            Control::Topic {
                topic: "orders".into(),
                topic_id: ORDERS,
                configs: vec![config],
                clusters: vec!["ams".into()],
            },
        ),
        ("offer", Control::Offer { lane, epoch, partitions: vec![joining, jumping], last: true }),
        ("offer-carried-only", Control::Offer { lane, epoch, partitions: vec![carried], last: false }),
        (
            "partition-open",
            Control::PartitionOpen { lane, epoch, slot: Slot(1), position: Position(42), leader_epoch: -1 },
        ),
        (
            "partition-halted",
            Control::PartitionHalted {
                lane,
                epoch,
                slot: Slot(1),
                position: Position(42),
                reason: "record-rejected".into(),
                detail: detail(),
            },
        ),
        ("settings", Control::Settings { topics: vec![settings.clone()] }),
        ("own-settings", Control::OwnSettings { topics: vec![settings, none] }),
        ("groups", Control::Groups { groups: groups(), last: true }),
        ("groups-back", Control::GroupsBack { groups: groups() }),
        ("acls", acls()),
        ("source-ends", source_ends()),
        ("read-source", Control::ReadSource {}),
        ("returns", returns()),
        ("stored-at", Control::StoredAt { lane, epoch, slot: Slot(1), at: 1_700_000_000_000 }),
        ("skip-refused", Control::SkipRefused { topic: "orders".into(), policy: "policy: skip".into() }),
        ("ack", Control::Ack { lane, epoch, sequence: Sequence(70_000), timing: None }),
        ("ack-timed", Control::Ack { lane, epoch, sequence: Sequence(70_000), timing: Some(timing) }),
    ]
}

/// Messages about topics that are gone from the source.
fn gone_topics() -> Vec<(&'static str, Control)> {
    let asked = 1_700_000_000_000;
    vec![
        ("topics-gone", Control::TopicsGone { topics: vec!["orders".into(), "bills".into()] }),
        (
            "orphaned",
            Control::Orphaned { topics: vec![OrphanedTopic { topic: "orders".into(), positions: 12 }], others: 300 },
        ),
        ("forget", Control::Forget { topic: "orders".into(), asked, reason: "operator: forget".into() }),
        (
            "forgotten",
            Control::Forgotten { topic: "orders".into(), positions: 11, refused: "lane 3 is not open".into() },
        ),
        ("mark-gone", Control::MarkGone { topics: vec!["orders".into(), "bills".into()], gone: true }),
        (
            "gone-since",
            Control::GoneSince {
                topics: vec![GoneTopic { topic: "orders".into(), since: 1_700_000_000_000 }],
                now: 1_700_000_060_000,
            },
        ),
    ]
}

fn groups() -> Vec<GroupOffsets> {
    let committed = CommittedOffset { partition: 3, offset: Position(70_000), metadata: "host-1".into() };
    let gone = CommittedOffset { partition: 4, offset: Position(-1), metadata: String::new() };
    vec![GroupOffsets { group: "billing".into(), topic: "orders".into(), offsets: vec![committed, gone] }]
}

fn source_ends() -> Control {
    let end = |partition, stable, end| PartitionEnd { partition, stable: Position(stable), end: Position(end) };
    let ends = vec![end(3, 70_000, 70_000), end(4, 0, 12)];
    Control::SourceEnds { topics: vec![TopicEnds { topic: "orders".into(), ends }], last: true }
}

fn returns() -> Control {
    let one = |partition, begins, common| ReturningPartition {
        partition,
        begins: Position(begins),
        common: Position(common),
        since: Position(0),
    };
    Control::Returns {
        topic: "orders".into(),
        link: "fra-to-sin".into(),
        cluster: "fra".into(),
        from: "orders".into(),
        from_id: TopicId([7; 16]),
        partitions: vec![one(0, 70_002, 70_000), one(3, 0, 0)],
    }
}

fn acls() -> Control {
    let acl = Acl {
        resource: AclResource::Topic,
        pattern: AclPattern::Prefixed,
        name: "ord".into(),
        principal: "User:alice".into(),
        host: "*".into(),
        operation: AclOperation::Describe,
        permission: AclPermission::Allow,
    };
    Control::Acls { acls: vec![acl], topics: vec!["orders".into()], groups: vec!["billing".into()], last: true }
}

const HEAD: FrameHead = FrameHead { lane: LANE, epoch: EPOCH, sequence: Sequence(2) };

/// Every null, every empty, a hole, a duplicate header, and positions without records.
fn records(headers: &HeaderBlock) -> FrameBuilder {
    let record =
        |offset, timestamp, key, value, headers| RecordRef { offset: Offset(offset), timestamp, key, value, headers };
    let mut builder = FrameBuilder::new();
    let t = 1_700_000_000_000;
    builder.push(Slot(4), Position(100), 6, &record(100, t, Some(b"k1"), Some(b"first"), Headers::EMPTY));
    builder.push(Slot(1), Position(0), -1, &record(0, -1, None, Some(b""), headers.as_headers()));
    builder.push(Slot(4), Position(101), 7, &record(103, t - 5, Some(b""), None, Headers::EMPTY));
    builder.advance(Slot(4), Position(104), Position(106));
    builder.advance(Slot(9), Position(50), Position(53));
    builder
}

fn headers() -> HeaderBlock {
    let mut block = HeaderBlock::default();
    block.push(b"id", Some(b"1"));
    block.push(b"id", None);
    block.push(b"", Some(b""));
    block
}

/// Many like records, as for a codec.
fn alike() -> FrameBuilder {
    let mut builder = FrameBuilder::new();
    for offset in 0..20 {
        let record = RecordRef {
            offset: Offset(offset),
            timestamp: 1_700_000_000_000 + offset,
            key: Some(b"customer-17"),
            value: Some(b"{\"status\":\"shipped\"}"),
            headers: Headers::EMPTY,
        };
        builder.push(Slot(0), Position(offset), 0, &record);
    }
    builder
}

/// Records with a template, as many as a shaped frame needs. Every third is null or empty, or has headers.
fn similar(builder: &mut FrameBuilder) -> &mut FrameBuilder {
    let mut headers = HeaderBlock::default();
    headers.push(b"id", Some(b"1"));
    for number in 0..300 {
        let value = format!("{{\"order\":{},\"status\":\"open\",\"total\":{}.5}}", 7_000 + number, number * 3);
        let key = format!("c{}", number % 7);
        let record = RecordRef {
            offset: Offset(number),
            timestamp: 1_700_000_000_000 + number * 2,
            key: (number % 3 > 0).then_some(key.as_bytes()),
            value: (number % 50 > 0).then_some(value.as_bytes()),
            headers: if number % 60 == 1 { headers.as_headers() } else { Headers::EMPTY },
        };
        builder.push(Slot(5), Position(number), 0, &record);
    }
    builder
}

/// A shaper that has learned from these records.
fn shaper_of(builder: &mut FrameBuilder) -> Shaper {
    let (library, jobs) = shape::Library::new();
    let mut shaper = Shaper::new(library);
    shaper.join(Slot(5), &"orders".into());
    similar(builder).finish_with(HEAD, Codec::Shape(1), &mut shaper);
    jobs.try_iter().for_each(shape::Job::learn);
    shaper
}

/// A shaped frame of these records.
fn shaped() -> Bytes {
    let mut builder = FrameBuilder::new();
    let mut shaper = shaper_of(&mut builder);
    similar(&mut builder).finish_with(HEAD, Codec::Shape(1), &mut shaper)
}

/// Four records of those, from a number on.
fn few(builder: &mut FrameBuilder, from: i64) -> &mut FrameBuilder {
    for number in from..from + 4 {
        let value = format!("{{\"order\":{},\"status\":\"open\",\"total\":{}.5}}", 7_000 + number, number * 3);
        let timestamp = 1_700_000_000_000 + number * 2;
        let value = Some(value.as_bytes());
        let record = RecordRef { offset: Offset(number), timestamp, key: None, value, headers: Headers::EMPTY };
        builder.push(Slot(5), Position(number), 0, &record);
    }
    builder
}

/// Two small frames that follow each other, the first of which begins the state.
fn remembered() -> Vec<Bytes> {
    let mut builder = FrameBuilder::new();
    let mut shaper = shaper_of(&mut builder);
    shaper.begin(StateBound::within(1 << 20));
    shaper.join(Slot(5), &"orders".into());
    [0, 4].map(|from| few(&mut builder, from).finish_with(HEAD, Codec::Shape(1), &mut shaper)).into()
}

/// The bytes of a vector: hexadecimal, in any grouping, with comments from `#` to the end of the line.
fn read(name: &str, encoded: &[u8]) -> Vec<u8> {
    let path = directory().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{}: {error}; if the message is new, annotate this: {hex}", path.display())
    });
    let digits: String = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect();
    assert!(digits.len().is_multiple_of(2), "{name}: half a byte");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_else(|_| panic!("{name}: not hex"));
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn steps(frame: &Frame) -> Vec<Step<'_>> {
    let mut cursor = FrameCursor::default();
    std::iter::from_fn(|| frame.next(&mut cursor)).collect()
}

#[test]
fn control_messages_are_the_golden_bytes_both_ways() {
    for (name, control) in handshake().into_iter().chain(lanes()).chain(gone_topics()) {
        let encoded = encode_control(&control);
        let golden = read(name, &encoded);
        assert_eq!(encoded, golden, "{name} is encoded otherwise");
        let (&prefix, message) = golden.split_first_chunk().unwrap();
        assert_eq!(control_length(prefix), Ok(message.len()), "{name}");
        assert_eq!(decode_control(message), Ok(control), "{name} is decoded otherwise");
    }
}

#[test]
fn control_messages_cut_anywhere_are_refused() {
    for (name, control) in handshake().into_iter().chain(lanes()).chain(gone_topics()) {
        let message = &read(name, &encode_control(&control))[4..];
        for len in 0..message.len() {
            assert!(decode_control(&message[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn no_message_speaks_of_channel_0_as_of_a_further_one() {
    let join = Control::JoinChannel { token: 1, receiver: 1, channel: 1 };
    let closed = Control::ChannelClosed { channel: 1, detail: String::new() };
    // Distance of the channel from the end.
    for (control, from_end) in [(join, 1), (Control::ChannelOpen { channel: 1 }, 1), (closed, 2)] {
        let mut message = encode_control(&control).split_off(4);
        assert_eq!(decode_control(&message), Ok(control.clone()));
        let at = message.len() - from_end;
        message[at] = 0;
        assert!(decode_control(&message).is_err(), "{control:?}");
    }
}

#[test]
fn only_hello_may_say_more_than_this_version_knows() {
    for (name, control) in handshake().into_iter().chain(lanes()).chain(gone_topics()) {
        let mut message = read(name, &encode_control(&control)).split_off(4);
        message.extend([1, 2, 3]);
        match decode_control(&message) {
            Ok(decoded) => assert!(name == "hello" && decoded == control, "{name}"),
            Err(error) => {
                assert_eq!((error, name == "hello"), (wire::error::DecodeError::TrailingBytes(3), false))
            }
        }
    }
}

/// A hello of a later version: another range, and fields that are not known yet.
#[test]
fn a_hello_of_a_later_version_is_understood() {
    let Some((_, Control::Hello(hello))) = handshake().into_iter().next() else { panic!("hello is the first") };
    let speaks = |min, max| {
        let hello = Control::Hello(Hello { versions: Range { min, max }, ..hello.clone() });
        let mut message = encode_control(&hello).split_off(4);
        message.extend([7; 40]);
        let Ok(Control::Hello(heard)) = decode_control(&message) else { panic!("a hello") };
        agree(VERSIONS, heard.versions)
    };
    assert_eq!(speaks(1, 9), Ok(1), "one version back is spoken");
    let error = speaks(2, 3).expect_err("no common version");
    assert_eq!(Close::from(error.clone()).code, CloseCode::Version);
    let sentence = "no common protocol version: we speak 1, the peer speaks 2 to 3; upgrade the older side";
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn frames_are_the_golden_bytes_both_ways() {
    let encoded = records(&headers()).finish(HEAD, Codec::None);
    let golden = read("frame-none", &encoded);
    assert_eq!(encoded, golden, "frame-none is encoded otherwise");
    let frame = Frame::decode(golden.into()).unwrap();
    assert_eq!(frame.header().head, HEAD);
    assert_eq!(steps(&frame), steps(&Frame::decode(encoded).unwrap()));
}

/// Decoded only: other versions of a codec may compress better.
#[test]
fn compressed_frames_are_still_understood() {
    let plain = Frame::decode(alike().finish(HEAD, Codec::None)).unwrap();
    for (name, codec) in [("frame-lz4", Codec::Lz4), ("frame-zstd", Codec::Zstd(3))] {
        let golden = read(name, &alike().finish(HEAD, codec));
        let frame = Frame::decode(golden.into()).unwrap();
        assert_eq!(frame.header().codec_id, codec.id(), "{name}");
        assert_eq!(frame.body(), plain.body(), "{name}");
        assert_eq!(steps(&frame), steps(&plain), "{name}");
    }
}

/// Decoded only, in their order: the second frame refers to the first one.
#[test]
fn frames_with_state_are_still_understood() {
    let encoded = remembered();
    let names = ["frame-state", "frame-state-next"];
    let golden: Vec<Bytes> = names.iter().zip(&encoded).map(|(name, frame)| read(name, frame).into()).collect();
    for frames in [golden, encoded] {
        let mut decoder = LaneDecoder::new(StateBound::within(1 << 20));
        for (number, bytes) in frames.into_iter().enumerate() {
            let plain =
                Frame::decode(few(&mut FrameBuilder::new(), number as i64 * 4).finish(HEAD, Codec::None)).unwrap();
            let frame = decoder.decode(&IntactFrame::check(bytes).unwrap()).unwrap();
            assert_eq!(frame.header().codec_id, id::STATE);
            assert_eq!(frame.body(), plain.body());
        }
    }
}

/// Decoded only: a later encoder may find another template.
#[test]
fn shaped_frames_are_still_understood() {
    let plain = Frame::decode(similar(&mut FrameBuilder::new()).finish(HEAD, Codec::None)).unwrap();
    for bytes in [read("frame-shape", &shaped()).into(), shaped()] {
        let frame = Frame::decode(bytes).unwrap();
        assert_eq!(frame.header().codec_id, id::SHAPE);
        assert_eq!(frame.body(), plain.body());
        assert_eq!(steps(&frame), steps(&plain));
    }
}

#[test]
fn frames_cut_anywhere_are_refused() {
    for name in ["frame-none", "frame-lz4", "frame-zstd", "frame-shape"] {
        let golden = read(name, &[]);
        for len in 0..golden.len() {
            assert!(Frame::decode(Bytes::copy_from_slice(&golden[..len])).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn every_kind_has_a_vector_and_every_vector_a_kind() {
    let controls: Vec<_> = handshake().into_iter().chain(lanes()).chain(gone_topics()).collect();
    let kinds: BTreeSet<_> = controls.iter().map(|(_, control)| wire::codec::control_name(control)).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| kind.name).collect());
    let mut expected: BTreeSet<_> = controls.iter().map(|(name, _)| format!("{name}.hex")).collect();
    expected.extend(["none", "lz4", "zstd", "shape", "state", "state-next"].map(|name| format!("frame-{name}.hex")));
    let entries = fs::read_dir(directory()).unwrap();
    let found: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}
