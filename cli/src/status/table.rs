//! The status as a page of text: first whether the process keeps up, then its state, problems, and each lane.

use std::fmt::Write;

use receiver::status::LinkStatus;
use sender::{PartitionStatus, TopicStatus};
use serde::Deserialize;
use service::format::{bytes, duration, grouped};
use service::status::HaltedPartition;

use super::acls;
use super::foreign_writes::foreign_writes;
use super::promotion::promotion;
use super::sentences::{
    KeepingUp, backlog, class_compression, credit, groups_read, known, listens, members, named, problems, promised,
    remedies, sender_state, states,
};

pub(super) fn sender(address: &str, status: &sender::Status) -> String {
    let link = named(&status.link);
    let process = process(address, &status.instance, &status.version);
    let mut page = Page::headed(format!("sender of {link} {process}"));
    page.line("keeping up", &KeepingUp::of(status).sentence);
    page.line("limited by", status.limited_by.sentence());
    page.line("state", &sender_state(status));
    page.list("problems", "none", problems(status));
    page.list("action", "none needed", remedies(status));
    page.line("rate", &crate::rate::sentence(&status.rate));
    page.line("backlog", &backlog(status));
    page.line("sent", &sent(status));
    page.lines("compression", &compression(status));
    if status.channels_wanted > 0 {
        let reconnects = if status.channel_redials == 1 { "reconnect" } else { "reconnects" };
        let open = format!("{} of {} open", status.channels, status.channels_wanted);
        page.line("channels", &format!("{open}, {} {reconnects}", status.channel_redials));
    }
    page.line("path", &path(status));
    page.lines("latency", &latency(status));
    if let Some(credit) = credit(status) {
        page.line("credit", &credit);
    }
    let waiting = status.waiting_at_source + status.waiting_at_target;
    page.line(
        "partitions",
        &format!("{} being read, {} halted, {waiting} waiting", status.partitions, status.halted.len()),
    );
    if !status.not_carried.is_empty() {
        let count = status.not_carried.len();
        let topics = if count == 1 { "topic" } else { "topics" };
        let words = "that links brought here; `source.forward` names those to carry on";
        page.line("left out", &format!("{count} {topics} {words}"));
    }
    if status.followed_acls.on {
        page.line("acls", &acls::read(&status.followed_acls));
    }
    if status.consumer_groups.on {
        page.line("groups", &groups_read(&status.consumer_groups));
    }
    page.line("lanes", &format!("{} of {} open", status.lanes_open, status.lanes));
    let rows = status.by_lane.iter().map(|lane| {
        let records = grouped(lane.records);
        let in_flight = bytes(lane.in_flight_bytes);
        vec![lane.lane.to_string(), opened(lane.epoch), lane.partitions.to_string(), records, in_flight]
    });
    page.table(&["lane", "epoch", "partitions", "records sent", "in flight"], rows.collect());
    if status.classes.len() > 1 {
        page.line("classes", &format!("{} classes of topics", status.classes.len()));
        let rows = status.classes.iter().map(|class| {
            let has = class.sent_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0} %"));
            let sent = bytes(class.sent_bytes);
            vec![class.class.clone(), promised(class), has, sent, class.waiting_lanes.to_string()]
        });
        page.table(&["class", "share", "has now", "sent", "lanes waiting"], rows.collect());
    }
    page.0
}

/// The topics of a sender. Those with the most lag come last, where a long list ends on the screen.
pub(super) fn topics(address: &str, topics: &[TopicStatus]) -> String {
    let mut page = Page::headed(format!("{} topics of the sender at {address}", topics.len()));
    let mut topics: Vec<_> = topics.iter().collect();
    topics.sort_by_key(|topic| (topic.halted + topic.waiting, topic.lag_records.unwrap_or(u64::MAX)));
    let rows = topics.into_iter().map(|topic| {
        let counts = [topic.partitions, topic.halted, topic.waiting].map(|count| count.to_string());
        [vec![topic.topic.clone()], counts.to_vec(), vec![known(topic.lag_records)]].concat()
    });
    page.table(&["topic", "partitions", "halted", "waiting", "records behind"], rows.collect());
    page.0
}

