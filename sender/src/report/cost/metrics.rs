//! Metrics of the cost meter. Topics beyond a limit share one series.

use service::metrics::Metric;

use super::CostStatus;
use super::meter::Counted;

/// Values that the metrics are made of.
#[derive(Debug, Default)]
pub(crate) struct CostReading {
    pub cost: CostStatus,
    /// Bytes of topics with series of their own, and of all others, by name.
    pub series: Vec<(String, Counted)>,
}

impl CostReading {
    fn by_topic(&self, of: impl Fn(&Counted) -> Option<u64>) -> Vec<(String, u64)> {
        self.series.iter().filter_map(|(topic, counted)| Some((topic.clone(), of(counted)?))).collect()
    }
}

pub(crate) const METRICS: &[Metric<CostReading>] = service::metrics! {
    Counters "causeway_sender_topic_record_bytes" by "topic", |r| r.by_topic(|counted| Some(counted.record_bytes)),
        "Bytes of acked keys, values and headers; (others): those beyond 100 topics, and gone ones";
    Counters "causeway_sender_topic_wire_bytes" by "topic", |r| r.by_topic(|counted| Some(counted.wire_bytes)),
        "IP bytes sent, with a share of headers, acks and repairs";
    Counters "causeway_sender_topic_source_bytes" by "topic", |r| r.by_topic(|counted| counted.source_bytes),
        "Bytes of the producers' own batches; absent while unknown";
    Counter "causeway_sender_no_topic_bytes", |r| r.cost.no_topic_bytes,
        "IP bytes sent while no frame was in flight";
    Gauges "causeway_sender_price_per_gigabyte" by "currency",
        |r| r.cost.price_per_gb.map(|price| (r.cost.currency.clone(), price)).into_iter().collect(),
        "cost.price_per_gb; absent without one";
    Gauge "causeway_sender_cost_per_month", |r| r.cost.total.cost_per_month,
        "Money per month at the rate of up to 15 min";
    Gauge "causeway_sender_cost_saved", |r| r.cost.total.saved,
        "Money that the producers' own batches would have cost more";
};
