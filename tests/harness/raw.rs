//! Record batches over Kafka's protocol, without a client library, for records that no library can write or read.
//!
//! librdkafka writes the current time in place of a timestamp of 0 and cuts header keys at a NUL; its Rust wrapper
//! panics at a header key that is not UTF-8. Topics must be uncompressed, and the cluster must have one node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;
use crate::wait::until_ok;

/// Key and version of an API of Kafka.
#[derive(Debug, Clone, Copy)]
struct Api {
    key: i16,
    version: i16,
}

// The oldest versions that Kafka 4 supports, which have no flexible encodings.
const PRODUCE: Api = Api { key: 0, version: 3 };
const FETCH: Api = Api { key: 1, version: 4 };

/// Length of a batch's header in bytes, and of the part of it that the length field does not count.
const BATCH_HEADER: usize = 61;
const BATCH_PREFIX: usize = 12;

/// Attribute bits of a batch: a transaction marker, and the codec.
const CONTROL: i16 = 0x20;
const CODEC: i16 = 0x07;

/// Error codes for an unknown partition, no leader, and another leader.
const NO_LEADER: [i16; 3] = [3, 5, 6];

const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a fetch at most.
const FETCH_BYTES: i32 = 16 << 20;

/// Record as Kafka stores it, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Timestamp in milliseconds since 1970; −1 for none.
    pub timestamp: i64,
    /// Key of the record.
    pub key: Option<Vec<u8>>,
    /// Value of the record.
    pub value: Option<Vec<u8>>,
    /// Headers in their order; keys are any bytes.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Appends `records` to a partition, as one uncompressed batch. Waits until the broker leads the partition: topics are
/// created before brokers lead them. Any other refusal is an error.
pub fn append(cluster: &Cluster, topic: &str, partition: i32, records: &[RawRecord]) -> Result<()> {
    let batch = batch_of(records);
    until_ok(&format!("a leader of {topic}/{partition}"), TIMEOUT, || match send(cluster, topic, partition, &batch)? {
        0 => Ok(Some(())),
        code if NO_LEADER.contains(&code) => Ok(None),
        code => bail!("{topic}/{partition} refuses a batch: error code {code}"),
    })
}

/// Sends a batch and returns the broker's error code.
fn send(cluster: &Cluster, topic: &str, partition: i32, batch: &[u8]) -> Result<i16> {
    let mut body = Vec::new();
    put_string(&mut body, None);
    body.extend((-1i16).to_be_bytes());
    body.extend((TIMEOUT.as_millis() as i32).to_be_bytes());
    put_partition(&mut body, topic, partition);
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    let answer = ask(cluster, PRODUCE, &body)?;
    let mut answer = Cursor(&answer);
    answer.take(4)?;
    answer.string()?;
    answer.take(4 + 4)?;
    answer.i16()
}

/// Reads all records of a partition from its start, without transaction markers.
pub fn fetch(cluster: &Cluster, topic: &str, partition: i32) -> Result<Vec<RawRecord>> {
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        let bytes = fetch_from(cluster, topic, partition, next)?;
        let mut batches = Cursor(&bytes);
        let before = next;
        // The last batch of a response may be cut off.
        while let Some(batch) = batches.batch()? {
            next = batch.next;
            found.extend(batch.records);
        }
        if next == before {
            return Ok(found);
        }
    }
}

/// Returns the bytes of all batches of a partition, compressed or not, as the log has them: at most 16 MiB.
pub fn log_bytes(cluster: &Cluster, topic: &str, partition: i32) -> Result<u64> {
    let bytes = fetch_from(cluster, topic, partition, 0)?.len();
    ensure!(bytes < FETCH_BYTES as usize, "{topic}/{partition} has {bytes} bytes or more");
    Ok(bytes as u64)
}

fn fetch_from(cluster: &Cluster, topic: &str, partition: i32, offset: i64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for number in [-1i32, 0, 0, FETCH_BYTES] {
        body.extend(number.to_be_bytes());
    }
    // Isolation level 1: only committed records.
    body.push(1);
    put_partition(&mut body, topic, partition);
    body.extend(offset.to_be_bytes());
    body.extend(FETCH_BYTES.to_be_bytes());
    let answer = ask(cluster, FETCH, &body)?;
    let mut answer = Cursor(&answer);
    answer.take(4 + 4)?;
    answer.string()?;
    answer.take(4 + 4)?;
    let code = answer.i16()?;
    ensure!(code == 0, "{topic}/{partition} cannot be fetched: error code {code}");
    // High watermark and last stable offset, then the id and first offset of each aborted transaction.
    answer.take(8 + 8)?;
    let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(aborted * 16)?;
    let length = usize::try_from(answer.i32()?).unwrap_or(0);
    Ok(answer.take(length)?.to_vec())
}

/// Sends one request on a connection of its own, and returns the body of the response.
fn ask(cluster: &Cluster, api: Api, body: &[u8]) -> Result<Vec<u8>> {
    let mut connection = TcpStream::connect(cluster.bootstrap())?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    let mut request = Vec::new();
    request.extend(api.key.to_be_bytes());
    request.extend(api.version.to_be_bytes());
    request.extend(0i32.to_be_bytes());
    put_string(&mut request, Some("causeway-tests"));
    request.extend(body);
    connection.write_all(&(request.len() as i32).to_be_bytes())?;
    connection.write_all(&request)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length))?];
    connection.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}

