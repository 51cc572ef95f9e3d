//! What goes in comes out; what was never put in does not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CODECS: [Codec; 4] = [Codec::Lz4, Codec::Zstd(1), Codec::Zstd(3), Codec::Zstd(-5)];

#[test]
fn what_shrinks_comes_back() {
    let raw = b"to and fro, ".repeat(1000);
    for codec in CODECS {
        let packed = compress(codec, &raw).expect("repetition shrinks");
        assert!(packed.len() < raw.len() / 10, "{codec:?}");
        assert_eq!(expand(codec.id(), &packed, raw.len()).as_deref(), Ok(&raw[..]), "{codec:?}");
    }
}

#[test]
fn what_does_not_shrink_is_left_alone() {
    let noise: Vec<u8> =
        (0..4096_u64).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..2].to_vec()).collect();
    for codec in CODECS {
        assert_eq!(compress(codec, b""), None, "{codec:?}");
        assert_eq!(compress(codec, b"a"), None, "{codec:?}");
        assert_eq!(compress(codec, &noise), None, "{codec:?}");
    }
    assert_eq!(compress(Codec::None, &[0; 1000]), None);
}

#[test]
fn a_wrong_length_is_refused_by_every_codec() {
    let raw = [7; 5000];
    for codec in CODECS {
        let packed = compress(codec, &raw).expect("repetition shrinks");
        for wrong in [0, 1, raw.len() - 1, raw.len() + 1, FRAME_BODY_MAX, FRAME_BODY_MAX + 1, usize::MAX] {
            assert!(expand(codec.id(), &packed, wrong).is_err(), "{codec:?} as {wrong} bytes");
        }
    }
    assert_eq!(expand(id::NONE, &raw, 4999), Err(DecodeError::RawLength { stated: 4999, found: 5000 }));
}

#[test]
fn truncated_and_lengthened_bytes_are_refused() {
    let raw = b"one frame and nothing but one frame; ".repeat(40);
    for codec in CODECS {
        let mut packed = compress(codec, &raw).expect("repetition shrinks");
        for len in 0..packed.len() {
            assert!(expand(codec.id(), &packed[..len], raw.len()).is_err(), "{codec:?} cut to {len}");
        }
        packed.push(0);
        assert!(expand(codec.id(), &packed, raw.len()).is_err(), "{codec:?} with a byte too many");
    }
}

#[test]
fn zstd_frames_that_expand_to_nothing_are_left_over_too() {
    let mut packed = compress(Codec::Zstd(1), &[7; 5000]).expect("repetition shrinks");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    packed.extend(skippable);
    assert_eq!(expand(id::ZSTD, &packed, 5000), Err(DecodeError::TrailingBytes(skippable.len())));
}

#[test]
fn an_unknown_codec_is_named() {
    assert_eq!(expand(3, &[], 0), Err(DecodeError::UnknownCodec(3)));
}

proptest! {
    #[test]
    fn any_bytes_are_expanded_or_refused(bytes in vec(any::<u8>(), 0..600), period in 1..40_usize) {
        crate::hostile::compression(&bytes);
        let regular: Vec<u8> = bytes.iter().copied().take(period).cycle().take(bytes.len() * 3).collect();
        crate::hostile::compression(&regular);
    }
}
