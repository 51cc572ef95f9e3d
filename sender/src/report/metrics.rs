//! Metrics of a sender: the numbers of its status, under names that stay.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service::metrics::{ByTwo, Metric};
use service::status::HaltedPartition;
use wire::halt::HaltReason;

use crate::board::State;
use crate::lane::compression::Reason as CompressionReason;
use crate::lane::latency::Summary;
use crate::rate::plan::Reason;
use crate::report::cost;
use crate::report::latency::StageStatus;
use crate::report::limit::Limit;
use crate::report::status::{ClassStatus, Status};
use crate::report::view::Report;
use crate::source::origins::NotCarriedReason;

/// Creates the registry of a sender's metrics, which reads `report` at each scrape.
pub fn registry(report: Arc<Report>) -> Registry {
    let mut registry = service::metrics::registry();
    let costs = Arc::clone(&report);
    service::metrics::add(&mut registry, METRICS, move || {
        let status = report.status();
        vec![(vec![("link", status.link.clone())], status)]
    });
    service::metrics::add(&mut registry, cost::metrics::METRICS, move || {
        vec![(vec![("link", costs.board().read().link)], costs.cost_reading())]
    });
    registry
}

const METRICS: &[Metric<Status>] = service::metrics! {
    Gauge "causeway_sender_lag_records", |s| s.lag_records.map(|lag| lag as f64),
        "Source high watermarks less positions, holes included; absent while one is unknown, and 10 s after the source last answered";
    Gauge "causeway_sender_lag_age_seconds", |s| s.lag_age_seconds,
        "Time since the source last answered for its high watermarks; absent before that";
    Gauges "causeway_sender_session_state" by "state", states,
        "1 for the state the sender is in, 0 for the others: starting, connecting, standby, active";
    Gauges "causeway_sender_limited_by" by "limit",
        |s| one_of(Limit::ALL.iter().map(|limit| limit.word()), s.limited_by.word()),
        "1 for the reason why it is not faster or has not caught up, 0 for the others: nothing, standby, session, lanes, source, cpu, budget, path, receiver, target";
    Gauges "causeway_sender_halted_partitions" by "reason", halted_partitions,
        "Partitions that an error stopped, by reason; an operator must act. A word of a newer receiver counts as other";
    Gauges "causeway_sender_waiting_partitions" by "cluster",
        |s| vec![("source".to_owned(), s.waiting_at_source as f64), ("target".to_owned(), s.waiting_at_target as f64)],
        "Partitions that wait for a cluster, source or target; they continue by themselves";
    Gauge "causeway_sender_receiver_lanes_failing",
        |s| s.receiver_condition.as_ref().map(|told| told.lanes_failing as f64),
        "Lanes that do not commit, as the receiver says; absent if it does not";
    Gauges "causeway_sender_not_carried_topics" by "reason", not_carried,
        "Topics that match and are not carried because links write them to the source, by reason: brought, returns, too-far";
    Gauge "causeway_sender_deleted_topics", |s| Some(s.deleted_topics.len() as f64),
        "Topics with stored positions that the source no longer has; an operator forgets or excludes them";
    Gauge "causeway_sender_unmatched_entries", |s| Some(s.unmatched_entries.len() as f64),
        "Entries of source.topics that match no topic which the source shows to this sender";
    Gauge "causeway_sender_groups", |s| s.consumer_groups.matched.map(|groups| groups as f64),
        "Consumer groups of the source whose offsets are carried; absent before they were read";
    Gauge "causeway_sender_group_offsets", |s| s.consumer_groups.offsets.map(|offsets| offsets as f64),
        "Committed offsets of these groups in carried topics; absent before they were read";
    Gauge "causeway_sender_groups_age_seconds", |s| s.consumer_groups.age_seconds,
        "Time since the newest reading of groups that was sent began; absent before that";
    Gauge "causeway_sender_acls_age_seconds", |s| s.followed_acls.age_seconds,
        "Time since the access control lists of the source were last read; absent before that";
    Gauge "causeway_sender_source_transaction_open_seconds",
        |s| Some(s.source_transactions_open.first().map_or(0.0, |open| open.seconds)),
        "Age of the oldest open transaction at the source, which holds its partition back; 0 below 10 s";
    Counter "causeway_sender_records", |s| s.totals.records,
        "Records sent in frames, including those sent again in a later session";
    Counter "causeway_sender_frames", |s| s.totals.frames,
        "Frames handed to QUIC";
    Counter "causeway_sender_raw_bytes", |s| s.totals.raw_bytes,
        "Bytes of those frames before compression";
    Counter "causeway_sender_frame_bytes", |s| s.totals.frame_bytes,
        "Bytes of those frames as sent, QUIC's own not included";
    Counter "causeway_sender_wire_sent_bytes", |s| s.wire.sent_bytes,
        "UDP payload bytes sent in sessions: frames, control, acks, retransmissions; add 28 B per packet for IPv4 and 48 B for IPv6";
    Counter "causeway_sender_wire_received_bytes", |s| s.wire.received_bytes,
        "UDP payload bytes received in sessions";
    Counter "causeway_sender_wire_sent_packets", |s| s.wire.sent_packets,
        "UDP packets sent in sessions";
    Counter "causeway_sender_wire_lost_packets", |s| s.wire.lost_packets,
        "Packets sent in sessions that QUIC believes lost, and sent again where they carried data";
    Gauge "causeway_sender_channels", |s| Some(s.channels as f64),
        "Open channels of the session";
    Gauge "causeway_sender_channels_wanted", |s| Some(s.channels_wanted as f64),
        "Channels that the session shall have; 0 without a session";
    Gauges "causeway_sender_channel_sent_bytes" by "channel",
        |s| s.by_channel.iter().map(|one| (one.channel.to_string(), one.wire.sent_bytes as f64)).collect(),
        "UDP payload bytes sent in this session, by channel, also before it was dialled again";
    Counter "causeway_sender_channel_redials", |s| s.channel_redials,
        "Times a further channel was dialled again";
    Counter "causeway_sender_dead_channels", |s| s.dead_channels,
        "Channels that were closed because they made no progress while others did";
    Gauge "causeway_sender_rate_bits_per_second", |s| s.rate.bits_per_second.map(|rate| rate as f64),
        "Rate in effect, in IP bits; absent while there is no limit";
    Gauges "causeway_sender_rate_reason" by "reason", |s| one_of(Reason::WORDS, &s.rate.reason),
        "1 for the reason of the rate in effect, 0 for the others: file, schedule, command, receiver";
    Counter "causeway_sender_budget_sent_bytes", |s| s.rate.sent_bytes,
        "IP bytes that left for the receiver, headers from IP on included; the rate limits these";
    Counter "causeway_sender_budget_sent_packets", |s| s.rate.sent_packets,
        "IP packets that left for the receiver";
    Gauge "causeway_sender_budget_waiting_ratio", |s| Some(s.rate.waiting),
        "Part of the last 5 s in which packets waited for the rate, 0 to 1";
    Gauge "causeway_sender_throughput_bits_per_second", |s| Some(s.rate.throughput_bits_per_second),
        "IP bits that left per second, over the last 5 s";
    Gauge "causeway_sender_goodput_bytes_per_second", |s| s.forecast.goodput_bytes_per_second,
        "Uncompressed bytes that the target committed per second, over the last minute; absent while unknown";
    Gauge "causeway_sender_drain_seconds",
        |s| if s.forecast.grows { Some(f64::INFINITY) } else { s.forecast.drain_seconds },
        "Time until the target has everything, by the trend of the last minute; +Inf while the backlog grows; absent while unknown";
    Gauge "causeway_sender_loss_seconds", |s| s.forecast.loss_seconds,
        "Time until the source deletes the first record that is not carried, by retention.ms, or may remove the first deletion of a key, by delete.retention.ms, if nothing were carried; absent while no partition is behind or nothing expires";
    Gauges "causeway_sender_in_flight_bytes" by "lane",
        |s| s.by_lane.iter().map(|lane| (lane.lane.to_string(), lane.in_flight_bytes as f64)).collect(),
        "Bytes of frames sent and not acked, by lane";
    Gauge "causeway_sender_unacked_seconds", |s| s.unacked_seconds,
        "Longest time for which a lane with frames in flight has had no ack; absent with none in flight";
    Gauge "causeway_sender_credit_used_bytes", |s| s.credit_used_bytes.map(|bytes| bytes as f64),
        "Credit in use by frames being packed or not acked; absent without a session";
    Gauge "causeway_sender_credit_bytes", |s| s.credit_bytes.map(|bytes| bytes as f64),
        "Credit that the receiver grants in all; absent without a session";
    Gauge "causeway_sender_rtt_seconds", |s| s.rtt_seconds,
        "Round-trip time of the path, as QUIC measures it; absent without a session";
    Gauge "causeway_sender_base_rtt_seconds", |s| s.path.base_rtt_seconds,
        "Round-trip time of the path without queues; absent without a session";
    Gauge "causeway_sender_queue_seconds", |s| s.path.queue_seconds,
        "Time that packets spend in queues of the path; absent without a session";
    Gauge "causeway_sender_loss_ratio", |s| s.path.loss_ratio,
        "Part of the recently sent packets that was lost; absent without a session";
    Gauge "causeway_sender_efficiency_ratio", |s| s.efficiency_ratio,
        "Bytes of frames before compression for each byte on the wire, IP headers included, over the last minute; absent while nothing was sent";
    GaugesBy "causeway_sender_stage_seconds" by ["stage", "quantile"], stages,
        "Duration of each stage (read, pack, budget, wire, order, commit, whole) over the last minute; absent where no frame was measured";
    Histograms "causeway_sender_latency_seconds" by "stage",
        |s| s.latency.iter().map(|stage| (stage.stage.word().to_owned(), stage.buckets.clone())).collect(),
        "Duration of each stage since the process started";
    Gauge "causeway_sender_peer_clock_ahead_seconds", |s| s.peer_clock.ahead_seconds,
        "Time by which the receiver's clock is ahead; absent while unknown";
    Gauge "causeway_sender_peer_clock_within_seconds", |s| s.peer_clock.within_seconds,
        "Error bound of causeway_sender_peer_clock_ahead_seconds, and of the stage wire";
    Gauge "causeway_sender_partitions", |s| Some(s.partitions as f64),
        "Partitions being read";
    Gauge "causeway_sender_lanes", |s| Some(s.lanes as f64),
        "Lanes of the link";
    Gauge "causeway_sender_lanes_open", |s| Some(s.lanes_open as f64),
        "Lanes that are open for this sender";
    Counters "causeway_sender_lane_closes" by "reason", |s| s.lane_closes.counts(),
        "Times the receiver closed a lane or could not open it, by reason; after target-failed and superseded the sender retries later";
    Counters "causeway_sender_class_sent_bytes" by "class", |s| by_class(s, |class| Some(class.sent_bytes)),
        "Bytes of frames, by class";
    Counters "causeway_sender_class_raw_bytes" by "class", |s| by_class(s, |class| Some(class.raw_bytes)),
        "Bytes of those frames before compression, by class; less those of the frames, it is what compression saves";
    Counters "causeway_sender_class_shaped_bytes" by "class", |s| by_class(s, |class| Some(class.shaped_bytes)),
        "Bytes of keys, values and headers that were sent by their shape, by class";
    Counters "causeway_sender_class_saved_bytes" by "class", |s| by_class(s, |class| Some(class.saved_bytes)),
        "Bytes that compression saved, by class";
    Gauges "causeway_sender_class_compression_cpu_seconds" by "class",
        |s| by_class(s, |class| Some(class.compression_cpu_seconds)),
        "Processor time that making frames took since the process started, by class";
    GaugesBy "causeway_sender_class_compression" by ["class", "compression"],
        |s| s.classes.iter().map(|class| ([class.class.clone(), class.compression.clone()], 1.0)).collect(),
        "1 for the compression of a class's frames now; with auto it changes";
    GaugesBy "causeway_sender_class_compression_reason" by ["class", "reason"], compression_reasons,
        "1 for the reason for that compression, 0 for the others: fixed, start, bytes, cpu, cap, rest, no-gain";
    Gauges "causeway_sender_class_share_ratio" by "class",
        |s| by_class(s, |class| class.sent_percent.map(|percent| percent / 100.0)),
        "Part of the bytes of the last seconds, by class, 0 to 1; absent while nothing was sent";
    Gauges "causeway_sender_class_waiting_lanes" by "class", |s| by_class(s, |class| Some(class.waiting_lanes as f64)),
        "Lanes that wait to send a frame, by class";
    Counter "causeway_sender_sessions", |s| s.sessions,
        "Sessions begun";
    Counters "causeway_sender_session_closes" by "code", |s| s.closes.counts(),
        "Sessions and attempts that ended, by close code, LOST (path or peer), BARRED (a certificate), DRAINED (this sender left) or RECONFIGURED (its topics changed)";
};