/// The partitions of one topic of a sender, and the reason of each halt.
pub(super) fn partitions(address: &str, topic: &str, partitions: &[PartitionStatus]) -> String {
    let mut page = Page::headed(format!("{topic}, carried by the sender at {address}"));
    let number = |number: Option<i64>| known(number.and_then(|number| u64::try_from(number).ok()));
    let rows = partitions.iter().map(|one| {
        vec![
            one.partition.to_string(),
            one.lane.to_string(),
            number(one.position),
            number(one.log_start),
            number(one.log_end),
            known(one.lag_records),
            one.state.clone(),
        ]
    });
    let head = ["partition", "lane", "position", "log start", "log end", "records behind", "state"];
    page.table(&head, rows.collect());
    let halted = partitions.iter().filter_map(|one| Some((one.partition, one.halt.as_ref()?, one.detail.as_ref()?)));
    let halted: Vec<_> =
        halted.map(|(number, halt, detail)| format!("{topic}/{number} halted, {halt}: {detail}")).collect();
    if !halted.is_empty() {
        page.head("halted");
        halted.iter().for_each(|words| page.line("", words));
    }
    page.0
}

pub(super) fn receiver(address: &str, status: &receiver::status::Status) -> String {
    let process = process(address, &status.instance, &status.version);
    let mut page = Page::headed(format!("receiver {process}"));
    page.line("state", &listens(status));
    page.list("problems", "none", status.trouble.clone());
    let used = bytes(status.decode_memory_used_bytes);
    page.line("decoding", &format!("{used} of {} in use", bytes(status.decode_memory_bytes)));
    for (name, begin, tally) in
        [("refused", "", &status.refusals), ("handshakes", "failed: ", &status.failed_handshakes)]
    {
        let counts: Vec<_> = tally.counts().iter().map(|(word, count)| format!("{word} {}", grouped(*count))).collect();
        if !counts.is_empty() {
            page.line(name, &format!("{begin}{}", counts.join(", ")));
        }
    }
    for link in &status.links {
        served(&mut page, link);
    }
    page.0
}

fn served(page: &mut Page, link: &LinkStatus) {
    page.head(&format!("link {}", named(&link.link)));
    let standbys = match link.standbys {
        0 => String::new(),
        count => format!(", {count} standing by"),
    };
    let holder = link.sender.as_ref().map(|sender| format!("sender {} holds it", named(sender)));
    page.line("state", &format!("{}{standbys}", holder.unwrap_or_else(|| "no sender".to_owned())));
    let halts = HaltedPartition::sentences(&link.halted);
    page.list("problems", "none", link.trouble.iter().cloned().chain(halts).collect());
    let counts = &link.counts;
    let records = grouped(counts.records);
    let transactions = grouped(counts.transactions);
    page.line("committed", &format!("{records} records, {} in {transactions} transactions", bytes(counts.bytes)));
    page.line("recovered", &format!("{} times", counts.recoveries));
    page.line("halted", &format!("{} partitions", link.halted_partitions));
    page.line("waiting", &format!("{} partitions", link.waiting_partitions));
    if let Some(told) = &link.sender_condition {
        let words = format!("{} partitions halted, {} waiting", told.halted_partitions, told.waiting_partitions);
        page.line("at source", &words);
    }
    let forget = if link.orphaned_positions > 0 { "; `causeway forget` drops them" } else { "" };
    page.line("orphaned", &format!("{} positions{forget}", link.orphaned_positions));
    if !link.left_out_settings.is_empty() {
        page.list("left out", "none", link.left_out_settings.clone());
    }
    if !link.unlike_settings.is_empty() {
        page.list("unlike", "none", link.unlike_settings.clone());
    }
    page.line("holding", &format!("{} of {} credit", bytes(link.held_bytes), bytes(link.credit_bytes)));
    if let Some(groups) = link.consumer_groups.groups {
        let age = link.consumer_groups.age_seconds.map(|age| format!(", as of {} ago", duration(age)));
        let age = age.unwrap_or_else(|| "; unknown since when".to_owned());
        page.line("groups", &format!("{groups} groups: {}{age}", states(&link.consumer_groups.offsets)));
    }
    if link.followed_acls.follow != "off" && !link.followed_acls.follow.is_empty() {
        page.line("acls", &acls::followed(&link.followed_acls));
    }
    if let Some(words) = promotion(&link.promotion) {
        page.line("promoted", &words);
    }
    page.line("foreign", &foreign_writes(&link.foreign_writes));
    page.line("lanes", &format!("{} of {} open", link.lanes_open, link.lanes));
    let rows = link
        .by_lane
        .iter()
        .map(|lane| vec![lane.lane.to_string(), opened(lane.epoch), grouped(lane.records), bytes(lane.held_bytes)]);
    page.table(&["lane", "epoch", "records committed", "holding"], rows.collect());
}

