//! Records that producers write, and digests by which a record is recognised at the target.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use xxhash_rust::xxh3::Xxh3;

/// Record to be written. `None` is Kafka's null, which is not the same as empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key of the record.
    pub key: Option<Vec<u8>>,
    /// Value of the record; null is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in their order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Timestamp in milliseconds since 1970. The stock client cannot write 0: it writes the current time instead.
    pub timestamp: i64,
}

impl Record {
    /// Makes a random record with a value of at most `value_max` bytes; sizes are spread evenly over the orders of
    /// magnitude. Keys, values and headers are sometimes null and sometimes empty.
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

    /// Makes a record of each line of a text file, with timestamps of 2013 a millisecond apart, and distributes them
    /// over the partitions.
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

    /// Returns the digest by which the record is recognised at the target.
    pub fn digest(&self) -> u64 {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        digest(self.key.as_deref(), self.value.as_deref(), headers, self.timestamp)
    }

    /// Returns its headers as the stock client takes them; `None` if there are none.
    pub fn owned_headers(&self) -> Option<OwnedHeaders> {
        let insert = |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
            headers.insert(Header { key, value: value.as_deref() })
        };
        (!self.headers.is_empty()).then(|| self.headers.iter().fold(OwnedHeaders::new(), insert))
    }
}

/// Makes small records, a millisecond apart, with these numbers as keys and in their values.
pub fn small(numbers: Range<i64>) -> Vec<Record> {
    numbers.map(|number| numbered(number, format!("value {number}").into_bytes())).collect()
}

/// Makes bytes that do not compress.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(byte).collect()
}

/// Makes a record as [`small`] does, with another value.
pub fn numbered(number: i64, value: Vec<u8>) -> Record {
    Record {
        key: Some(number.to_be_bytes().to_vec()),
        value: Some(value),
        headers: Vec::new(),
        timestamp: 1_760_000_000_000 + number,
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

/// Makes up to `max` bytes, half of which compress, as those of real records do.
fn random_bytes(rng: &mut StdRng, max: usize) -> Vec<u8> {
    let magnitude = rng.random_range(0.0..=(max as f64 + 1.0).log2());
    let length = (magnitude.exp2() as usize).min(max);
    let mut bytes = vec![b'-'; length];
    rng.fill_bytes(&mut bytes[..length.div_ceil(2)]);
    bytes
}

/// Returns what is noted of a record that was read.
pub fn entry_of(message: &BorrowedMessage<'_>) -> Entry {
    Entry { offset: message.offset(), digest: digest_of(message) }
}

/// Returns what is noted of a copy that `causeway salvage` has made: offset and digest as they were at the source.
pub fn copied_entry_of(message: &BorrowedMessage<'_>) -> Entry {
    let mut headers: Vec<_> = headers_of(message).collect();
    let coordinates = headers.split_off(headers.len().saturating_sub(4));
    let text = |name: &str| {
        let found = coordinates.iter().find(|(key, _)| *key == name).and_then(|(_, value)| *value);
        std::str::from_utf8(found.expect("a copy has coordinates")).expect("they are text").to_owned()
    };
    assert_eq!(text("causeway.partition"), message.partition().to_string());
    assert!(message.topic().starts_with(&text("causeway.topic")) && !text("causeway.link").is_empty());
    let digest = digest(message.key(), message.payload(), headers.into_iter(), timestamp_of(message));
    Entry { offset: text("causeway.offset").parse().expect("it is a number"), digest }
}

/// Returns the digest of a record that was read.
pub fn digest_of(message: &BorrowedMessage<'_>) -> u64 {
    digest(message.key(), message.payload(), headers_of(message), timestamp_of(message))
}

fn headers_of<'m>(message: &'m BorrowedMessage<'_>) -> impl Iterator<Item = (&'m str, Option<&'m [u8]>)> {
    message.headers().into_iter().flat_map(|headers| headers.iter()).map(|header| (header.key, header.value))
}

fn timestamp_of(message: &BorrowedMessage<'_>) -> i64 {
    message.timestamp().to_millis().unwrap_or(-1)
}

fn digest<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    timestamp: i64,
) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: Option<&[u8]>| {
        // The length comes first, so that a byte moved from the key to the value is a change. Null has a length of its
        // own.
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

/// Record in a partition, for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the record.
    pub offset: i64,
    /// Digest of the record.
    pub digest: u64,
}

/// Records by topic and partition, each in the order of its offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    partitions: BTreeMap<(String, i32), Vec<Entry>>,
}

impl Contents {
    /// Adds a record, in the order of offsets.
    pub fn add(&mut self, topic: &str, partition: i32, entry: Entry) {
        let entries = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let place = entries.partition_point(|other| other.offset <= entry.offset);
        entries.insert(place, entry);
    }

    /// Adds all records of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (topic, partition, entries) in other.iter() {
            entries.iter().for_each(|&entry| self.add(topic, partition, entry));
        }
    }

    /// Returns the records of one partition.
    pub fn partition(&self, topic: &str, partition: i32) -> &[Entry] {
        self.partitions.get(&(topic.to_owned(), partition)).map_or(&[], Vec::as_slice)
    }

    /// Returns the digests of one partition's records, in their order.
    pub fn digests(&self, topic: &str, partition: i32) -> Vec<u64> {
        self.partition(topic, partition).iter().map(|entry| entry.digest).collect()
    }

    /// Returns the records of one partition only.
    pub fn only(&self, topic: &str, partition: i32) -> Self {
        let mut only = Self::default();
        self.partition(topic, partition).iter().for_each(|entry| only.add(topic, partition, *entry));
        only
    }

    /// Returns all records but the one at this offset.
    pub fn without(&self, topic: &str, partition: i32, offset: i64) -> Self {
        let mut rest = self.clone();
        if let Some(entries) = rest.partitions.get_mut(&(topic.to_owned(), partition)) {
            entries.retain(|entry| entry.offset != offset);
        }
        rest
    }

    /// Returns every partition that has records.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &[Entry])> {
        self.partitions.iter().map(|((topic, partition), entries)| (topic.as_str(), *partition, entries.as_slice()))
    }

    /// Returns the topics that have records, each once.
    pub fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self.iter().map(|(topic, ..)| topic).collect();
        topics.dedup();
        topics
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// Checks whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}
