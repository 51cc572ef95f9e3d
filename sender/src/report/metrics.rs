//! Metrics of a sender: the numbers of its status, under names that stay.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service::metrics::{Collection, Metric, Read};
use wire::halt::HaltReason;

use crate::board::State;
use crate::lane::latency::Summary;
use crate::lane::progress::HaltedPartition;
use crate::rate::plan::Reason;
use crate::report::latency::StageStatus;
use crate::report::limit::Limit;
use crate::report::status::{ClassStatus, Status};
use crate::report::view::Report;
use crate::source::origins::NotCarriedReason;

/// Creates the registry of a sender's metrics, which reads `report` at each scrape.
pub fn registry(report: Arc<Report>) -> Registry {
    let mut registry = service::metrics::registry();
    registry.register_collector(Box::new(Collection::new(METRICS, move || {
        let status = report.status();
        vec![(vec![("link", status.link.clone())], status)]
    })));
    registry
}

const METRICS: &[Metric<Status>] = &[
    Metric {
        name: "causeway_sender_lag_records",
        help: "Records that the target lacks: source high watermarks less committed positions, holes included; absent while a position is unknown",
        read: Read::Gauge(|s| s.lag_records.map(|lag| lag as f64)),
    },
    Metric {
        name: "causeway_sender_session_state",
        help: "1 for the state the sender is in, 0 for the others: starting, connecting, standby, active",
        read: Read::Gauges("state", states),
    },
    Metric {
        name: "causeway_sender_limited_by",
        help: "1 for the reason why the sender is not faster or has not caught up, 0 for the others: nothing, standby, session, lanes, source, cpu, budget, path, receiver, target",
        read: Read::Gauges("limit", limits),
    },
    Metric {
        name: "causeway_sender_halted_partitions",
        help: "Partitions that an error stopped, by reason; an operator must act. A word of a newer receiver counts as other",
        read: Read::Gauges("reason", halted_partitions),
    },
    Metric {
        name: "causeway_sender_not_carried_topics",
        help: "Topics that match and are not carried because links write them to the source, by reason: brought, returns (they have passed the target), too-far",
        read: Read::Gauges("reason", not_carried),
    },
    Metric {
        name: "causeway_sender_source_transaction_open_seconds",
        help: "Age of the oldest open transaction at the source, which holds its partition back; 0 below 10 s",
        read: Read::Gauge(|s| Some(s.source_transactions_open.first().map_or(0.0, |open| open.seconds))),
    },
    Metric {
        name: "causeway_sender_records",
        help: "Records sent in frames, including those sent again in a later session",
        read: Read::Counter(|s| s.totals.records),
    },
    Metric { name: "causeway_sender_frames", help: "Frames handed to QUIC", read: Read::Counter(|s| s.totals.frames) },
    Metric {
        name: "causeway_sender_raw_bytes",
        help: "Bytes of those frames before compression",
        read: Read::Counter(|s| s.totals.raw_bytes),
    },
    Metric {
        name: "causeway_sender_frame_bytes",
        help: "Bytes of those frames as sent, QUIC's own not included",
        read: Read::Counter(|s| s.totals.frame_bytes),
    },
    Metric {
        name: "causeway_sender_wire_sent_bytes",
        help: "UDP payload bytes sent in sessions: frames, control, acks, retransmissions; add 28 B per packet for IPv4 and 48 B for IPv6",
        read: Read::Counter(|s| s.wire.sent_bytes),
    },
    Metric {
        name: "causeway_sender_wire_received_bytes",
        help: "UDP payload bytes received in sessions",
        read: Read::Counter(|s| s.wire.received_bytes),
    },
    Metric {
        name: "causeway_sender_wire_sent_packets",
        help: "UDP packets sent in sessions",
        read: Read::Counter(|s| s.wire.sent_packets),
    },
    Metric {
        name: "causeway_sender_wire_lost_packets",
        help: "Packets sent in sessions that QUIC believes lost, and sent again where they carried data",
        read: Read::Counter(|s| s.wire.lost_packets),
    },
    Metric {
        name: "causeway_sender_channels",
        help: "Open channels of the session",
        read: Read::Gauge(|s| Some(s.channels as f64)),
    },
    Metric {
        name: "causeway_sender_channels_wanted",
        help: "Channels that the session shall have; 0 without a session",
        read: Read::Gauge(|s| Some(s.channels_wanted as f64)),
    },
    Metric {
        name: "causeway_sender_channel_sent_bytes",
        help: "UDP payload bytes sent in this session, by channel; a channel that was dialled again continues its count",
        read: Read::Gauges("channel", |s| {
            s.by_channel.iter().map(|one| (one.channel.to_string(), one.wire.sent_bytes as f64)).collect()
        }),
    },
    Metric {
        name: "causeway_sender_channel_redials",
        help: "Times a further channel was dialled again",
        read: Read::Counter(|s| s.channel_redials),
    },
    Metric {
        name: "causeway_sender_dead_channels",
        help: "Channels that were closed because they made no progress while others did",
        read: Read::Counter(|s| s.dead_channels),
    },
    Metric {
        name: "causeway_sender_rate_bits_per_second",
        help: "Rate in effect, in IP bits; absent while there is no limit",
        read: Read::Gauge(|s| s.rate.bits_per_second.map(|rate| rate as f64)),
    },
    Metric {
        name: "causeway_sender_rate_reason",
        help: "1 for the reason of the rate in effect, 0 for the others: file, schedule, command",
        read: Read::Gauges("reason", reasons),
    },
    Metric {
        name: "causeway_sender_budget_sent_bytes",
        help: "IP bytes that left this process for the receiver, all headers from IP on included; the rate limits these",
        read: Read::Counter(|s| s.rate.sent_bytes),
    },
    Metric {
        name: "causeway_sender_budget_sent_packets",
        help: "IP packets that left this process for the receiver",
        read: Read::Counter(|s| s.rate.sent_packets),
    },
    Metric {
        name: "causeway_sender_budget_waiting_ratio",
        help: "Part of the last 5 s in which packets waited for the rate, 0 to 1",
        read: Read::Gauge(|s| Some(s.rate.waiting)),
    },
    Metric {
        name: "causeway_sender_throughput_bits_per_second",
        help: "IP bits that left per second, over the last 5 s",
        read: Read::Gauge(|s| Some(s.rate.throughput_bits_per_second)),
    },
    Metric {
        name: "causeway_sender_goodput_bytes_per_second",
        help: "Uncompressed bytes that the target committed per second, over the last minute; absent while unknown",
        read: Read::Gauge(|s| s.forecast.goodput_bytes_per_second),
    },
    Metric {
        name: "causeway_sender_drain_seconds",
        help: "Time until the target has everything, by the trend of the last minute; +Inf while the backlog grows; absent while unknown",
        read: Read::Gauge(|s| if s.forecast.grows { Some(f64::INFINITY) } else { s.forecast.drain_seconds }),
    },
    Metric {
        name: "causeway_sender_loss_seconds",
        help: "Time until the first record that is not carried is older than its topic's retention.ms, if none were carried from now on; absent while no partition is behind, or no record is deleted for its age",
        read: Read::Gauge(|s| s.forecast.loss_seconds),
    },
    Metric {
        name: "causeway_sender_in_flight_bytes",
        help: "Bytes of frames sent and not acked, by lane",
        read: Read::Gauges("lane", |s| {
            s.by_lane.iter().map(|lane| (lane.lane.to_string(), lane.in_flight_bytes as f64)).collect()
        }),
    },
    Metric {
        name: "causeway_sender_credit_used_bytes",
        help: "Credit in use by frames being packed or not acked; absent without a session",
        read: Read::Gauge(|s| s.credit_used_bytes.map(|bytes| bytes as f64)),
    },
    Metric {
        name: "causeway_sender_credit_bytes",
        help: "Credit that the receiver grants in all; absent without a session",
        read: Read::Gauge(|s| s.credit_bytes.map(|bytes| bytes as f64)),
    },
    Metric {
        name: "causeway_sender_rtt_seconds",
        help: "Round-trip time of the path, as QUIC measures it; absent without a session",
        read: Read::Gauge(|s| s.rtt_seconds),
    },
    Metric {
        name: "causeway_sender_base_rtt_seconds",
        help: "Round-trip time of the path without queues; absent without a session",
        read: Read::Gauge(|s| s.path.base_rtt_seconds),
    },
    Metric {
        name: "causeway_sender_queue_seconds",
        help: "Time that packets spend in queues of the path; absent without a session",
        read: Read::Gauge(|s| s.path.queue_seconds),
    },
    Metric {
        name: "causeway_sender_loss_ratio",
        help: "Part of the recently sent packets that was lost; absent without a session",
        read: Read::Gauge(|s| s.path.loss_ratio),
    },
    Metric {
        name: "causeway_sender_efficiency_ratio",
        help: "Bytes of frames before compression for each byte on the wire, IP headers included, over the last minute; absent while nothing was sent",
        read: Read::Gauge(|s| s.efficiency_ratio),
    },
    Metric {
        name: "causeway_sender_stage_seconds",
        help: "Duration of each stage, over the last minute: quantiles 0.5, 0.99 and 1 of read, pack, budget, wire, order, commit and whole; absent where no frame was measured",
        read: Read::GaugesBy(["stage", "quantile"], stages),
    },
    Metric {
        name: "causeway_sender_latency_seconds",
        help: "Duration of each stage since the process started",
        read: Read::Histograms("stage", |s| {
            s.latency.iter().map(|stage| (stage.stage.word().to_owned(), stage.buckets.clone())).collect()
        }),
    },
    Metric {
        name: "causeway_sender_peer_clock_ahead_seconds",
        help: "Time by which the receiver's clock is ahead of this machine's; absent while unknown",
        read: Read::Gauge(|s| s.peer_clock.ahead_seconds),
    },
    Metric {
        name: "causeway_sender_peer_clock_within_seconds",
        help: "Error bound of causeway_sender_peer_clock_ahead_seconds, and of the stage wire",
        read: Read::Gauge(|s| s.peer_clock.within_seconds),
    },
    Metric {
        name: "causeway_sender_partitions",
        help: "Partitions being read",
        read: Read::Gauge(|s| Some(s.partitions as f64)),
    },
    Metric { name: "causeway_sender_lanes", help: "Lanes of the link", read: Read::Gauge(|s| Some(s.lanes as f64)) },
    Metric {
        name: "causeway_sender_lanes_open",
        help: "Lanes that are open for this sender",
        read: Read::Gauge(|s| Some(s.lanes_open as f64)),
    },
    Metric {
        name: "causeway_sender_lane_closes",
        help: "Times the receiver closed a lane or could not open it, by reason; after target-failed and superseded the sender retries after a back-off",
        read: Read::Counters("reason", |s| s.lane_closes.clone().into_iter().collect()),
    },
    Metric {
        name: "causeway_sender_class_sent_bytes",
        help: "Bytes of frames, by class",
        read: Read::Counters("class", |s| by_class(s, |class| Some(class.sent_bytes))),
    },
    Metric {
        name: "causeway_sender_class_share_ratio",
        help: "Part of the bytes sent in the last seconds that each class had, 0 to 1; absent while nothing was sent",
        read: Read::Gauges("class", |s| by_class(s, |class| class.sent_percent.map(|percent| percent / 100.0))),
    },
    Metric {
        name: "causeway_sender_class_waiting_lanes",
        help: "Lanes that have a frame to send and wait for their turn, or for the transport, by class",
        read: Read::Gauges("class", |s| by_class(s, |class| Some(class.waiting_lanes as f64))),
    },
    Metric { name: "causeway_sender_sessions", help: "Sessions begun", read: Read::Counter(|s| s.sessions) },
    Metric {
        name: "causeway_sender_session_closes",
        help: "Sessions and attempts that ended, by close code; LOST if path or peer was lost, BARRED if a certificate was refused, DRAINED if this sender left, RECONFIGURED if its topics changed",
        read: Read::Counters("code", |s| s.closes.clone().into_iter().collect()),
    },
];

