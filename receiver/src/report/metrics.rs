//! A receiver's metrics: what the board shows, under names that stay (`docs/reference/metrics.md`).

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service::metrics::{Collection, Metric, Read};

use crate::report::status::{Board, LinkStatus, Status};

/// Every metric of a receiver, read from `board` at each scrape.
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

/// Of each link.
const LINK: &[Metric<LinkStatus>] = &[
    Metric {
        name: "causeway_receiver_records",
        help: "Records committed to the target",
        read: Read::Counter(|l| l.counts.records),
    },
    Metric {
        name: "causeway_receiver_bytes",
        help: "Bytes of keys, values and headers committed",
        read: Read::Counter(|l| l.counts.bytes),
    },
    Metric {
        name: "causeway_receiver_transactions",
        help: "Transactions committed",
        read: Read::Counter(|l| l.counts.transactions),
    },
    Metric {
        name: "causeway_receiver_holes",
        help: "Source offsets passed that held no record: markers, aborted or compacted away",
        read: Read::Counter(|l| l.counts.holes),
    },
    Metric {
        name: "causeway_receiver_recoveries",
        help: "Times a transaction's outcome was unknown and its lane recovered from its state",
        read: Read::Counter(|l| l.counts.recoveries),
    },
    Metric {
        name: "causeway_receiver_replayed_records",
        help: "Records that a replay did not append again because they were committed",
        read: Read::Counter(|l| l.counts.replayed),
    },
    Metric {
        name: "causeway_receiver_dropped_frames",
        help: "Frames dropped by lanes: duplicates and older epochs",
        read: Read::Counter(|l| l.counts.frames_dropped),
    },
    Metric {
        name: "causeway_receiver_dropped_runs",
        help: "Runs dropped because their slot was closed",
        read: Read::Counter(|l| l.counts.runs_dropped),
    },
    Metric {
        name: "causeway_receiver_altered_timestamps",
        help: "Records committed with a timestamp of 1 ms in place of 0, which Kafka's client cannot write",
        read: Read::Counter(|l| l.counts.timestamps_altered),
    },
    Metric {
        name: "causeway_receiver_halts",
        help: "Times a partition was halted, a halt that stood already included when its lane is opened again",
        read: Read::Counter(|l| l.counts.halts),
    },
    Metric {
        name: "causeway_receiver_halted_partitions",
        help: "Partitions whose halt is stored; a human must act on each",
        read: Read::Gauge(|l| Some(l.halted_partitions as f64)),
    },
    Metric {
        name: "causeway_receiver_orphaned_positions",
        help: "Stored positions whose partition the sender does not offer: its topic is gone, or not matched any more",
        read: Read::Gauge(|l| Some(l.orphaned_positions as f64)),
    },
    Metric {
        name: "causeway_receiver_jumps",
        help: "Halts lifted and positions moved, by command or policy",
        read: Read::Counter(|l| l.counts.jumps),
    },
    Metric {
        name: "causeway_receiver_moves",
        help: "Partitions handed from one lane to another, because their class changed or is not the default one",
        read: Read::Counter(|l| l.counts.moves),
    },
    Metric {
        name: "causeway_receiver_held_bytes",
        help: "Compressed bytes held until they are committed, by lane",
        read: Read::Gauges("lane", |l| {
            l.by_lane.iter().map(|lane| (lane.lane.to_string(), lane.held_bytes as f64)).collect()
        }),
    },
    Metric {
        name: "causeway_receiver_credit_bytes",
        help: "The most that the link's sender may have under way or held here",
        read: Read::Gauge(|l| Some(l.credit_bytes as f64)),
    },
    Metric {
        name: "causeway_receiver_lanes",
        help: "Lanes of the link; 0 until a sender came",
        read: Read::Gauge(|l| Some(l.lanes as f64)),
    },
    Metric {
        name: "causeway_receiver_lanes_open",
        help: "Lanes that a sender has open",
        read: Read::Gauge(|l| Some(l.lanes_open as f64)),
    },
    Metric {
        name: "causeway_receiver_lanes_failing",
        help: "Lanes whose target fails; they recover by themselves when it is back",
        read: Read::Gauge(|l| Some(l.trouble.len() as f64)),
    },
    Metric {
        name: "causeway_receiver_session_active",
        help: "1 while a sender holds the link, else 0",
        read: Read::Gauge(|l| Some(f64::from(u8::from(l.sender.is_some())))),
    },
    Metric {
        name: "causeway_receiver_standbys",
        help: "Senders that stand by",
        read: Read::Gauge(|l| Some(l.standbys as f64)),
    },
    Metric {
        name: "causeway_receiver_sessions",
        help: "Sessions that took the link",
        read: Read::Counter(|l| l.sessions),
    },
    Metric {
        name: "causeway_receiver_channels",
        help: "Channels of the session that holds the link; 0 without one",
        read: Read::Gauge(|l| Some(l.channels as f64)),
    },
    Metric {
        name: "causeway_receiver_channel_ends",
        help: "Further channels that ended while their session went on",
        read: Read::Counter(|l| l.channel_ends),
    },
    Metric {
        name: "causeway_receiver_session_closes",
        help: "Sessions of the link that ended, those that only stood by included, by close code",
        read: Read::Counters("code", |l| l.closes.clone().into_iter().collect()),
    },
];

