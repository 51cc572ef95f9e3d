//! Metrics of a receiver, read from its board; the names are stable (`docs/reference/metrics.md`).

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service::metrics::{Collection, Metric, Read};

use crate::report::status::{Board, LinkStatus, Status};

/// Makes the registry of a receiver's metrics, which reads `board` at each scrape.
pub fn registry(board: Arc<Board>) -> Registry {
    let mut registry = service::metrics::registry();
    let links = Arc::clone(&board);
    registry.register_collector(Box::new(Collection::new(LINK, move || {
        let links = links.status().links.into_iter();
        links.map(|link| (vec![("link", link.link.clone())], link)).collect()
    })));
    registry.register_collector(Box::new(Collection::new(PROCESS, move || vec![(Vec::new(), board.status())])));
    registry
}

/// Declares a table of metrics: name, help text and reading of each.
macro_rules! metrics {
    ($(#[$doc:meta])* $table:ident: $of:ty; $($name:literal $help:literal $read:expr;)*) => {
        $(#[$doc])*
        const $table: &[Metric<$of>] = &[$(Metric { name: $name, help: $help, read: $read }),*];
    };
}

metrics! {
    LINK: LinkStatus;
    "causeway_receiver_records" "Records committed to the target" Read::Counter(|l| l.counts.records);
    "causeway_receiver_bytes" "Bytes of keys, values and headers committed" Read::Counter(|l| l.counts.bytes);
    "causeway_receiver_transactions" "Transactions committed" Read::Counter(|l| l.counts.transactions);
    "causeway_receiver_holes" "Source offsets that held no record: markers, aborted or compacted away"
        Read::Counter(|l| l.counts.holes);
    "causeway_receiver_recoveries" "Times a transaction's outcome was unknown and its lane recovered from its state"
        Read::Counter(|l| l.counts.recoveries);
    "causeway_receiver_replayed_records" "Records that a replay did not append again because they were committed"
        Read::Counter(|l| l.counts.replayed);
    "causeway_receiver_dropped_frames" "Frames dropped by lanes: duplicates and older epochs"
        Read::Counter(|l| l.counts.frames_dropped);
    "causeway_receiver_dropped_runs" "Runs dropped because their slot was closed"
        Read::Counter(|l| l.counts.runs_dropped);
    "causeway_receiver_altered_timestamps"
        "Records committed with a timestamp of 1 ms in place of 0, which Kafka's client cannot write"
        Read::Counter(|l| l.counts.timestamps_altered);
    "causeway_receiver_halts" "Times a partition was halted; stored halts count again when their lane is opened"
        Read::Counter(|l| l.counts.halts);
    "causeway_receiver_halted_partitions" "Partitions whose halt is stored; an operator must act"
        Read::Gauge(|l| Some(l.halted_partitions as f64));
    "causeway_receiver_orphaned_positions"
        "Stored positions whose partition the sender does not offer: its topic is deleted or not matched"
        Read::Gauge(|l| Some(l.orphaned_positions as f64));
    "causeway_receiver_jumps" "Halts lifted and positions moved, by command or policy"
        Read::Counter(|l| l.counts.jumps);
    "causeway_receiver_moves"
        "Partitions handed over to another lane, because their class changed or is not `default`"
        Read::Counter(|l| l.counts.moves);
    "causeway_receiver_held_bytes" "Compressed bytes that wait for their commit, by lane"
        Read::Gauges("lane", |l| l.by_lane.iter().map(|lane| (lane.lane.to_string(), lane.held_bytes as f64)).collect());
    "causeway_receiver_credit_bytes" "Most bytes that the link's sender may have in flight"
        Read::Gauge(|l| Some(l.credit_bytes as f64));
    "causeway_receiver_lanes" "Lanes of the link; 0 until a sender has connected" Read::Gauge(|l| Some(l.lanes as f64));
    "causeway_receiver_lanes_open" "Lanes that a sender has open" Read::Gauge(|l| Some(l.lanes_open as f64));
    "causeway_receiver_lanes_failing" "Lanes whose target fails; they recover by themselves when it works again"
        Read::Gauge(|l| Some(l.trouble.len() as f64));
    "causeway_receiver_session_active" "1 while a sender has the link, else 0"
        Read::Gauge(|l| Some(f64::from(u8::from(l.sender.is_some()))));
    "causeway_receiver_standbys" "Senders that stand by" Read::Gauge(|l| Some(l.standbys as f64));
    "causeway_receiver_sessions" "Sessions that became active" Read::Counter(|l| l.sessions);
    "causeway_receiver_channels" "Open channels of the session; 0 without one"
        Read::Gauge(|l| Some(l.channels as f64));
    "causeway_receiver_channel_ends" "Further channels that ended while their session continued"
        Read::Counter(|l| l.channel_ends);
    "causeway_receiver_session_closes" "Ended sessions of the link, including those of standbys, by close code"
        Read::Counters("code", |l| l.closes.clone().into_iter().collect());
}

metrics! {
    PROCESS: Status;
    "causeway_receiver_rate_bits_per_second"
        "Limit on the IP bits that this receiver sends per second; absent while there is no limit"
        Read::Gauge(|s| s.rate_bits_per_second.map(|rate| rate as f64));
    "causeway_receiver_sent_bytes" "IP bytes sent to senders, headers from IP on included"
        Read::Counter(|s| s.sent_bytes);
    "causeway_receiver_decode_memory_used_bytes" "Decoded bytes in use by lanes"
        Read::Gauge(|s| Some(s.decode_memory_used_bytes as f64));
    "causeway_receiver_decode_memory_bytes" "Limit on the decoded bytes of all lanes, except for the first frame of each lane"
        Read::Gauge(|s| Some(s.decode_memory_bytes as f64));
    "causeway_receiver_refusals"
        "Peers refused before they had a session, by close code; UNAUTHORIZED where TLS refused them"
        Read::Counters("code", |s| s.refusals.clone().into_iter().collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::LaneStatus;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
    const FIELDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/status.md");

    /// A status in which nothing is unknown or empty.
    fn full() -> Status {
        let lane = LaneStatus { trouble: Some("commit".into()), ..LaneStatus::default() };
        let link = LinkStatus {
            trouble: vec!["lane 0".into()],
            by_lane: vec![lane],
            halted: vec![crate::lane::attention::HaltedPartition::default()],
            orphaned: vec!["orders/0".into()],
            closes: [("NORMAL".to_owned(), 1)].into(),
            ..LinkStatus::default()
        };
        let refusals = [("LINK_UNKNOWN".to_owned(), 1)].into();
        Status {
            rate_bits_per_second: Some(1),
            trouble: vec!["target cluster".into()],
            refusals,
            links: vec![link],
            ..Status::default()
        }
    }

    #[test]
    fn the_published_names_and_fields_are_complete() {
        let mut registry = service::metrics::registry();
        let links = || full().links.into_iter().map(|link| (vec![("link", "a".to_owned())], link)).collect();
        registry.register_collector(Box::new(Collection::new(LINK, links)));
        registry.register_collector(Box::new(Collection::new(PROCESS, || vec![(Vec::new(), full())])));
        let fields = std::fs::read_to_string(FIELDS).unwrap();
        let (_, list) = fields.split_once("<!-- receiver-json -->").unwrap();
        let (list, _) = list.split_once("<!-- /receiver-json -->").unwrap();
        let published = list.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).map(str::to_owned);
        assert_eq!(
            published.collect::<std::collections::BTreeSet<_>>(),
            service::metrics::fields(&serde_json::json!(full()))
        );
        service::metrics::check_page(PAGE.as_ref(), &[("receiver", service::metrics::reference(&registry))]);
    }

    #[test]
    fn every_metric_exists_once_from_the_start() {
        let board = registry(Arc::new(Board::default()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &board).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let names: std::collections::BTreeSet<_> =
            types.filter(|name| name.starts_with("causeway_receiver_")).collect();
        assert_eq!(names.len(), LINK.len() + PROCESS.len());
    }
}