fn by_class<T>(status: &Status, of: impl Fn(&ClassStatus) -> Option<T>) -> Vec<(String, T)> {
    status.classes.iter().filter_map(|class| Some((class.class.clone(), of(class)?))).collect()
}

fn limits(status: &Status) -> Vec<(String, f64)> {
    let is = |limit: &Limit| f64::from(u8::from(*limit == status.limited_by));
    Limit::ALL.iter().map(|limit| (limit.word().to_owned(), is(limit))).collect()
}

fn halted_partitions(status: &Status) -> Vec<(String, f64)> {
    let word = |halt: &HaltedPartition| HaltReason::of(&halt.reason).map_or("other", HaltReason::word);
    let count = |reason: &str| status.halted.iter().filter(|halt| word(halt) == reason).count();
    let reasons = HaltReason::ALL.iter().map(|reason| reason.word()).chain(["other"]);
    reasons.map(|reason| (reason.to_owned(), count(reason) as f64)).collect()
}

fn reasons(status: &Status) -> Vec<(String, f64)> {
    let is = |word: &str| f64::from(u8::from(word == status.rate.reason));
    Reason::WORDS.iter().map(|word| ((*word).to_owned(), is(word))).collect()
}

fn stages(status: &Status) -> Vec<([String; 2], f64)> {
    let quantiles = |stage: &StageStatus| {
        let Summary { p50_seconds, p99_seconds, max_seconds, .. } = stage.minute;
        let word = stage.stage.word();
        let known = [("0.5", p50_seconds), ("0.99", p99_seconds), ("1", max_seconds)];
        known.into_iter().filter_map(move |(quantile, value)| Some(([word.to_owned(), quantile.to_owned()], value?)))
    };
    status.latency.iter().flat_map(quantiles).collect()
}

