//! Measures whole frames of records, the lines of files: bytes, and time to make and read them, by codec and size.
//!
//! `cargo run --release -p causeway-wire --example frames -- FILE ...`
//!
//! Corpora come from `cargo run --release -p causeway-shape --example bytes -- --write DIRECTORY [FILE ...]`.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shape::{Job, Library};
use wire::compress::{Codec, id};
use wire::frame::{Frame, FrameBuilder, FrameCursor, FrameHead, Headers, RecordRef, Shaper};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

const HEAD: FrameHead = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
const CODECS: [Codec; 4] = [Codec::Lz4, Codec::Zstd(1), Codec::Zstd(3), Codec::Shape(1)];
const SIZES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 1 << 20];
const ROUNDS: usize = 5;
/// Frames of two records that are timed together.
const SMALL: u32 = 2_000;

fn main() -> std::io::Result<()> {
    println!(
        "{:<14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "corpus", "frame", "codec", "ratio", "MB/s in", "out", "shaped"
    );
    for path in std::env::args().skip(1) {
        let name = std::path::Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read(&path)?;
        let records: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let bytes: usize = records.iter().map(|record| record.len()).sum();
        for size in SIZES {
            let mut plain: Vec<usize> = Vec::new();
            for codec in CODECS {
                let mut link = Link::new(codec);
                let mut encode = Duration::MAX;
                let mut frames = Vec::new();
                for _ in 0..ROUNDS {
                    let round = Instant::now();
                    frames = link.send(&records, size);
                    encode = encode.min(round.elapsed());
                    link.jobs.try_iter().for_each(Job::learn);
                }
                let decode = (0..ROUNDS).map(|_| time(|| frames.iter().for_each(read))).min().unwrap_or_default();
                if codec == Codec::Zstd(1) {
                    plain = frames.iter().map(Bytes::len).collect();
                }
                if let Codec::Shape(_) = codec {
                    let excess =
                        frames.iter().zip(&plain).map(|(frame, plain)| frame.len().saturating_sub(*plain)).max();
                    println!("{name:<14} {size:>8}: at most {} bytes more than zstd:1", excess.unwrap_or_default());
                }
                let packed: usize = frames.iter().map(Bytes::len).sum();
                let shaped = frames.iter().filter(|frame| frame[4] == id::SHAPE).count();
                let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
                println!(
                    "{name:<14} {size:>8} {:>8} {:>8.2} {:>8.0} {:>8.0} {:>6}%",
                    codec.to_string(),
                    bytes as f64 / packed as f64,
                    speed(encode),
                    speed(decode),
                    shaped * 100 / frames.len()
                );
            }
        }
        for codec in CODECS {
            let mut link = Link::new(codec);
            link.send(&records, 1 << 20);
            link.jobs.try_iter().for_each(Job::learn);
            let two = &records[..2];
            let spent = (0..ROUNDS).map(|_| time(|| (0..SMALL).for_each(|_| drop(link.send(two, 1 << 20))))).min();
            let spent = spent.unwrap_or_default() / SMALL;
            println!("{name:<14} a frame of two records: {codec} {:.2} us", spent.as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

struct Link {
    codec: Codec,
    builder: FrameBuilder,
    shaper: Shaper,
    jobs: std::sync::mpsc::Receiver<Job>,
}

impl Link {
    fn new(codec: Codec) -> Self {
        let (library, jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        shaper.join(Slot(0), &Arc::from("sample"));
        Self { codec, builder: FrameBuilder::new(), shaper, jobs }
    }

    fn send(&mut self, records: &[&[u8]], size: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (number, value) in records.iter().enumerate() {
            let number = number as i64;
            let record = RecordRef {
                offset: Offset(number),
                timestamp: 1_700_000_000_000 + number / 3,
                key: None,
                value: Some(value),
                headers: Headers::EMPTY,
            };
            if !self.builder.is_empty() && self.builder.raw_len() + record.raw_len() > size {
                frames.push(self.builder.finish_with(HEAD, self.codec, &mut self.shaper));
            }
            self.builder.push(Slot(0), Position(number), 0, &record);
        }
        frames.push(self.builder.finish_with(HEAD, self.codec, &mut self.shaper));
        frames
    }
}

fn read(frame: &Bytes) {
    let frame = Frame::decode(frame.clone()).expect("a frame of this process");
    let mut cursor = FrameCursor::default();
    while frame.next(&mut cursor).is_some() {}
}