/// Of the process.
const PROCESS: &[Metric<Status>] = &[
    Metric {
        name: "causeway_receiver_rate_bits_per_second",
        help: "What this receiver may send, in IP bits; absent while there is no limit",
        read: Read::Gauge(|s| s.rate_bits_per_second.map(|rate| rate as f64)),
    },
    Metric {
        name: "causeway_receiver_sent_bytes",
        help: "IP bytes that left this process for senders, all headers from IP on included",
        read: Read::Counter(|s| s.sent_bytes),
    },
    Metric {
        name: "causeway_receiver_decode_memory_used_bytes",
        help: "Decoded bytes that lanes hold",
        read: Read::Gauge(|s| Some(s.decode_memory_used_bytes as f64)),
    },
    Metric {
        name: "causeway_receiver_decode_memory_bytes",
        help: "Decoded bytes that all lanes may hold, but for the first frame of each",
        read: Read::Gauge(|s| Some(s.decode_memory_bytes as f64)),
    },
    Metric {
        name: "causeway_receiver_refusals",
        help: "Peers refused before they had a session, by close code; UNAUTHORIZED where TLS already refused them",
        read: Read::Counters("code", |s| s.refusals.clone().into_iter().collect()),
    },
];

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
            halted: vec![crate::lane::attention::Halted::default()],
            orphaned: vec!["orders-0".into()],
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
    fn the_published_names_and_fields_are_those_that_a_process_shows() {
        let mut registry = service::metrics::registry();
        let links = || full().links.into_iter().map(|link| (vec![("link", "a".to_owned())], link)).collect();
        registry.register_collector(Box::new(Collection::new(LINK, links)));
        registry.register_collector(Box::new(Collection::new(PROCESS, || vec![(Vec::new(), full())])));
        let page = std::fs::read_to_string(PAGE).unwrap();
        let fields = std::fs::read_to_string(FIELDS).unwrap();
        let (_, list) = fields.split_once("<!-- receiver-json -->").unwrap();
        let (list, _) = list.split_once("<!-- /receiver-json -->").unwrap();
        let published = list.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).map(str::to_owned);
        assert_eq!(
            published.collect::<std::collections::BTreeSet<_>>(),
            service::metrics::fields(&serde_json::json!(full()))
        );
        let body = format!("\n{}\n", service::metrics::reference(&registry));
        let printed = service::config::spliced(&page, "receiver", &body).expect("the page has the receiver's marks");
        if std::env::var_os("CAUSEWAY_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, printed).unwrap();
        } else {
            assert!(
                page == printed,
                "run the tests once with CAUSEWAY_WRITE_DOCS=1 and commit docs/reference/metrics.md"
            );
        }
    }

    #[test]
    fn every_metric_is_named_once_and_after_its_side_from_the_first_moment() {
        let board = registry(Arc::new(Board::default()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &board).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let names: std::collections::BTreeSet<_> =
            types.filter(|name| name.starts_with("causeway_receiver_")).collect();
        assert_eq!(names.len(), LINK.len() + PROCESS.len());
    }
}