fn not_carried(status: &Status) -> Vec<(String, f64)> {
    let count = |reason: &NotCarriedReason| status.not_carried.iter().filter(|topic| topic.reason == *reason).count();
    NotCarriedReason::ALL.iter().map(|reason| (reason.word().to_owned(), count(reason) as f64)).collect()
}

fn states(status: &Status) -> Vec<(String, f64)> {
    let name = match status.state {
        State::Starting => "starting",
        State::Connecting => "connecting",
        State::Standby { .. } => "standby",
        State::Active => "active",
    };
    let states = ["starting", "connecting", "standby", "active"];
    states.iter().map(|&state| (state.to_owned(), f64::from(u8::from(state == name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::close::CloseCode;
    use wire::control::LaneClosedReason;
    use wire::partition::Partition;

    use crate::board::Board;
    use crate::lane::latency::{Latency, Sample};
    use crate::lane::progress::{Closed, Progress};
    use crate::rate::RateStatus;
    use crate::report::forecast::Forecast;
    use crate::report::lag::{PartitionStatus, TopicStatus};
    use crate::report::latency::PeerClockStatus;
    use crate::report::path::PathReport;
    use crate::report::status::{ChannelStatus, LaneStatus, NotCarried};
    use crate::session::SessionEnd;

    const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

    fn measured() -> Latency {
        let latency = Latency::default();
        let ms = std::time::Duration::from_millis(1);
        let sample = Sample { read: Some(ms), pack: ms, budget: ms, wire: ms, order: ms, commit: ms, frames: 1 };
        latency.handle_ack(Some(&sample));
        latency
    }

    /// A status in which nothing is unknown or empty.
    fn full() -> Status {
        let lane = LaneStatus { epoch: Some(1), ..LaneStatus::default() };
        let class = ClassStatus {
            class: "bulk".into(),
            share_percent: Some(30.0),
            ceiling_bytes_per_second: Some(1),
            sent_percent: Some(30.0),
            ..ClassStatus::default()
        };
        let halted = HaltedPartition {
            topic: "a".into(),
            partition: 0,
            position: 7,
            reason: "corrupt".into(),
            detail: "crc".into(),
        };
        Status {
            state: State::Standby { behind: "b".into() },
            trouble: vec!["source cluster".into()],
            session_seconds: Some(1.0),
            rtt_seconds: Some(0.1),
            rate: RateStatus {
                bits_per_second: Some(1),
                entry: Some("mon".into()),
                until: Some("2026".into()),
                ..RateStatus::default()
            },
            forecast: Forecast {
                goodput_bytes_per_second: Some(1.0),
                backlog_bytes: Some(1.0),
                drain_seconds: Some(1.0),
                grows: false,
                loss_seconds: Some(1.0),
                loss_topic: Some("a".into()),
            },
            path: PathReport {
                base_rtt_seconds: Some(0.1),
                queue_seconds: Some(0.0),
                loss_ratio: Some(0.0),
                controller: Some("steady".into()),
            },
            efficiency_ratio: Some(1.0),
            latency: StageStatus::all(&measured()),
            peer_clock: PeerClockStatus { ahead_seconds: Some(0.0), within_seconds: Some(0.0) },
            credit_used_bytes: Some(1),
            credit_bytes: Some(2),
            lag_records: Some(3),
            lanes_closed: vec![Closed { reason: "superseded".into(), detail: "epoch".into() }],
            source_transactions_open: vec![crate::report::open_transactions::OpenTransaction::default()],
            lane_closes: LaneClosedReason::ALL.iter().map(|reason| (reason.word().to_owned(), 1)).collect(),
            halted: vec![halted],
            not_carried: vec![NotCarried {
                topic: "a".into(),
                reason: NotCarriedReason::Brought,
                by: "b".into(),
                clusters: vec!["c".into()],
            }],
            classes: vec![class],
            by_lane: vec![lane],
            by_channel: vec![ChannelStatus { rtt_seconds: Some(0.1), ..ChannelStatus::default() }],
            closes: [("LOST".to_owned(), 1)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn the_reference_pages_are_those_of_this_code() {
        let sources = [
            include_str!("status.rs"),
            include_str!("forecast.rs"),
            include_str!("lag.rs"),
            include_str!("latency.rs"),
            include_str!("open_transactions.rs"),
            include_str!("path.rs"),
            include_str!("../board/traffic.rs"),
            include_str!("../lane/latency/window.rs"),
            include_str!("../lane/progress.rs"),
            include_str!("../rate.rs"),
        ];
        let mut registry = service::metrics::registry();
        let labels = || vec![("link", "a".to_owned())];
        registry.register_collector(Box::new(Collection::new(METRICS, move || vec![(labels(), full())])));
        let fields = |root: &str, shown: serde_json::Value| service::metrics::json_reference(&sources, root, &shown);
        service::metrics::check_pages(
            DOCS.as_ref(),
            &[
                ("sender", service::metrics::reference(&registry)),
                ("sender-json", fields("Status", serde_json::json!(full()))),
                ("topic-json", fields("TopicStatus", serde_json::json!(TopicStatus::default()))),
                ("partition-json", fields("PartitionStatus", serde_json::json!(PartitionStatus::default()))),
            ],
        );
    }

    /// Returns the scrape of a sender with one lane after `happens`.
    fn scraped(happens: impl FnOnce(&Board, &Progress)) -> String {
        let board = Arc::new(Board::default());
        let lane = Arc::new(Progress::default());
        board.publish(|published| published.lanes = vec![Arc::clone(&lane)]);
        happens(&board, &lane);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry(Arc::new(Report::new(board)))).unwrap();
        text
    }

    #[test]
    fn every_end_of_a_session_is_counted_under_its_name() {
        let closed = |&code: &CloseCode| SessionEnd::Closed { code, detail: String::new() };
        let mut ends: Vec<_> = CloseCode::ALL.iter().map(closed).collect();
        ends.extend([CloseCode::Unknown(4711)].iter().map(closed));
        ends.extend([SessionEnd::Drained, SessionEnd::Reconfigured]);
        ends.extend([SessionEnd::Lost("unreachable".into()), SessionEnd::Barred("expired".into())]);
        for end in ends {
            let text = scraped(|board, _| board.end_session(&end));
            let sample = format!("causeway_sender_session_closes_total{{link=\"\",code=\"{}\"}} 1\n", end.label());
            assert!(text.contains(&sample), "{sample}{text}");
        }
    }

    #[test]
    fn every_closed_lane_is_counted_by_its_reason() {
        for &reason in LaneClosedReason::ALL {
            let word = reason.word();
            let text = scraped(|_, lane| lane.record_closed(reason, "words"));
            let sample = format!("causeway_sender_lane_closes_total{{link=\"\",reason=\"{word}\"}} 1\n");
            assert!(text.contains(&sample), "{sample}{text}");
        }
    }

    #[test]
    fn every_halt_is_counted_under_its_reason() {
        let text = scraped(|_, lane| {
            for (slot, reason) in [(0, "corrupt"), (1, "corrupt"), (2, "of-a-newer-version")] {
                let at = Partition::new("a", slot);
                lane.record_halt(&at, wire::ids::Slot(slot as u32), wire::ids::Position(1), reason, "detail");
            }
        });
        for (reason, count) in [("corrupt", 2), ("truncated", 0), ("other", 1)] {
            let line = format!("causeway_sender_halted_partitions{{link=\"\",reason=\"{reason}\"}} {count}");
            assert!(text.contains(&line), "{line}: {text}");
        }
    }

    #[test]
    fn every_metric_is_named_once_from_the_first_moment() {
        let board = registry(Arc::default());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &board).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let names: std::collections::BTreeSet<_> = types.filter(|name| name.starts_with("causeway_sender_")).collect();
        assert_eq!(names.len(), METRICS.len());
    }
}