/// Consumer group, as its sender or its receiver shows it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Group {
    Target(receiver::GroupStatus),
    Source(sender::GroupStatus),
}

/// The consumer groups of a process.
pub(super) fn groups(address: &str, groups: &[Group]) -> String {
    let mut page = Page::headed(format!("{} consumer groups, as {address} knows them", groups.len()));
    let rows = groups.iter().map(|group| match group {
        Group::Target(group) => vec![group.group.clone(), group.link.clone(), states(&group.offsets)],
        Group::Source(group) => {
            vec![group.group.clone(), members(group).to_owned(), format!("{} offsets", grouped(group.offsets as u64))]
        }
    });
    let is_target = groups.iter().all(|group| matches!(group, Group::Target(_)));
    let head =
        if is_target { ["group", "link", "offsets in the target"] } else { ["group", "at the source", "offsets"] };
    page.table(&head, rows.collect());
    page.0
}

fn sent(status: &sender::Status) -> String {
    let totals = &status.totals;
    let wire = &status.wire;
    format!(
        "{} records in {} frames, {} before compression, {} on the wire, {} of {} packets lost",
        grouped(totals.records),
        grouped(totals.frames),
        bytes(totals.raw_bytes),
        bytes(wire.sent_bytes),
        grouped(wire.lost_packets),
        grouped(wire.sent_packets)
    )
}

/// Compression of each class and the reason for it, what it saved so far, and how much of it by shapes.
fn compression(status: &sender::Status) -> Vec<String> {
    let classes = status.classes.iter().filter(|class| !class.compression.is_empty());
    let is_named = classes.clone().count() > 1;
    classes.map(|class| class_compression(class, is_named)).collect()
}

fn path(status: &sender::Status) -> String {
    let millis =
        |seconds: Option<f64>| seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3));
    let percent = |part: Option<f64>| part.map_or_else(|| "?".to_owned(), |part| format!("{:.1} %", part * 1e2));
    let path = &status.path;
    let efficiency = status.efficiency_ratio.map_or_else(|| "?".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(
        "base round trip {}, queue {}, loss {}, {efficiency} B of records per byte on the wire",
        millis(path.base_rtt_seconds),
        millis(path.queue_seconds),
        percent(path.loss_ratio)
    )
}

/// The latency of each stage that was measured, in the last minute or before.
fn latency(status: &sender::Status) -> Vec<String> {
    let shown = |stage: &sender::StageStatus| {
        let recent = stage.minute.frames > 0;
        let when = if recent { "the last minute" } else { "before" };
        let summary = if recent { stage.minute } else { stage.total };
        let p50 = summary.p50_seconds? * 1e3;
        let p99 = summary.p99_seconds? * 1e3;
        Some(format!("{:<6} p50 {p50:>8.1} ms, p99 {p99:>8.1} ms, {when}", stage.stage.word()))
    };
    status.latency.iter().filter_map(shown).collect()
}

pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn headed(head: String) -> Self {
        Self(head + "\n")
    }

    fn head(&mut self, head: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "\n{head}");
    }

    /// A line without control characters: some words come from the other end, or from a broker.
    pub(super) fn line(&mut self, what: &str, words: &str) {
        let words = words.replace(char::is_control, " ");
        let _ = writeln!(self.0, "  {what:<11} {words}");
    }

    /// A line for each entry, or `none`.
    fn list(&mut self, what: &str, none: &str, list: Vec<String>) {
        if list.is_empty() {
            return self.line(what, none);
        }
        self.lines(what, &list);
    }

    fn lines(&mut self, what: &str, list: &[impl AsRef<str>]) {
        for (index, words) in list.iter().enumerate() {
            self.line(if index == 0 { what } else { "" }, words.as_ref());
        }
    }

    /// A table whose columns are aligned to the right.
    pub(super) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let all = [head].into_iter().chain(rows).collect::<Vec<_>>();
        let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths = (0..all[0].len()).map(width).collect::<Vec<_>>();
        self.0.push('\n');
        for row in &all {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            let _ = writeln!(self.0, "  {}", cells.collect::<Vec<_>>().join("  "));
        }
    }
}

