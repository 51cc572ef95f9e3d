//! Measurement of one corpus in blocks of one size.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use shape::{Decoder, Encoder, Limits, RecordsBuf};

use crate::corpora::Corpus;

/// Runs of which the best counts.
const RUNS: usize = 5;
/// Time of a run, at least.
const LEAST_TIME: Duration = Duration::from_millis(20);
/// Bytes that zstd's level 19 is measured on.
const SLOW_MAX: usize = 1 << 20;

/// Results for one corpus and one size of blocks.
pub(crate) struct Row<'a> {
    name: &'a str,
    block: usize,
    records: usize,
    bytes: usize,
    shape: usize,
    plain: usize,
    /// Bytes of plain zstd-19, and the record bytes in them.
    slow: [usize; 2],
    forms: [usize; 3],
    times: [Duration; 4],
}

/// Measures encoding, decoding and plain zstd.
pub(crate) fn measure(corpus: &Corpus, block: usize) -> Row<'_> {
    let blocks = blocks(&corpus.records, block);
    let plain: Vec<Vec<u8>> = blocks.iter().map(plain_payload).collect();
    let mut row = Row {
        name: &corpus.name,
        block,
        records: blocks.iter().map(|records| records.as_records().len()).sum(),
        bytes: blocks.iter().map(|records| records.as_records().bytes().len()).sum(),
        shape: 0,
        plain: 0,
        slow: [0; 2],
        forms: [0; 3],
        times: [Duration::MAX; 4],
    };
    let mut encoder = Encoder::new(1);
    let mut encoded: Vec<Vec<u8>> = vec![Vec::new(); blocks.len()];
    for _ in 0..RUNS {
        row.time(0, || {
            for (records, out) in blocks.iter().zip(&mut encoded) {
                out.clear();
                encoder.encode(records.as_records(), out);
            }
        });
    }
    row.shape = encoded.iter().map(Vec::len).sum();
    encoded.iter().for_each(|block| row.forms[usize::from(block[0])] += 1);
    let mut decoder = Decoder::new(Limits::default());
    let mut back = RecordsBuf::default();
    for (records, block) in blocks.iter().zip(&encoded) {
        decoder.decode(block, &mut back).expect("a block");
        assert!(back == *records, "{}: a block differs", corpus.name);
    }
    for _ in 0..RUNS {
        row.time(1, || encoded.iter().for_each(|block| decoder.decode(block, &mut back).expect("a block")));
    }
    let mut packed: Vec<Vec<u8>> = Vec::new();
    for _ in 0..RUNS {
        row.time(2, || packed = compress(&plain, 1));
        row.time(3, || expand(&packed, &plain));
    }
    row.plain = packed.iter().map(Vec::len).sum();
    let few = plain.len().min((SLOW_MAX / block).max(1));
    row.slow[0] = compress(&plain[..few], 19).iter().map(Vec::len).sum();
    row.slow[1] = blocks[..few].iter().map(|records| records.as_records().bytes().len()).sum();
    row
}

impl Row<'_> {
    /// Notes the processor time of `work`, if it is the least so far. Short work is repeated.
    fn time(&mut self, which: usize, mut work: impl FnMut()) {
        let start = processor_time();
        let mut times = 0;
        let mut used = Duration::ZERO;
        while used < LEAST_TIME {
            work();
            times += 1;
            used = processor_time() - start;
        }
        self.times[which] = self.times[which].min(used / times);
    }

    fn speed(&self, which: usize) -> f64 {
        self.bytes as f64 / 1e6 / self.times[which].as_secs_f64()
    }

    fn per_record(&self, which: usize) -> f64 {
        self.times[which].as_nanos() as f64 / self.records as f64
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = |packed: usize, bytes: usize| bytes as f64 / packed as f64;
        let blocks: usize = self.forms.iter().sum();
        write!(
            f,
            "{:<12} {:>7} {:>6} | {:>6.2} {:>6.2} {:>6.2} {:>6.2} {:>4}% | {:>5.0} {:>5.0} {:>6.0} {:>6.0} | {:>5.0} {:>5.0}",
            self.name,
            self.block,
            self.bytes / self.records,
            ratio(self.shape, self.bytes),
            ratio(self.plain, self.bytes),
            ratio(self.slow[0], self.slow[1]),
            self.plain as f64 / self.shape as f64,
            self.forms[2] * 100 / blocks,
            self.speed(0),
            self.speed(1),
            self.per_record(0),
            self.per_record(1),
            self.speed(2),
            self.speed(3),
        )
    }
}

/// Splits records into blocks of at least `block` bytes.
fn blocks(records: &[Vec<u8>], block: usize) -> Vec<RecordsBuf> {
    let mut blocks = vec![RecordsBuf::default()];
    for record in records {
        let last = blocks.len() - 1;
        assert!(blocks[last].push(record), "records of a corpus are small");
        if blocks[last].as_records().bytes().len() >= block {
            blocks.push(RecordsBuf::default());
        }
    }
    blocks.retain(|records| !records.as_records().is_empty());
    blocks
}

/// Lengths as LEB128, then the records.
fn plain_payload(records: &RecordsBuf) -> Vec<u8> {
    let records = records.as_records();
    let mut payload = Vec::new();
    for record in records.iter() {
        let mut len = record.len();
        while len >= 128 {
            payload.push(len as u8 | 128);
            len >>= 7;
        }
        payload.push(len as u8);
    }
    payload.extend_from_slice(records.bytes());
    payload
}

fn compress(payloads: &[Vec<u8>], level: i32) -> Vec<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level).expect("a level");
    payloads.iter().map(|payload| compressor.compress(payload).expect("zstd compresses")).collect()
}

fn expand(packed: &[Vec<u8>], payloads: &[Vec<u8>]) {
    let mut decompressor = zstd::bulk::Decompressor::new().expect("a context");
    let mut out = Vec::new();
    for (packed, payload) in packed.iter().zip(payloads) {
        out.clear();
        out.reserve(payload.len());
        decompressor.decompress_to_buffer(packed, &mut out).expect("zstd expands");
    }
}

/// Processor time of this thread where Linux tells it, else the time of a clock.
fn processor_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Linux counts the time of a thread up to the last time that it yielded.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let used = text.split(' ').next().and_then(|number| number.parse().ok()).map(Duration::from_nanos);
    used.unwrap_or_else(|| START.elapsed())
}
