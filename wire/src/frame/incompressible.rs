//! Notices that frames of a lane do not shrink, so that they are sent as they are for the price of a sample. Sans-IO.

/// Frames in a row that did not shrink, from which on only a sample of the next one is compressed first.
const NOTICED: u32 = 3;
/// Part of a frame that a sample has: one of so many bytes.
const SAMPLE_PART: usize = 8;
/// Most bytes of a sample.
const SAMPLE_MAX: usize = 16 << 10;
/// Fewest bytes of a frame that a sample can speak for.
const FRAME_MIN: usize = 4 << 10;

/// Memory of whether the last frames shrank.
#[derive(Debug, Default)]
pub(super) struct Incompressible {
    in_a_row: u32,
}

impl Incompressible {
    /// Returns the bytes of a body to compress first; `None` if the whole body is to be compressed as a whole. The sample
    /// is from the middle: the columns of numbers at the beginning shrink even if no value does.
    pub(super) fn sample<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        if self.in_a_row < NOTICED || body.len() < FRAME_MIN {
            return None;
        }
        let len = (body.len() / SAMPLE_PART).min(SAMPLE_MAX);
        let from = (body.len() - len) / 2;
        Some(&body[from..from + len])
    }

    /// Notes the compressed length of a body or of a sample.
    pub(super) const fn note(&mut self, raw: usize, packed: usize) {
        self.in_a_row = if shrinks(raw, packed) { 0 } else { self.in_a_row.saturating_add(1) };
    }
}

/// Returns whether compression saved a part worth having: more than a 32nd.
pub(super) const fn shrinks(raw: usize, packed: usize) -> bool {
    packed <= raw / 32 * 31
}

#[cfg(test)]
mod tests {
    use super::super::{FrameBuilder, FrameHead, Headers, RecordRef, Shaper};
    use super::*;
    use crate::compress::{Codec, id};
    use crate::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

    #[test]
    fn a_sample_speaks_only_after_frames_that_did_not_shrink() {
        let body = vec![7; 1 << 20];
        let mut noticed = Incompressible::default();
        for _ in 0..NOTICED {
            assert_eq!(noticed.sample(&body), None);
            noticed.note(1000, 1000);
        }
        assert_eq!(noticed.sample(&body).map(<[u8]>::len), Some(SAMPLE_MAX));
        assert_eq!(noticed.sample(&body[..FRAME_MIN]).map(<[u8]>::len), Some(FRAME_MIN / SAMPLE_PART));
        assert_eq!(noticed.sample(&body[..FRAME_MIN - 1]), None);
        noticed.note(1000, 900);
        assert_eq!(noticed.sample(&body), None);
    }

    /// Sends values through one builder; returns the codec of each frame.
    fn codecs(codec: Codec, values: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = FrameBuilder::new();
        let mut shaper = Shaper::new(shape::Library::new().0);
        let mut codec_of = |(number, value): (usize, &Vec<u8>)| {
            let record =
                RecordRef { offset: Offset(0), timestamp: 0, key: None, value: Some(value), headers: Headers::EMPTY };
            builder.push(Slot(0), Position(0), 0, &record);
            let head = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(number as u64) };
            builder.finish_with(head, codec, &mut shaper)[4]
        };
        values.iter().enumerate().map(&mut codec_of).collect()
    }

    #[test]
    fn bytes_that_do_not_shrink_are_sent_raw_until_others_come() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let noise: Vec<Vec<u8>> = (0..20).map(|_| (0..50_000).map(|_| random()).collect()).collect();
        let text = vec![b"to be or not to be, that is the question; ".repeat(1000)];
        for (codec, id_of) in [(Codec::Lz4, id::LZ4), (Codec::Zstd(1), id::ZSTD), (Codec::Shape(1), id::ZSTD)] {
            let found = codecs(codec, &[noise.clone(), text.clone()].concat());
            assert_eq!((&found[..20], found[20]), (&[id::NONE; 20][..], id_of), "{codec}");
        }
    }
}
