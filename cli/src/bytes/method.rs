//! Methods of a link: the sample in frames, made and read by the code that a sender and a receiver run.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shape::{Job, Library};
use wire::compress::Codec;
use wire::frame::{Frame, FrameBuilder, FrameCursor, FrameHead, Headers, RecordRef, Shaper};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

use super::sample::Sample;

/// Rounds of which the fastest counts.
const ROUNDS: usize = 5;
/// Time after which there are no further rounds.
const ENOUGH: Duration = Duration::from_secs(3);
const HEAD: FrameHead = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
const SLOT: Slot = Slot(0);

/// Size of a sample, and the time that making and reading it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) bytes: usize,
    pub(super) encode: Option<f64>,
    pub(super) decode: Option<f64>,
}

/// Value of `wan.compression`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method(Codec);

impl Method {
    pub(super) const ALL: [Self; 6] = [
        Self(Codec::None),
        Self(Codec::Lz4),
        Self(Codec::Zstd(1)),
        Self(Codec::Zstd(3)),
        Self(Codec::Shape(1)),
        Self(Codec::Shape(3)),
    ];

    /// Measures frames of `frame` bytes, as a link makes them once it has learned the sample's templates.
    pub(super) fn measure(self, sample: &Sample, frame: usize) -> Measured {
        let mut link = Link::new(self.0, frame);
        let began = Instant::now();
        let mut encode = Duration::MAX;
        let mut frames = Vec::new();
        for _ in 0..ROUNDS {
            let round = Instant::now();
            frames = link.send(sample);
            // What is learned later takes effect in the next round.
            encode = encode.min(round.elapsed());
            link.learn();
            if began.elapsed() > ENOUGH {
                break;
            }
        }
        let mut decode = Duration::MAX;
        for _ in 0..ROUNDS {
            let round = Instant::now();
            frames.iter().for_each(read);
            decode = decode.min(round.elapsed());
        }
        let bytes = frames.iter().map(Bytes::len).sum();
        Measured { bytes, encode: Some(encode.as_secs_f64()), decode: Some(decode.as_secs_f64()) }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sending half of a lane with one partition.
struct Link {
    codec: Codec,
    frame: usize,
    builder: FrameBuilder,
    shaper: Shaper,
    jobs: std::sync::mpsc::Receiver<Job>,
}

impl Link {
    fn new(codec: Codec, frame: usize) -> Self {
        let (library, jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        shaper.join(SLOT, &Arc::from("sample"));
        Self { codec, frame, builder: FrameBuilder::new(), shaper, jobs }
    }

    fn send(&mut self, sample: &Sample) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (number, value) in sample.records().iter().enumerate() {
            let number = number as i64;
            let record = RecordRef {
                offset: Offset(number),
                timestamp: 1_700_000_000_000 + number,
                key: None,
                value: Some(value),
                headers: Headers::EMPTY,
            };
            if !self.builder.is_empty() && self.builder.raw_len() + record.raw_len() > self.frame {
                frames.push(self.finish());
            }
            self.builder.push(SLOT, Position(number), 0, &record);
        }
        frames.push(self.finish());
        frames
    }

    fn finish(&mut self) -> Bytes {
        self.builder.finish_with(HEAD, self.codec, &mut self.shaper)
    }

    fn learn(&self) {
        self.jobs.try_iter().for_each(Job::learn);
    }
}

/// Reads a frame as a receiver does, up to its records.
fn read(frame: &Bytes) {
    let frame = Frame::decode(frame.clone()).expect("a frame of this process");
    let mut cursor = FrameCursor::default();
    while frame.next(&mut cursor).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_the_sample_and_shapes_make_it_small() {
        let lines: Vec<String> = (0..9_000).map(|n| format!("{{\"id\":{n},\"price\":{}}}", n * 7 % 1_000)).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let sample = Sample::read(file.path()).unwrap();
        let mut link = Link::new(Codec::Shape(1), 1 << 16);
        for _ in 0..3 {
            let mut values = Vec::new();
            for frame in link.send(&sample) {
                let frame = Frame::decode(frame).unwrap();
                let mut cursor = FrameCursor::default();
                while let Some(step) = frame.next(&mut cursor) {
                    if let wire::frame::Step::Record(_, record) = step {
                        values.push(record.value.unwrap().to_vec());
                    }
                }
            }
            assert_eq!(values, sample.records());
            link.learn();
        }
        let [plain, shaped] =
            [Codec::Zstd(1), Codec::Shape(1)].map(|codec| Method(codec).measure(&sample, 1 << 16).bytes);
        assert!(shaped * 2 < plain, "{shaped} bytes with shapes, {plain} without");
    }
}
