//! Measurement of one corpus in blocks of one size.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use shape::{BlockWriter, Decoder, DecoderState, Encoder, EncoderState, Limits, RecordsBuf, Template};

use crate::corpora::Corpus;

/// Runs of which the best counts.
const RUNS: usize = 5;
/// Time of a run, at least.
const LEAST_TIME: Duration = Duration::from_millis(20);
/// Bytes that zstd's level 19 is measured on.
const SLOW_MAX: usize = 1 << 20;

/// Bytes of a state.
const STATE: usize = 4 << 20;
/// Bytes that the template of blocks with state is learned from.
const SAMPLE: usize = 1 << 20;

/// Results for one corpus and one size of blocks.
pub(crate) struct Row<'a> {
    name: &'a str,
    block: usize,
    records: usize,
    bytes: usize,
    shape: usize,
    /// Bytes of blocks with state, those without a template included.
    state: usize,
    /// Most memory of the state: of the codec and of the rest.
    memory: [usize; 2],
    plain: usize,
    /// Bytes of plain zstd-19, and the record bytes in them.
    slow: [usize; 2],
    forms: [usize; 3],
    times: [Duration; 6],
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
        state: 0,
        memory: [0; 2],
        plain: 0,
        slow: [0; 2],
        forms: [0; 3],
        times: [Duration::MAX; 6],
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
    row.measure_state(&blocks);
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
    /// Measures blocks with state, each series of them from the beginning of the state.
    fn measure_state(&mut self, blocks: &[RecordsBuf]) {
        let sample = blocks.iter().flat_map(|block| block.as_records().iter());
        let mut bytes = 0;
        let sample: RecordsBuf = sample.take_while(|record| (bytes < SAMPLE, bytes += record.len()).0).collect();
        let Some(mut template) = Template::learn(sample.as_records()) else { return };
        let mut writer = BlockWriter::new(1);
        let mut encoded: Vec<Vec<u8>> = vec![Vec::new(); blocks.len()];
        let mut encode = |state: &mut EncoderState, records: &RecordsBuf, out: &mut Vec<u8>| {
            out.clear();
            if !writer.write_with(state, 0, &mut template, records.as_records(), out) {
                assert!(writer.pack(records.as_records().bytes(), out), "zstd compresses");
            }
            state.commit();
        };
        let mut state = EncoderState::new(STATE, 1);
        for _ in 0..RUNS {
            self.time(4, || {
                state.reset();
                blocks.iter().zip(&mut encoded).for_each(|(records, out)| encode(&mut state, records, out));
            });
        }
        self.state = encoded.iter().map(Vec::len).sum();
        self.memory = state.memory();
        let mut decoder = Decoder::new(Limits::default());
        let mut back = RecordsBuf::default();
        let mut state = DecoderState::new(STATE);
        let is_known = |block: &&Vec<u8>| block[0] == 3;
        for (records, block) in blocks.iter().zip(&encoded).filter(|(_, block)| is_known(block)) {
            decoder.decode_with(&mut state, block, &mut back).expect("a block");
            assert!(back == *records, "{}: a block with state differs", self.name);
        }
        for _ in 0..RUNS {
            self.time(5, || {
                let known = encoded.iter().filter(is_known);
                known.for_each(|block| decoder.decode_with(&mut state, block, &mut back).expect("a block"));
            });
        }
        self.memory = self
            .memory
            .into_iter()
            .zip(state.memory())
            .map(|(a, b)| a.max(b))
            .collect::<Vec<_>>()
            .try_into()
            .expect("two");
    }

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
            "{:<12} {:>7} {:>6} | {:>6.2} {:>6.2} {:>6.2} {:>6.2} {:>4}%",
            self.name,
            self.block,
            self.bytes / self.records,
            ratio(self.shape, self.bytes),
            ratio(self.state, self.bytes),
            ratio(self.plain, self.bytes),
            ratio(self.slow[0], self.slow[1]),
            self.forms[2] * 100 / blocks,
        )?;
        for first in [0, 4] {
            write!(
                f,
                " | {:>5.0} {:>5.0} {:>6.0} {:>6.0}",
                self.speed(first),
                self.speed(first + 1),
                self.per_record(first),
                self.per_record(first + 1)
            )?;
        }
        let [codec, rest] = self.memory.map(|bytes| bytes >> 10);
        write!(f, " | {:>5.0} {:>5.0} | {codec:>5} {rest:>5}", self.speed(2), self.speed(3))
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