fn by_class<T>(status: &Status, of: impl Fn(&ClassStatus) -> Option<T>) -> Vec<(String, T)> {
    status.classes.iter().filter_map(|class| Some((class.class.clone(), of(class)?))).collect()
}

fn compression_reasons(status: &Status) -> Vec<ByTwo> {
    let of_class = |class: &ClassStatus| {
        let words = one_of(CompressionReason::ALL.iter().map(|reason| reason.word()), class.compression_reason.word());
        let name = class.class.clone();
        words.into_iter().map(move |(word, is)| ([name.clone(), word], is))
    };
    status.classes.iter().flat_map(of_class).collect()
}

/// Returns 1 for the word `now`, and 0 for the others.
fn one_of(words: impl IntoIterator<Item = &'static str>, now: &str) -> Vec<(String, f64)> {
    words.into_iter().map(|word| (word.to_owned(), f64::from(u8::from(word == now)))).collect()
}

fn halted_partitions(status: &Status) -> Vec<(String, f64)> {
    let word = |halt: &HaltedPartition| HaltReason::of(&halt.reason).map_or("other", HaltReason::word);
    let count = |reason: &str| status.halted.iter().filter(|halt| word(halt) == reason).count();
    let halts = HaltReason::ALL.iter().filter(|reason| reason.is_trouble());
    let reasons = halts.map(|reason| reason.word()).chain(["other"]);
    reasons.map(|reason| (reason.to_owned(), count(reason) as f64)).collect()
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
    one_of(["starting", "connecting", "standby", "active"], name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::status::{CertificateStatus, PeerStatus, Tally};
    use wire::close::{Close, CloseCode};
    use wire::control::LaneClosedReason;
    use wire::partition::Partition;

    use crate::board::Board;
    use crate::board::acls::AclsStatus;
    use crate::groups::board::{GroupStatus, GroupsStatus};
    use crate::lane::latency::{Latency, Sample};
    use crate::lane::progress::{Closed, Progress};
    use crate::partitions::deleted_topic::DeletedTopic;
    use crate::rate::RateStatus;
    use crate::report::cost::meter::Counted;
    use crate::report::cost::metrics::CostReading;
    use crate::report::cost::{CostStatus, TopicCost};
    use crate::report::forecast::Forecast;
    use crate::report::lag::{PartitionStatus, TopicStatus};
    use crate::report::latency::PeerClockStatus;
    use crate::report::path::PathReport;
    use crate::report::status::{ChannelStatus, LaneStatus, NotCarried, WaitingStatus};
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
        let mut lane_closes = Tally::default();
        LaneClosedReason::ALL.iter().for_each(|reason| lane_closes.add(reason.word()));
        let mut closes = Tally::default();
        closes.add("LOST");
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
            certificates: vec![CertificateStatus { link: Some("a".into()), ..CertificateStatus::default() }],
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
            frame_state_bytes: Some(1),
            lag_records: Some(3),
            consumer_groups: GroupsStatus {
                matched: Some(1),
                offsets: Some(1),
                age_seconds: Some(1.0),
                unmatched: vec!["a".into()],
                ..GroupsStatus::default()
            },
            followed_acls: AclsStatus { on: true, topic_rules: Some(1), group_rules: Some(1), age_seconds: Some(1.0) },
            lanes_closed: vec![Closed { reason: "superseded".into(), detail: "epoch".into() }],
            source_transactions_open: vec![crate::report::open_transactions::OpenTransaction::default()],
            lane_closes,
            halted: vec![halted],
            deleted_topics: vec![DeletedTopic { topic: "a".into(), positions: 1, forgotten_in_seconds: Some(1) }],
            waiting: vec![WaitingStatus::default()],
            receiver_condition: Some(PeerStatus { trouble: vec!["lane 0".into()], ..PeerStatus::default() }),
            not_carried: vec![NotCarried {
                topic: "a".into(),
                reason: NotCarriedReason::Brought,
                by: "b".into(),
                clusters: vec!["c".into()],
            }],
            classes: vec![class],
            by_lane: vec![lane],
            by_channel: vec![ChannelStatus { rtt_seconds: Some(0.1), ..ChannelStatus::default() }],
            closes,
            ..Status::default()
        }
    }

    fn counted() -> Counted {
        Counted { source_bytes: Some(1), ..Counted::default() }
    }

    /// Costs of which nothing is unknown or empty.
    fn priced() -> CostStatus {
        let one = || TopicCost {
            ratio: Some(1.0),
            source_bytes: Some(1),
            cost: Some(1.0),
            cost_per_day: Some(1.0),
            cost_per_month: Some(1.0),
            saved: Some(1.0),
            ..TopicCost::default()
        };
        CostStatus { price_per_gb: Some(0.02), total: one(), gone: one(), topics: vec![one()], ..CostStatus::default() }
    }

    #[test]
    fn the_reference_pages_are_those_of_this_code() {
        let sources = [
            include_str!("status.rs"),
            include_str!("cost.rs"),
            include_str!("forecast.rs"),
            include_str!("lag.rs"),
            include_str!("latency.rs"),
            include_str!("open_transactions.rs"),
            include_str!("path.rs"),
            include_str!("../board/traffic.rs"),
            include_str!("../lane/latency/window.rs"),
            include_str!("../lane/progress.rs"),
            include_str!("../groups/board.rs"),
            include_str!("../board/acls.rs"),
            include_str!("../partitions/deleted_topic.rs"),
            include_str!("../rate.rs"),
            include_str!("../../../service/src/status.rs"),
        ];
        let mut registry = service::metrics::registry();
        let labels = || vec![("link", "a".to_owned())];
        service::metrics::add(&mut registry, METRICS, move || vec![(labels(), full())]);
        let reading = || CostReading { cost: priced(), series: vec![("a".to_owned(), counted())] };
        service::metrics::add(&mut registry, cost::metrics::METRICS, move || vec![(labels(), reading())]);
        let fields = |root: &str, shown: serde_json::Value| service::metrics::json_reference(&sources, root, &shown);
        let docs = std::path::Path::new(DOCS);
        let names = service::metrics::reference(&registry);
        service::metrics::check_page(&docs.join("reference/metrics.md"), &[("sender", names)]);
        service::metrics::check_page(
            &docs.join("reference/status.md"),
            &[
                ("sender-json", fields("Status", serde_json::json!(full()))),
                ("topic-json", fields("TopicStatus", serde_json::json!(TopicStatus::default()))),
                ("partition-json", fields("PartitionStatus", serde_json::json!(PartitionStatus::default()))),
                ("cost-json", fields("CostStatus", serde_json::json!(priced()))),
                ("group-json", fields("GroupStatus", serde_json::json!(GroupStatus::default()))),
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
        let closed = |&code: &CloseCode| SessionEnd::Closed(Close::new(code, ""));
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
    fn a_lifted_halt_is_not_counted() {
        let text = scraped(|_, lane| {
            let at = Partition::new("a", 0);
            lane.record_halt(&at, wire::ids::Slot(0), wire::ids::Position(1), "corrupt", "detail");
            lane.handle_lifted(&at);
        });
        assert!(text.contains("causeway_sender_halted_partitions{link=\"\",reason=\"corrupt\"} 0"), "{text}");
    }

    #[test]
    fn every_metric_is_named_once_from_the_first_moment() {
        let board = registry(Arc::default());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &board).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let names: std::collections::BTreeSet<_> = types.filter(|name| name.starts_with("causeway_sender_")).collect();
        // A price without one is absent.
        assert_eq!(names.len(), METRICS.len() + cost::metrics::METRICS.len());
    }
}
