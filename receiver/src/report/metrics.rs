//! Metrics of a receiver, read from its board; the names are stable (`docs/reference/metrics.md`).

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service::metrics::{Labelled, Metric};

use crate::report::status::{Board, LinkStatus, Status};

/// Makes the registry of a receiver's metrics, which reads `board` at each scrape.
pub fn registry(board: Arc<Board>) -> Registry {
    let mut registry = service::metrics::registry();
    add(&mut registry, move || board.status());
    registry
}

/// Adds the tables of a receiver to a registry; `status` is called at each scrape.
fn add(registry: &mut Registry, status: impl Fn() -> Status + Clone + Send + Sync + 'static) {
    let of_links = status.clone();
    let labelled = |link: LinkStatus| -> Labelled<LinkStatus> { (vec![("link", link.link.clone())], link) };
    service::metrics::add(registry, LINK, move || of_links().links.into_iter().map(labelled).collect());
    service::metrics::add(registry, PROCESS, move || vec![(Vec::new(), status())]);
}

const LINK: &[Metric<LinkStatus>] = service::metrics! {
    Counter "causeway_receiver_records", |l| l.counts.records, "Records committed to the target";
    Counter "causeway_receiver_bytes", |l| l.counts.bytes, "Bytes of keys, values and headers committed";
    Counter "causeway_receiver_transactions", |l| l.counts.transactions, "Transactions committed";
    Counter "causeway_receiver_holes", |l| l.counts.holes,
        "Source offsets that held no record: markers, aborted or compacted away";
    Counter "causeway_receiver_recoveries", |l| l.counts.recoveries,
        "Times a transaction's outcome was unknown and its lane recovered from its state";
    Counter "causeway_receiver_escapes", |l| l.counts.escapes,
        "Times a lane continued through another transactional id, because one could not be initialised";
    Gauge "causeway_receiver_quota_delay_seconds", |l| Some(l.quota_delay_seconds),
        "Longest delay that the target's brokers announced in the last transactions: a producer quota is exceeded";
    Counter "causeway_receiver_replayed_records", |l| l.counts.replayed,
        "Records that a replay did not append again because they were committed";
    Counter "causeway_receiver_dropped_frames", |l| l.counts.frames_dropped,
        "Frames dropped by lanes: duplicates and older epochs";
    Counter "causeway_receiver_dropped_runs", |l| l.counts.runs_dropped, "Runs dropped because their slot was closed";
    Counter "causeway_receiver_altered_timestamps", |l| l.counts.timestamps_altered,
        "Records committed with a timestamp of 1 ms in place of 0, which Kafka's client cannot write";
    Counter "causeway_receiver_halts", |l| l.counts.halts,
        "Times a partition was halted; stored halts count again when their lane is opened";
    Gauge "causeway_receiver_halted_partitions", |l| Some(l.halted_partitions as f64),
        "Partitions whose halt is stored; an operator must act";
    Gauge "causeway_receiver_waiting_partitions", |l| Some(l.waiting_partitions as f64),
        "Partitions that wait for the target; they continue by themselves";
    Gauge "causeway_receiver_orphaned_positions", |l| Some(l.orphaned_positions as f64),
        "Stored positions whose partition the sender does not offer: its topic is deleted or not matched";
    Gauge "causeway_receiver_weaker_topics", |l| l.weaker_topics.map(|topics| topics as f64),
        "Target topics that delete earlier or accept less than their source topics; absent until a session has compared them";
    Counter "causeway_receiver_followed_settings", |l| l.followed_settings,
        "Settings of target topics that were changed as at the source";
    Gauge "causeway_receiver_failing_settings", |l| Some(l.failing_settings as f64),
        "Target topics whose settings cannot follow the source's now";
    Gauge "causeway_receiver_groups", |l| l.consumer_groups.groups.map(|groups| groups as f64),
        "Consumer groups whose offsets the sender has sent; absent if it has sent none";
    Gauges "causeway_receiver_group_offsets" by "state",
        |l| l.consumer_groups.offsets.counts().into_iter().map(|(state, count)| (state, count as f64)).collect(),
        "Offsets of these groups by state: pending, synced, behind, before-map, not-carried, has-members, taken-over, failed";
    Gauge "causeway_receiver_groups_age_seconds", |l| l.consumer_groups.age_seconds,
        "Time since the newest reading of groups arrived that is committed as far as possible; absent before that";
    Gauges "causeway_receiver_acls" by "state",
        |l| l.followed_acls.rules.counts().into_iter().map(|(state, count)| (state, count as f64)).collect(),
        "Access control lists of the plan by state: made, to-make, exists, held-back, not-carried, not-followed, to-remove, failed";
    Gauge "causeway_receiver_acls_age_seconds", |l| l.followed_acls.age_seconds,
        "Time since access control lists were last compared with the target; absent before that";
    Gauge "causeway_receiver_foreign_records", |l| l.foreign_writes.records.map(|records| records as f64),
        "Records of other programs found in the target partitions; absent while none was found and not everything was read";
    Gauge "causeway_receiver_promoted", |l| match l.promotion.state.as_str() {
        "unknown" => None,
        "promoted" => Some(1.0),
        _ => Some(0.0),
    }, "1 if the link is promoted and carries nothing any more, else 0; absent until the receiver has looked";
    Counter "causeway_receiver_jumps", |l| l.counts.jumps, "Halts lifted and positions moved, by command or policy";
    Counter "causeway_receiver_skipped_records", |l| l.counts.skipped,
        "Records left out by policy because the target refuses them";
    Counter "causeway_receiver_moves", |l| l.counts.moves,
        "Partitions handed over to another lane, because their class changed or is not `default`";
    Gauges "causeway_receiver_held_bytes" by "lane",
        |l| l.by_lane.iter().map(|lane| (lane.lane.to_string(), lane.held_bytes as f64)).collect(),
        "Compressed bytes that wait for their commit, by lane";
    Gauge "causeway_receiver_credit_bytes", |l| Some(l.credit_bytes as f64),
        "Most bytes that the link's sender may have in flight";
    Gauge "causeway_receiver_lanes", |l| Some(l.lanes as f64), "Lanes of the link; 0 until a sender has connected";
    Gauge "causeway_receiver_lanes_open", |l| Some(l.lanes_open as f64), "Lanes that a sender has open";
    Gauge "causeway_receiver_lanes_failing", |l| Some(l.by_lane.iter().filter(|lane| lane.trouble.is_some()).count() as f64),
        "Lanes whose target fails; they recover by themselves when it works again";
    Gauge "causeway_receiver_session_active", |l| Some(f64::from(u8::from(l.sender.is_some()))),
        "1 while a sender has the link, else 0";
    Gauge "causeway_receiver_standbys", |l| Some(l.standbys as f64), "Senders that stand by";
    Counter "causeway_receiver_sessions", |l| l.sessions, "Sessions that became active";
    Gauge "causeway_receiver_channels", |l| Some(l.channels as f64), "Open channels of the session; 0 without one";
    Counter "causeway_receiver_channel_ends", |l| l.channel_ends,
        "Further channels that ended while their session continued";
    Counters "causeway_receiver_session_closes" by "code", |l| l.closes.counts(),
        "Ended sessions of the link, including those of standbys, by close code";
};

