//! Records: what producers write, and the few bytes by which a record is recognised again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use xxhash_rust::xxh3::Xxh3;

/// A record to be written. `None` is Kafka's null, which is not the same as empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; null is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970. The stock client cannot write 0: it takes it for "now".
    pub timestamp: i64,
}

impl Record {
    /// A random record of at most `value_max` value bytes, sizes spread evenly over the orders of magnitude.
    /// Every kind that Kafka tells apart comes up: null and empty keys, values and headers.
    pub fn random(rng: &mut StdRng, value_max: usize, timestamp: i64) -> Self {
        let key = match rng.random_range(0..100) {
            0..15 => None,
            15..20 => Some(Vec::new()),
            _ => Some(random_bytes(rng, 40)),
        };
        let value = match rng.random_range(0..100) {
            0..5 => None,
            5..8 => Some(Vec::new()),
            _ => Some(random_bytes(rng, value_max)),
        };
        let headers = (0..rng.random_range(0u32..8).saturating_sub(4)).map(|_| random_header(rng)).collect();
        Self { key, value, headers, timestamp }
    }

    /// A text file's lines as values, stamped a millisecond apart in 2013, dealt out over so many partitions.
    pub fn of_lines(file: &Path, partitions: usize) -> Result<Vec<Vec<Self>>> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut slices = vec![Vec::new(); partitions];
        for (number, line) in text.lines().enumerate() {
            let value = Some(line.as_bytes().to_vec());
            let timestamp = 1_357_000_000_000 + number as i64;
            slices[number % partitions].push(Self { key: None, value, headers: Vec::new(), timestamp });
        }
        Ok(slices)
    }

    /// By which it is recognised at the target.
    pub fn digest(&self) -> u64 {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        digest(self.key.as_deref(), self.value.as_deref(), headers, self.timestamp)
    }

    /// Its headers as the stock client wants them; `None` where there are none.
    pub fn owned_headers(&self) -> Option<OwnedHeaders> {
        let insert = |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
            headers.insert(Header { key, value: value.as_deref() })
        };
        (!self.headers.is_empty()).then(|| self.headers.iter().fold(OwnedHeaders::new(), insert))
    }
}

fn random_header(rng: &mut StdRng) -> (String, Option<Vec<u8>>) {
    // Few names, so that they repeat within a record.
    let name = ["trace-id", "origin", "héader", ""][rng.random_range(0..4)].to_owned();
    let value = match rng.random_range(0..4) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(random_bytes(rng, 30)),
    };
    (name, value)
}

/// Up to `max` bytes, half of them compressible as real records are.
fn random_bytes(rng: &mut StdRng, max: usize) -> Vec<u8> {
    let magnitude = rng.random_range(0.0..=(max as f64 + 1.0).log2());
    let length = (magnitude.exp2() as usize).min(max);
    let mut bytes = vec![b'-'; length];
    rng.fill_bytes(&mut bytes[..length.div_ceil(2)]);
    bytes
}

/// The digest of a record that was read.
pub fn digest_of(message: &BorrowedMessage<'_>) -> u64 {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| (header.key, header.value));
    digest(message.key(), message.payload(), headers, message.timestamp().to_millis().unwrap_or(-1))
}

fn digest<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    timestamp: i64,
) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: Option<&[u8]>| {
        // Lengths go in first: what moved from the key to the value is a change. Null has one of its own.
        hash.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    part(key);
    part(value);
    part(Some(&timestamp.to_le_bytes()));
    for (name, value) in headers {
        part(Some(name.as_bytes()));
        part(value);
    }
    hash.digest()
}

/// One record in a partition, as far as comparing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub offset: i64,
    /// What it is.
    pub digest: u64,
}

/// Records by topic and partition, each in the order of its offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    partitions: BTreeMap<(String, i32), Vec<Entry>>,
}

impl Contents {
    /// Adds a record; one that arrives after its successor is put in its place.
    pub fn add(&mut self, topic: &str, partition: i32, entry: Entry) {
        let entries = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let place = entries.partition_point(|other| other.offset <= entry.offset);
        entries.insert(place, entry);
    }

    /// Takes in another's records.
    pub fn merge(&mut self, other: &Self) {
        for (topic, partition, entries) in other.iter() {
            entries.iter().for_each(|&entry| self.add(topic, partition, entry));
        }
    }

    /// The records of one partition.
    pub fn partition(&self, topic: &str, partition: i32) -> &[Entry] {
        self.partitions.get(&(topic.to_owned(), partition)).map_or(&[], Vec::as_slice)
    }

    /// Every partition with records.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &[Entry])> {
        self.partitions.iter().map(|((topic, partition), entries)| (topic.as_str(), *partition, entries.as_slice()))
    }

    /// The topics with records, each once.
    pub fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self.iter().map(|(topic, ..)| topic).collect();
        topics.dedup();
        topics
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}
