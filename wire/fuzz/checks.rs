//! Checks that must hold for any bytes: one behind each fuzz target, the replay of its corpus, and property tests.

use wire::codec::{control_length, decode_control, encode_control};
use wire::compress::{Codec, compress, expand, id};
use wire::error::DecodeError;
use wire::frame::{Frame, FrameBuilder, FrameCursor, IntactFrame, LaneDecoder, StateBound, Step, seal};
use wire::limits::FRAME_BODY_MAX;
use wire::units::{Rate, Size, display_duration, parse_duration};

/// Checks a frame: it is refused, or its records build the same frame again, byte for byte unless it is compressed.
///
/// # Panics
/// If the check fails.
pub fn frame(bytes: &[u8]) {
    let _ = rebuild(bytes);
    // A fuzzer cannot guess a checksum, so it is filled in.
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    if let Ok(rebuilt) = rebuild(&sealed)
        && sealed[4] == id::NONE
    {
        assert_eq!(rebuilt, sealed, "a frame has one encoding");
    }
}

fn rebuild(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let frame = Frame::decode(bytes.to_vec().into())?;
    let mut builder = FrameBuilder::new();
    for step in steps(&frame) {
        match step {
            Step::Run(_) => {}
            Step::Record(run, record) => {
                let from = builder.positions().find(|(slot, _)| *slot == run.slot).map_or(run.from, |(_, next)| next);
                builder.push(run.slot, from, run.leader_epoch, &record);
            }
            Step::RunEnd(run) => {
                let from = builder.positions().find(|(slot, _)| *slot == run.slot).map_or(run.from, |(_, next)| next);
                builder.advance(run.slot, from, run.next);
            }
        }
    }
    let rebuilt = builder.finish(frame.header().head, Codec::None);
    let again = Frame::decode(rebuilt.clone())?;
    assert!(steps(&frame).eq(steps(&again)), "rebuilt frame differs");
    Ok(rebuilt.into())
}

fn steps(frame: &Frame) -> impl Iterator<Item = Step<'_>> {
    let mut cursor = FrameCursor::default();
    std::iter::from_fn(move || frame.next(&mut cursor))
}

/// Checks a shaped frame, of parts that a fuzzer cannot build: the bytes are the remainder of a body and the records of a
/// block, and are compressed and sealed here. It is refused, or its records build a frame again. The first bytes choose
/// the claims.
///
/// # Panics
/// If the check fails.
pub fn shaped(bytes: &[u8]) {
    let Some((&[runs, records, parts, cut, a, b], content)) = bytes.split_first_chunk() else { return };
    let (block, remainder) = content.split_at(content.len() * usize::from(cut) / 256);
    let mut blocks = Vec::new();
    let mut body = vec![1, parts];
    for _ in 0..parts.count_ones() {
        // The bytes are a block, or the records of one.
        let mut whole = block.to_vec();
        if cut % 2 == 0 {
            whole = vec![0, (block.len() / 4).min(127) as u8, 0];
            whole.extend(std::iter::repeat_n(4, (block.len() / 4).min(127)));
            whole.extend_from_slice(&block[..(block.len() / 4).min(127) * 4]);
        }
        body.extend([whole.len() as u8 | 0x80, (whole.len() >> 7) as u8]);
        blocks.extend(whole);
    }
    body.extend(blocks);
    let counts = [runs.into(), records.into(), u32::from_le_bytes([a, b, 0, 0])];
    let plain = [&[19, 0, 0, 0, 0], &body[..], &[0], remainder].concat();
    body.extend(zstd::bulk::compress(remainder, 1).expect("zstd compresses"));
    let _ = rebuild(&sealed(id::SHAPE, counts, &body));
    // The same with state, and a second time, when it is another one or lost.
    if let Ok(frame) = IntactFrame::check(sealed(id::STATE, counts, &plain).into()) {
        let mut decoder = LaneDecoder::new(StateBound::within(1 << 19));
        if let Err(error) = decoder.decode(&frame) {
            assert_eq!(decoder.decode(&frame).err(), Some(error), "nothing that follows is trusted");
        }
    }
}

/// A frame with this body and these numbers of runs, records and raw bytes.
fn sealed(codec: u8, counts: [u32; 3], body: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'C', b'W', b'F', 1, codec];
    frame.resize(56, 0);
    let fields = counts.into_iter().chain([body.len() as u32]).zip([32, 36, 40, 44]);
    fields.for_each(|(value, at)| frame[at..at + 4].copy_from_slice(&value.to_le_bytes()));
    frame.extend(body);
    seal(&mut frame);
    frame
}

/// Checks a control message: it is refused, or it decodes to the same message after it is encoded again.
///
/// # Panics
/// If the check fails.
pub fn control(bytes: &[u8]) {
    if let Some((&prefix, _)) = bytes.split_first_chunk() {
        let _ = control_length(prefix);
    }
    let Ok(control) = decode_control(bytes) else { return };
    let sent = encode_control(&control);
    let (&prefix, rest) = sent.split_first_chunk().expect("a message begins with its length");
    assert_eq!(control_length(prefix), Ok(rest.len()));
    assert_eq!(decode_control(rest).as_ref(), Ok(&control));
    let kept = control.shortened();
    assert_eq!(decode_control(&encode_control(&kept)[4..]).as_ref(), Ok(&kept), "its texts are within the limits");
}

/// Checks every codec: it refuses the bytes or expands them to the stated length, and expands what it compressed. The
/// first three bytes choose the stated length.
///
/// # Panics
/// If the check fails.
pub fn compression(bytes: &[u8]) {
    let Some((&[a, b, c], packed)) = bytes.split_first_chunk() else { return };
    let raw_len = u32::from_le_bytes([a, b, c, 0]) as usize;
    for codec in [id::NONE, id::LZ4, id::ZSTD] {
        if let Ok(raw) = expand(codec, packed, raw_len) {
            assert_eq!(raw.len(), raw_len, "codec {codec}");
        }
        assert!(expand(codec, packed, FRAME_BODY_MAX + 1 + raw_len).is_err());
    }
    for codec in [Codec::Lz4, Codec::Zstd(1), Codec::Zstd(3)] {
        if let Some(smaller) = compress(codec, packed) {
            assert!(smaller.len() < packed.len(), "{codec:?}");
            assert_eq!(expand(codec.id(), &smaller, packed.len()).as_deref(), Ok(packed), "{codec:?}");
        }
    }
}

/// Checks a quantity: it is refused, or its display parses to the same value.
///
/// # Panics
/// If the check fails.
pub fn units(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
    if let Ok(size) = text.parse::<Size>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&display_duration(duration).to_string()), Ok(duration));
    }
}