const PROCESS: &[Metric<Status>] = service::metrics! {
    Gauge "causeway_receiver_rate_bits_per_second", |s| s.rate_bits_per_second.map(|rate| rate as f64),
        "Limit on the IP bits that this receiver sends per second; absent while there is no limit";
    Counter "causeway_receiver_sent_bytes", |s| s.sent_bytes, "IP bytes sent to senders, headers from IP on included";
    Gauge "causeway_receiver_decode_memory_used_bytes", |s| Some(s.decode_memory_used_bytes as f64),
        "Decoded bytes in use by lanes";
    Gauge "causeway_receiver_decode_memory_bytes", |s| Some(s.decode_memory_bytes as f64),
        "Limit on the decoded bytes of all lanes, except for the first frame of each lane";
    Counters "causeway_receiver_refusals" by "code", |s| s.refusals.counts(),
        "Peers with a trusted certificate refused before they had a session, by close code";
    Counters "causeway_receiver_failed_handshakes" by "reason", |s| s.failed_handshakes.counts(),
        "Handshakes that failed: `certificate`, `limit`, `protocol`, `timeout` or `other`; strangers can cause them";
};

#[cfg(test)]
mod tests {
    use service::status::{CertificateStatus, HaltedPartition, PeerStatus, Tally};

    use super::*;
    use crate::groups::board::{GroupStatus, GroupsStatus};
    use crate::link::acls::board::AclsStatus;
    use crate::link::foreign::board::{ForeignPartition, ForeignWrites};
    use crate::link::promotion::board::PromotionStatus;
    use crate::report::status::LaneStatus;