/// The end of a page's title, the same for both roles.
fn process(address: &str, instance: &str, version: &str) -> String {
    format!("at {address}, instance {}, causeway {version}", named(instance))
}

fn opened(epoch: Option<u64>) -> String {
    epoch.map_or_else(|| "closed".to_owned(), |epoch| epoch.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_page_begins_with_what_operators_ask() {
        let status = serde_json::json!({
            "role": "sender", "version": "0.1.0", "link": "fra-to-sin", "instance": "fra-1", "state": "active",
            "receiver": "10.0.0.2:7443", "session_seconds": 11_000.5, "sessions": 2, "rtt_seconds": 0.102,
            "rate": { "bits_per_second": 100_000_000, "reason": "file", "throughput_bits_per_second": 5e7 },
            "forecast": { "goodput_bytes_per_second": 2_097_152.0, "backlog_bytes": 104_857_600.0, "drain_seconds": 61.0, "loss_seconds": 90_000.0, "loss_topic": "orders" },
            "lag_records": 1_234_567, "lanes": 2, "lanes_open": 1, "partitions": 25,
            "limited_by": "lanes",
            "path": { "base_rtt_seconds": 0.1, "queue_seconds": 0.0021, "loss_ratio": 0.012 }, "efficiency_ratio": 2.345,
            "latency": [
                { "stage": "read", "total": { "frames": 5, "p50_seconds": 0.0123, "p99_seconds": 1.5 } },
                { "stage": "wire", "minute": { "frames": 5, "p50_seconds": 0.1001, "p99_seconds": 0.1205 } },
                { "stage": "order" },
            ],
            "halted": [
                { "topic": "orders", "partition": 3, "reason": "target-not-empty", "detail": "log end 7" },
                { "topic": "orders", "partition": 4, "reason": "target-not-empty", "detail": "log end 9" },
            ],
            "receiver_condition": { "lanes_failing": 1 },
            "not_carried": [{ "topic": "b.a", "reason": "brought", "by": "back", "clusters": [] }],
            "by_lane": [{ "lane": 0, "epoch": 12, "partitions": 25, "records": 9000 }, { "lane": 1 }],
        });
        let page = sender("127.0.0.1:7401", &serde_json::from_value(status).unwrap());
        for line in [
            "sender of fra-to-sin at 127.0.0.1:7401, instance fra-1, causeway 0.1.0\n",
            "  keeping up  no: 1,234,567 records behind; partitions: 2 halted\n",
            "  state       active: sending to 10.0.0.2:7443 for 3 h 3 min, round trip 102 ms, session 2\n",
            "  limited by  lanes are closed: see the target and the receiver's log\n",
            "  problems    orders/3 halted, target-not-empty: log end 7\n",
            "              orders/4 halted, target-not-empty: log end 9\n",
            "  action      see docs/troubleshoot.md#target-not-empty\n",
            "              see docs/troubleshoot.md#failing-lanes\n",
            "  partitions  25 being read, 2 halted, 0 waiting\n",
            "  left out    1 topic that links brought here; `source.forward` names those to carry on\n",
            "  rate        100 Mbit/s by the file; 50 Mbit/s used, 50 %\n",
            "  backlog     100 MiB, 2 MiB/s committed: gone in 1 min 1 s; the source keeps it for 1 d 1 h (orders)\n",
            "  path        base round trip 100 ms, queue 2 ms, loss 1.2 %, 2.35 B of records per byte on the wire\n",
            "  latency     read   p50     12.3 ms, p99   1500.0 ms, before\n",
            "              wire   p50    100.1 ms, p99    120.5 ms, the last minute\n",
            "  lanes       1 of 2 open\n",
            "     0      12          25         9,000        0 B\n",
            "     1  closed           0             0        0 B\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }

    #[test]
    fn a_healthy_sender_has_no_problems_and_needs_no_action() {
        let status = serde_json::json!({
            "role": "sender", "link": "a", "state": "active", "lanes": 1, "lanes_open": 1, "lag_records": 0,
            "limited_by": "source", "channels": 4, "channels_wanted": 4,
        });
        let page = sender("a:1", &serde_json::from_value(status).unwrap());
        for line in [
            "  keeping up  yes: the target has everything\n",
            "  problems    none\n  action      none needed\n",
            "  channels    4 of 4 open, 0 reconnects\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }

    #[test]
    fn keeping_up_is_unknown_where_no_one_looked() {
        let said = |more: serde_json::Value| {
            let mut status = serde_json::json!({ "role": "sender", "link": "a", "state": "active" });
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            KeepingUp::of(&serde_json::from_value(status).unwrap()).sentence
        };
        let silent = serde_json::json!({ "lag_records": null, "lag_age_seconds": 135.0 });
        assert_eq!(said(silent), "unknown: the source has not answered for 2 min 15 s");
        let joining = serde_json::json!({ "lag_records": null, "lag_age_seconds": 1.0 });
        assert_eq!(said(joining), "unknown: not every partition has joined");
        let some = serde_json::json!({ "lag_age_seconds": 1.0, "lag_unknown_partitions": 3, "waiting_at_source": 1 });
        assert_eq!(said(some), "unknown: 1 partition waiting for the source, 2 partitions not joined");
        let halted = serde_json::json!({ "lag_records": 100, "waiting_at_target": 1, "halted": [{ "topic": "a" }] });
        assert_eq!(said(halted), "no: 100 records behind; partitions: 1 halted, 1 waiting");
        assert_eq!(said(serde_json::json!({})), "unknown: the source was not asked yet");
        let lost = serde_json::json!({ "lag_records": 0, "lag_age_seconds": 1.0, "state": "connecting" });
        assert!(said(lost).starts_with("unknown: no session"));
    }

    #[test]
    fn topics_and_partitions_with_the_most_lag_come_last() {
        let all = serde_json::json!([
            { "topic": "orders", "partitions": 12, "halted": 1, "lag_records": 7 },
            { "topic": "new", "partitions": 1, "halted": 0, "lag_records": null },
            { "topic": "bills", "partitions": 3, "halted": 0, "lag_records": 12_345 },
        ]);
        let page = topics("a:1", &serde_json::from_value::<Vec<_>>(all).unwrap());
        assert_eq!(
            page,
            "3 topics of the sender at a:1\n\n   topic  partitions  halted  waiting  records behind\n   bills           3       0        0          12,345\n     new           1       0        0               ?\n  orders          12       1        0               7\n"
        );
        let all = serde_json::json!([
            { "topic": "orders", "partition": 0, "lane": 3, "state": "carried", "position": 90, "log_start": 50,
              "log_end": 1000, "lag_records": 910 },
            { "topic": "orders", "partition": 1, "lane": 4, "state": "halted", "halt": "corrupt", "detail": "crc" },
        ]);
        let page = partitions("a:1", "orders", &serde_json::from_value::<Vec<_>>(all).unwrap());
        for line in [
            "orders, carried by the sender at a:1\n",
            "          0     3        90         50    1,000             910  carried\n",
            "          1     4         ?          ?        ?               ?   halted\n",
            "orders/1 halted, corrupt: crc\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }

    #[test]
    fn a_receiver_shows_each_link() {
        let mut status = receiver::status::Status { instance: "sin-1".into(), ..Default::default() };
        assert!(receiver("a", &status).contains("  state       waiting for the target cluster\n"));
        status.listen = Some("0.0.0.0:7443".parse().unwrap());
        (0..3).for_each(|_| status.refusals.add("LINK_UNKNOWN"));
        status.failed_handshakes.add("timeout");
        let trouble = vec!["lane 0: commit: timed out".to_owned(), "lane 1: commit: timed out".to_owned()];
        status.links.push(LinkStatus { link: "fra-to-sin".into(), standbys: 1, trouble, ..Default::default() });
        let page = receiver("a", &status);
        for line in [
            "  state       listening on 0.0.0.0:7443 (UDP)\n  problems    none\n",
            "  refused     LINK_UNKNOWN 3\n  handshakes  failed: timeout 1\n",
            "\nlink fra-to-sin\n  state       no sender, 1 standing by\n  problems    lane 0: commit: timed out\n",
            "              lane 1: commit: timed out\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
    }
}
