//! Cost of a link: what each topic takes on the wire, what the batches of its producers would take, and both in money. The
//! doc comments of the fields are the text of the reference page.

pub(crate) mod meter;
pub(crate) mod metrics;

use serde::{Deserialize, Serialize};

use crate::config::CostConfig;
use meter::{CostMeter, Counted};

/// Bytes of a gigabyte, as clouds count them.
const GIGABYTE: f64 = 1e9;
const DAY: f64 = 86_400.0;
/// Seconds of a month: a twelfth of a year.
const MONTH: f64 = 365.25 / 12.0 * DAY;

/// Cost of a link since the process started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CostStatus {
    /// Setting `cost.price_per_gb`; without it all money is `null`.
    pub price_per_gb: Option<f64>,
    /// Currency of all money.
    pub currency: String,
    /// Time for which bytes are counted, in seconds: since the process started.
    pub since_seconds: f64,
    /// Time over which rates are measured, in seconds: up to 15 min.
    pub rate_seconds: f64,
    /// IP bytes that left for the receiver, by the sockets: those of all topics and the next two.
    pub sent_bytes: u64,
    /// Bytes sent while no frame was in flight: handshakes, keep-alives, offers.
    pub no_topic_bytes: u64,
    /// Bytes of frames in flight, shared out once these are acked.
    pub in_flight_bytes: u64,
    /// Sum of all.
    pub total: TopicCost,
    /// Topics that are no longer carried
    pub gone: TopicCost,
    /// Carried topics, the most expensive first
    pub topics: Vec<TopicCost>,
}

/// Cost of a topic since the process started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicCost {
    /// Topic; empty for a sum.
    pub topic: String,
    /// Records in acked frames.
    pub records: u64,
    /// Bytes of their keys, values and headers.
    pub record_bytes: u64,
    /// IP bytes on the wire, with a share of headers, acks and repairs.
    pub wire_bytes: u64,
    /// Bytes of records for each of these.
    pub ratio: Option<f64>,
    /// Bytes of the producers' own batches, as this sender fetched them; `null` while unknown.
    pub source_bytes: Option<u64>,
    /// Rate on the wire.
    pub wire_bytes_per_second: f64,
    /// Money for these bytes.
    pub cost: Option<f64>,
    /// Money at that rate.
    pub cost_per_day: Option<f64>,
    /// The same for a month.
    pub cost_per_month: Option<f64>,
    /// Money that their own batches would have cost more.
    pub saved: Option<f64>,
}

impl CostStatus {
    /// Returns the cost of what `meter` has counted, of which the sockets have sent so many bytes by now.
    pub(crate) fn of(meter: &CostMeter, prices: &CostConfig, sent_bytes: u64, seconds: f64) -> Self {
        let price = prices.price_per_gb;
        let mut topics: Vec<_> =
            meter.topics().map(|(name, counted, rate)| TopicCost::of(name, counted, rate, price)).collect();
        topics.sort_by(|a, b| b.wire_bytes.cmp(&a.wire_bytes).then_with(|| a.topic.cmp(&b.topic)));
        let (gone, gone_rate) = meter.gone();
        let (shared, rate) = meter.total();
        let total = Counted { wire_bytes: sent_bytes, ..shared };
        Self {
            price_per_gb: price,
            currency: prices.currency.to_string(),
            since_seconds: seconds,
            rate_seconds: meter.rate_seconds(),
            sent_bytes,
            no_topic_bytes: meter.no_topic_bytes(),
            in_flight_bytes: sent_bytes.saturating_sub(shared.wire_bytes),
            total: TopicCost::of("", total, rate, price),
            gone: TopicCost::of("", gone, gone_rate, price),
            topics,
        }
    }
}

impl TopicCost {
    /// `rate` is in bytes on the wire per second.
    fn of(topic: &str, counted: Counted, rate: f64, price: Option<f64>) -> Self {
        let Counted { records, record_bytes, wire_bytes, source_bytes } = counted;
        // Records whose batches were not counted yet: 0 would be wrong.
        let source_bytes = source_bytes.filter(|bytes| *bytes > 0 || record_bytes == 0);
        let money = |bytes: f64| price.map(|price| bytes / GIGABYTE * price);
        let saved = source_bytes.map(|source| source as f64 - wire_bytes as f64);
        Self {
            topic: topic.to_owned(),
            records,
            record_bytes,
            wire_bytes,
            ratio: (wire_bytes > 0 && record_bytes > 0).then(|| record_bytes as f64 / wire_bytes as f64),
            source_bytes,
            wire_bytes_per_second: rate,
            cost: money(wire_bytes as f64),
            cost_per_day: money(rate * DAY),
            cost_per_month: money(rate * MONTH),
            saved: saved.and_then(money),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Counted =
        Counted { records: 10, record_bytes: 8_000, wire_bytes: 2_000_000_000, source_bytes: Some(5_000_000_000) };

    #[test]
    fn bytes_become_money() {
        let cost = TopicCost::of("a", COUNTED, 1e3, Some(0.02));
        assert_eq!((cost.cost, cost.saved), (Some(0.04), Some(0.06)));
        let close = |found: Option<f64>, wanted: f64| (found.unwrap() - wanted).abs() < wanted * 1e-9;
        assert!(close(cost.cost_per_day, 0.02 * 86.4e6 / 1e9), "{cost:?}");
        assert!(close(cost.cost_per_month, 0.02 * 2_629_800.0 * 1e3 / 1e9), "{cost:?}");
        let without = TopicCost::of("a", COUNTED, 1e3, None);
        assert_eq!((without.cost, without.saved, without.wire_bytes), (None, None, 2_000_000_000));
    }

    #[test]
    fn what_was_not_counted_is_unknown_and_not_0() {
        for source_bytes in [None, Some(0)] {
            let cost = TopicCost::of("a", Counted { source_bytes, ..COUNTED }, 1.0, Some(0.02));
            assert_eq!((cost.source_bytes, cost.saved), (None, None));
        }
        let cost = TopicCost::of("a", Counted::default(), 0.0, Some(0.02));
        assert_eq!((cost.ratio, cost.cost), (None, Some(0.0)));
    }
}