    const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

    /// A status in which nothing is unknown or empty.
    fn full() -> Status {
        let lane = LaneStatus { trouble: Some("commit".into()), ..LaneStatus::default() };
        let mut closes = Tally::default();
        closes.add("NORMAL");
        let mut refusals = Tally::default();
        refusals.add("LINK_UNKNOWN");
        let mut failed_handshakes = Tally::default();
        failed_handshakes.add("timeout");
        let link = LinkStatus {
            link: "a".into(),
            trouble: vec!["lane 0".into()],
            by_lane: vec![lane],
            halted: vec![HaltedPartition::default()],
            orphaned: vec!["orders/0".into()],
            left_out_settings: vec!["orders: segment.bytes=1".into()],
            unlike_settings: vec!["orders: retention.ms".into()],
            weaker_settings: vec!["orders: retention.ms".into()],
            weaker_topics: Some(1),
            consumer_groups: GroupsStatus { groups: Some(1), offsets: closes.clone(), age_seconds: Some(1.0) },
            followed_acls: AclsStatus { follow: "on".into(), rules: closes.clone(), age_seconds: Some(1.0) },
            foreign_writes: ForeignWrites {
                records: Some(1),
                partitions: vec![ForeignPartition { first_offset: Some(7), ..ForeignPartition::default() }],
                failure: Some("orders/0: refused".into()),
                ..ForeignWrites::default()
            },
            promotion: PromotionStatus {
                state: "promoted".into(),
                at: Some(1),
                by: Some("ann".into()),
                reason: Some("fire".into()),
            },
            sender_condition: Some(PeerStatus { trouble: vec!["source cluster".into()], ..PeerStatus::default() }),
            closes,
            ..LinkStatus::default()
        };
        Status {
            rate_bits_per_second: Some(1),
            trouble: vec!["target cluster".into()],
            certificates: vec![CertificateStatus { link: Some("a".into()), ..CertificateStatus::default() }],
            refusals,
            failed_handshakes,
            links: vec![link],
            ..Status::default()
        }
    }

    #[test]
    fn the_published_names_and_fields_are_complete() {
        let mut registry = service::metrics::registry();
        add(&mut registry, full);
        let docs = std::path::Path::new(DOCS);
        service::metrics::check_page(
            &docs.join("reference/metrics.md"),
            &[("receiver", service::metrics::reference(&registry))],
        );
        let sources = [
            include_str!("status.rs"),
            include_str!("../link/foreign/board.rs"),
            include_str!("../link/promotion/board.rs"),
            include_str!("../groups/board.rs"),
            include_str!("../link/acls/board.rs"),
            include_str!("../lane/open_lane.rs"),
            include_str!("../../../service/src/status.rs"),
        ];
        let fields = service::metrics::json_reference(&sources, "Status", &serde_json::json!(full()));
        let mut offsets = Tally::default();
        offsets.add_many("synced", 1);
        let group = serde_json::json!(GroupStatus { offsets, ..GroupStatus::default() });
        let group = service::metrics::json_reference(&sources, "GroupStatus", &group);
        let sections = [("receiver-json", fields), ("receiver-group-json", group)];
        service::metrics::check_page(&docs.join("reference/status.md"), &sections);
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
