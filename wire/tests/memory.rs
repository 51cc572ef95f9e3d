//! What a hostile peer can make this end allocate: counted, claim by claim. One test, because the count
//! is the process's.

use peak_alloc::PeakAlloc;
use wire::codec::{decode_control, encode_control};
use wire::compress::{Codec, compress, expand, id};
use wire::control::Control;
use wire::frame::{Frame, FrameBuilder, FrameHead};
use wire::ids::{Epoch, LaneId, Position, Sequence, Slot};
use wire::limits::{CONTROL_BYTES_MAX, FRAME_BODY_MAX, FRAME_HEADER_BYTES, RECORDS_MAX, RUNS_MAX};
use xxhash_rust::xxh3::Xxh3Default;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The most bytes that were allocated beyond those before, while `f` ran.
fn peak(f: impl FnOnce()) -> usize {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    f();
    HEAP.peak_usage() - before
}

/// A frame that claims what it likes, correctly sealed.
fn claim(codec: u8, [runs, records, raw_len]: [u32; 3], body: &[u8]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    builder.advance(Slot(0), Position(0), Position(1));
    let head = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
    let mut frame = builder.finish(head, Codec::None)[..FRAME_HEADER_BYTES].to_vec();
    frame[4] = codec;
    for (at, value) in [(32, runs), (36, records), (40, raw_len), (44, body.len() as u32)] {
        frame[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    frame.extend_from_slice(body);
    let mut hasher = Xxh3Default::new();
    hasher.update(&frame[..FRAME_HEADER_BYTES - 8]);
    hasher.update(body);
    frame[FRAME_HEADER_BYTES - 8..FRAME_HEADER_BYTES].copy_from_slice(&hasher.digest().to_le_bytes());
    frame
}

fn refused(frame: Vec<u8>) -> usize {
    peak(move || assert!(Frame::decode(frame.into()).is_err()))
}

#[test]
fn no_claim_costs_more_memory_than_the_limits_say() {
    const BOOKKEEPING: usize = 16 * 1024;
    let body = [0; 100];
    let most = FRAME_BODY_MAX as u32;

    // Lengths that no codec can keep.
    for codec in [id::NONE, id::LZ4, id::ZSTD] {
        for raw_len in [most, most + 1, u32::MAX] {
            let used = refused(claim(codec, [1, 0, raw_len], &body));
            assert!(used < BOOKKEEPING, "codec {codec} claims {raw_len}: {used} bytes");
        }
        let used = peak(|| assert!(expand(codec, &body, usize::MAX).is_err()));
        assert!(used < BOOKKEEPING, "codec {codec} claims everything: {used} bytes");
    }

    // Runs and records that the body has no bytes for.
    for counts in [[RUNS_MAX, 0], [1, RECORDS_MAX], [u32::MAX, u32::MAX], [RUNS_MAX, RECORDS_MAX]] {
        let used = refused(claim(id::NONE, [counts[0], counts[1], 100], &body));
        assert!(used < BOOKKEEPING, "{counts:?}: {used} bytes");
    }

    // A zstd frame that states less than the frame around it.
    let small = compress(Codec::Zstd(1), &[7; 5000]).unwrap();
    let used = refused(claim(id::ZSTD, [1, 0, most], &small));
    assert!(used < BOOKKEEPING, "{used} bytes");

    // A zstd frame that itself states 64 MiB: allowed, but not more.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    bomb.extend(most.to_le_bytes());
    bomb.extend([0x01, 0x00, 0x00]);
    let used = refused(claim(id::ZSTD, [1, 0, most], &bomb));
    assert!(used < FRAME_BODY_MAX + BOOKKEEPING, "{used} bytes");

    // Shaped frames: more groups than there may be, blocks and a remainder that claim 64 MiB, and too large a body.
    let block = [&[1, 1][..], &bomb].concat();
    let shaped = |table: &[u8], rest: &[u8]| claim(id::SHAPE, [1, 1, 1 << 20], &[table, rest].concat());
    for frame in [
        shaped(&[255], &[7; 100]),
        shaped(&[1, 7, 100, 100, 100], &[7; 100]),
        shaped(&[1, 1, block.len() as u8], &block),
        shaped(&[0], &bomb),
        claim(id::SHAPE, [1, 1, most], &[0; 100]),
    ] {
        let used = refused(frame);
        assert!(used < (1 << 20) + BOOKKEEPING * 16, "{used} bytes");
    }

    // As many runs as there may be, and a body for them.
    let mut runs = FrameBuilder::new();
    (0..RUNS_MAX).for_each(|slot| runs.advance(Slot(slot), Position(0), Position(1)));
    let head = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
    let frame = runs.finish(head, Codec::Zstd(1));
    let used = peak(|| drop(Frame::decode(frame).unwrap()));
    assert!(used < RUNS_MAX as usize * 128, "{used} bytes");

    // Control messages whose vectors and strings claim far more than there is.
    for tail in [[0xfc, 0xff, 0xff, 0xff, 0xff], [0xfc, 0, 0, 1, 0], [0xfb, 0xff, 0x0f, 0, 0]] {
        for kind in [1, 2, 3, 6, 18, 32, 33, 35] {
            for zeros in 0..24 {
                let mut message = vec![kind];
                message.resize(1 + zeros, 0);
                message.extend(tail);
                let used = peak(|| drop(decode_control(&message)));
                assert!(used < CONTROL_BYTES_MAX + BOOKKEEPING, "kind {kind}: {used} bytes");
            }
        }
    }
    let standby = encode_control(&Control::Standby { behind: "x".repeat(1000) });
    assert!(peak(|| drop(decode_control(&standby[4..]).unwrap())) < 2 * 1000);
}
