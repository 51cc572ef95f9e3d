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
use wire::frame::{
    FrameBuilder, FrameCursor, FrameHead, Headers, IntactFrame, LaneDecoder, RecordRef, Shaper, StateBound,
};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

const HEAD: FrameHead = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
/// Codecs, and the bytes of their state.
const METHODS: [(Codec, u64); 5] =
    [(Codec::Lz4, 0), (Codec::Zstd(1), 0), (Codec::Zstd(3), 0), (Codec::Shape(1), 0), (Codec::Shape(1), 2 << 20)];
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
            for (codec, state) in METHODS {
                let mut link = Link::new(codec, state);
                let mut encode = Duration::MAX;
                let mut frames = Vec::new();
                for _ in 0..ROUNDS {
                    let round = Instant::now();
                    frames = link.send(&records, size);
                    encode = encode.min(round.elapsed());
                    link.jobs.try_iter().for_each(Job::learn);
                }
                let decode = (0..ROUNDS).map(|_| time(|| read(&frames, state))).min().unwrap_or_default();
                if codec == Codec::Zstd(1) {
                    plain = frames.iter().map(Bytes::len).collect();
                }
                if let (Codec::Shape(_), 0) = (codec, state) {
                    let excess =
                        frames.iter().zip(&plain).map(|(frame, plain)| frame.len().saturating_sub(*plain)).max();
                    println!("{name:<14} {size:>8}: at most {} bytes more than zstd:1", excess.unwrap_or_default());
                }
                let packed: usize = frames.iter().map(Bytes::len).sum();
                let shaped = frames.iter().filter(|frame| matches!(frame[4], id::SHAPE | id::STATE)).count();
                let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
                println!(
                    "{name:<14} {size:>8} {:>8} {:>8.2} {:>8.0} {:>8.0} {:>6}%",
                    if state > 0 { "state".to_owned() } else { codec.to_string() },
                    bytes as f64 / packed as f64,
                    speed(encode),
                    speed(decode),
                    shaped * 100 / frames.len()
                );
            }
        }
        for (codec, state) in METHODS {
            let mut link = Link::new(codec, state);
            link.send(&records, 1 << 20);
            link.jobs.try_iter().for_each(Job::learn);
            let two = &records[..2];
            let spent = (0..ROUNDS).map(|_| time(|| (0..SMALL).for_each(|_| drop(link.send(two, 1 << 20))))).min();
            let spent = spent.unwrap_or_default() / SMALL;
            println!(
                "{name:<14} a frame of two records: {codec}, {state} bytes of state: {:.2} us",
                spent.as_secs_f64() * 1e6
            );
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
    state: Option<StateBound>,
    builder: FrameBuilder,
    shaper: Shaper,
    jobs: std::sync::mpsc::Receiver<Job>,
}

impl Link {
    fn new(codec: Codec, state: u64) -> Self {
        let (library, jobs) = Library::new();
        let state = StateBound::within(state);
        Self { codec, state, builder: FrameBuilder::new(), shaper: Shaper::new(library), jobs }
    }

    /// Makes the frames of these records, as those of a new epoch.
    fn send(&mut self, records: &[&[u8]], size: usize) -> Vec<Bytes> {
        self.shaper.begin(self.state);
        self.shaper.join(Slot(0), &Arc::from("sample"));
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

fn read(frames: &[Bytes], state: u64) {
    let mut decoder = LaneDecoder::new(StateBound::within(state));
    for frame in frames {
        let frame = IntactFrame::check(frame.clone()).expect("a frame of this process");
        let frame = decoder.decode(&frame).expect("the next frame of this process");
        let mut cursor = FrameCursor::default();
        while frame.next(&mut cursor).is_some() {}
    }
}