fn put_string(to: &mut Vec<u8>, text: Option<&str>) {
    to.extend(text.map_or(-1, |text| text.len() as i16).to_be_bytes());
    to.extend(text.unwrap_or_default().as_bytes());
}

/// Writes an array of one topic with an array of one partition.
fn put_partition(to: &mut Vec<u8>, topic: &str, partition: i32) {
    to.extend(1i32.to_be_bytes());
    put_string(to, Some(topic));
    to.extend(1i32.to_be_bytes());
    to.extend(partition.to_be_bytes());
}

fn batch_of(records: &[RawRecord]) -> Vec<u8> {
    let base = records.first().map_or(-1, |record| record.timestamp);
    let max = records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
    // The checksum covers the attributes and everything behind them.
    let mut checked = Vec::new();
    checked.extend(0i16.to_be_bytes());
    checked.extend((records.len() as i32 - 1).to_be_bytes());
    checked.extend(base.to_be_bytes());
    checked.extend(max.to_be_bytes());
    // No producer id, epoch or sequence.
    checked.extend((-1i64).to_be_bytes());
    checked.extend((-1i16).to_be_bytes());
    checked.extend((-1i32).to_be_bytes());
    checked.extend((records.len() as i32).to_be_bytes());
    for (index, record) in records.iter().enumerate() {
        let mut body = vec![0];
        put_varint(&mut body, record.timestamp.wrapping_sub(base));
        put_varint(&mut body, index as i64);
        put_bytes(&mut body, record.key.as_deref());
        put_bytes(&mut body, record.value.as_deref());
        put_varint(&mut body, record.headers.len() as i64);
        for (key, value) in &record.headers {
            put_bytes(&mut body, Some(key));
            put_bytes(&mut body, value.as_deref());
        }
        put_varint(&mut checked, body.len() as i64);
        checked.extend(body);
    }
    let mut batch = Vec::new();
    batch.extend(0i64.to_be_bytes());
    batch.extend((checked.len() as i32 + 9).to_be_bytes());
    batch.extend((-1i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn put_bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(to, bytes.map_or(-1, |bytes| bytes.len() as i64));
    to.extend(bytes.unwrap_or_default());
}

/// Writes a number in zigzag encoding, seven bits per byte.
fn put_varint(to: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        to.push(left as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

struct Batch {
    records: Vec<RawRecord>,
    /// Offset after the batch.
    next: i64,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a response ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.i16()?;
        self.take(usize::try_from(length)?)
    }

    fn varint(&mut self) -> Result<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        bail!("a number has no last byte")
    }

    fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => Ok(Some(self.take(length)?.to_vec())),
            Err(_) => Ok(None),
        }
    }

    /// Returns the next complete batch.
    fn batch(&mut self) -> Result<Option<Batch>> {
        let Some(length) = self.0.get(8..BATCH_PREFIX) else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(length.try_into()?))?;
        if self.0.len() < BATCH_PREFIX + length {
            return Ok(None);
        }
        let mut batch = Cursor(self.take(BATCH_PREFIX + length)?);
        let base_offset = batch.i64()?;
        batch.take(4 + 4 + 1 + 4)?;
        let attributes = batch.i16()?;
        let next = base_offset + i64::from(batch.i32()?) + 1;
        let base_timestamp = batch.i64()?;
        batch.take(BATCH_HEADER - 35)?;
        if attributes & CONTROL != 0 {
            return Ok(Some(Batch { records: Vec::new(), next }));
        }
        ensure!(attributes & CODEC == 0, "the batch is compressed");
        let mut records = Vec::new();
        while !batch.0.is_empty() {
            records.push(batch.record(base_timestamp)?);
        }
        Ok(Some(Batch { records, next }))
    }

    fn record(&mut self, base_timestamp: i64) -> Result<RawRecord> {
        self.varint()?;
        self.take(1)?;
        let timestamp = base_timestamp.wrapping_add(self.varint()?);
        self.varint()?;
        let key = self.bytes()?;
        let value = self.bytes()?;
        let count = self.varint()?;
        let header = |cursor: &mut Self| Ok((cursor.bytes()?.context("a header without a key")?, cursor.bytes()?));
        let headers = (0..count).map(|_| header(self)).collect::<Result<_>>()?;
        Ok(RawRecord { timestamp, key, value, headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_reads_back_unchanged() -> Result<()> {
        let record = |timestamp, key: Option<&[u8]>| RawRecord {
            timestamp,
            key: key.map(<[u8]>::to_vec),
            value: None,
            headers: vec![(vec![0, 0xff], None), (Vec::new(), Some(Vec::new()))],
        };
        let records = vec![record(0, None), record(i64::MAX, Some(b"")), record(-1, Some(b"key"))];
        let batch = batch_of(&records);
        let found = Cursor(&batch).batch()?.context("no batch")?;
        assert_eq!(found.records, records);
        assert_eq!(found.next, 3);
        assert!(Cursor(&batch[..batch.len() - 1]).batch()?.is_none());
        Ok(())
    }

    #[test]
    fn checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
