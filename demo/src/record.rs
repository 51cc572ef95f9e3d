//! The records of the demo: orders, payments and positions of trucks.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;
use rand::rngs::StdRng;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};

/// Topics and their numbers of partitions, enough for several lanes to have work.
pub(crate) const TOPICS: [(&str, i32); 3] = [("orders", 6), ("payments", 4), ("positions", 2)];
/// Header with the number of a record in its partition, from 0. Only the journal reads it.
const NUMBER: &str = "n";
/// A record in this many has no value, as in a compacted topic that deletes a key.
const TOMBSTONE_EVERY: u32 = 500;

/// A header: its name and its value, where null differs from empty.
type NamedHeader = (String, Option<Vec<u8>>);

/// The parts of a record that must arrive as they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Time in ms since the Unix epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<NamedHeader>,
}

impl Record {
    pub(crate) fn make(topic: &str, number: u64, rng: &mut StdRng) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let (key, value) = match topic {
            "orders" => order(timestamp, rng),
            "payments" => payment(timestamp, rng),
            _ => position(timestamp, rng),
        };
        let tombstone = rng.random_range(0..TOMBSTONE_EVERY) == 0;
        Self {
            timestamp,
            key: Some(key.into_bytes()),
            value: (!tombstone).then(|| value.into_bytes()),
            headers: vec![
                (NUMBER.to_owned(), Some(number.to_be_bytes().to_vec())),
                ("origin".to_owned(), Some(b"fra".to_vec())),
            ],
        }
    }

    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
        Self {
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map_or_else(Vec::new, |headers| headers.iter().map(header).collect()),
        }
    }

    /// The number of the record in its partition, from its header.
    pub(crate) fn number(&self) -> Option<u64> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == NUMBER)?;
        Some(u64::from_be_bytes(value.as_deref()?.try_into().ok()?))
    }

    /// Bytes of key, value and headers.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + size(value)).sum();
        (size(&self.key) + size(&self.value) + headers) as u64
    }

    /// The headers in the form that the producer takes.
    pub(crate) fn kafka_headers(&self) -> OwnedHeaders {
        let headers = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers
            .iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }))
    }
}

fn order(at: i64, rng: &mut StdRng) -> (String, String) {
    const ITEMS: [&str; 6] = ["espresso beans", "filter papers", "kettle", "grinder", "milk jug", "descaler"];
    let customer = rng.random_range(0..20_000);
    let mut total = 0;
    let lines = (0..rng.random_range(1..=3)).map(|_| {
        let item = rng.random_range(0..ITEMS.len());
        let quantity = rng.random_range(1..=4);
        let cents = rng.random_range(290..9_900);
        total += cents * quantity;
        let sku = 40_100 + item;
        format!(r#"{{"sku":"{sku}","name":"{}","quantity":{quantity},"unit_price_cents":{cents}}}"#, ITEMS[item])
    });
    let lines = lines.collect::<Vec<_>>().join(",");
    let value = format!(
        r#"{{"type":"order.placed","order":"{:08x}","customer":"c-{customer:06}","placed_at":{at},"currency":"EUR","total_cents":{total},"lines":[{lines}]}}"#,
        rng.random::<u32>()
    );
    (format!("c-{customer:06}"), value)
}

fn payment(at: i64, rng: &mut StdRng) -> (String, String) {
    const STATES: [&str; 4] = ["authorised", "captured", "captured", "refunded"];
    let order = rng.random::<u32>();
    let value = format!(
        r#"{{"type":"payment.{}","order":"{order:08x}","method":"card","scheme":"visa","reference":"{:016x}","amount_cents":{},"currency":"EUR","at":{at}}}"#,
        STATES[rng.random_range(0..STATES.len())],
        rng.random::<u64>(),
        rng.random_range(290..40_000),
    );
    (format!("{order:08x}"), value)
}

fn position(at: i64, rng: &mut StdRng) -> (String, String) {
    let truck = rng.random_range(0..400);
    let value = format!(
        r#"{{"truck":"HH-{truck:04}","at":{at},"latitude":{:.5},"longitude":{:.5},"speed_kmh":{},"heading":{},"fuel_percent":{}}}"#,
        53.5 + rng.random::<f64>(),
        9.9 + rng.random::<f64>(),
        rng.random_range(0..90),
        rng.random_range(0..360),
        rng.random_range(5..100),
    );
    (format!("HH-{truck:04}"), value)
}
