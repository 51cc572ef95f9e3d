//! The page of a sender.

use maud::{Markup, html};
use sender::{CostStatus, GroupStatus, Report, Status, TopicStatus};

use super::chart::charts;
use super::cost;
use super::halts::{For, command, needs_action};
use super::parts::{more_than, way};
use super::{Around, Shown};
use crate::answers::Answers;
use crate::history::Sample;
use crate::overview::sender::{CHARTS, answer, classes, groups_table, latency, stations, topics_table};
use crate::overview::{ROWS_MAX, plain};
use crate::status::lifts::{Halts, forget, manual};
use crate::status::sentences::{named, sender_state};

impl Shown for Answers<Report> {
    fn sample(&self) -> (Sample, Vec<(String, u64)>) {
        (Sample::of_sender(&self.0.status()), Vec::new())
    }

    fn draw(&self, around: &Around<'_>) -> (String, Markup) {
        let status = self.0.status();
        let title = format!("{}: Causeway sender", named(&status.link));
        let lists = Lists { topics: self.0.topics(), groups: self.0.groups(), cost: self.0.cost() };
        (title, sections(&status, lists, around))
    }
}

/// What a sender has besides its status.
struct Lists {
    topics: Result<Vec<TopicStatus>, String>,
    groups: Result<Vec<GroupStatus>, String>,
    cost: CostStatus,
}

/// The sections of a sender; on standby there are sentences in place of topics and groups.
fn sections(status: &Status, lists: Lists, around: &Around<'_>) -> Markup {
    let Lists { topics, groups, cost } = lists;
    let answer = answer(status);
    html! {
        header {
            h1 { (named(&status.link)) }
            p { "Sender " (named(&status.instance)) ", causeway " (status.version) ". " (sender_state(status)) "." }
        }
        main {
            (answer.shown())
            (way(&stations(status)))
            (action(status, around.options))
            (charts(around.history, &CHARTS))
            (topics_table(status, topics).shown())
            (classes(status).shown())
            (groups_table(status, groups).shown())
            (cost::section(&cost))
            (latency(status).shown())
        }
    }
}

/// Halts, and deleted topics, each with what to do.
fn action(status: &Status, options: &str) -> Markup {
    html! {
        @if !status.halted.is_empty() || !status.deleted_topics.is_empty() {
            section id="halts" aria-labelledby="halts-head" {
                h2 #halts-head { "Needs an operator" }
                (needs_action(Halts { listed: &status.halted, count: status.halted.len() }, &For { link: "", options, words: "" }))
                @for deleted in status.deleted_topics.iter().take(ROWS_MAX) {
                    article.halt id=(plain(&format!("deleted-{}", deleted.topic))) {
                        h3 { (deleted.topic) " is deleted at the source" }
                        p { (deleted.positions) " positions are stored. Manual: " code { (manual("source-deleted")) } }
                        (command(&forget(&deleted.topic, options)))
                    }
                }
                (more_than(status.deleted_topics.len(), ROWS_MAX, "p"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    fn shown(status: serde_json::Value, topics: serde_json::Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        let topics = serde_json::from_value(topics).map_err(|error| error.to_string());
        let around = Around { history: &History::default(), options: " --config /etc/s.toml" };
        let lists = Lists { topics, groups: Err("no groups".into()), cost: CostStatus::default() };
        sections(&status, lists, &around).into_string()
    }

    #[test]
    fn a_page_answers_what_operators_ask() {
        let status = serde_json::json!({
            "link": "fra-to-sin", "instance": "fra-1", "state": "active", "receiver": "10.0.0.2:7443",
            "session_seconds": 11_000.5, "sessions": 2, "rtt_seconds": 0.102, "lag_records": 1_234_567, "lag_age_seconds": 1.0,
            "rate": { "bits_per_second": 100_000_000, "reason": "file", "throughput_bits_per_second": 5e7 },
            "forecast": { "loss_seconds": 90_000.0, "loss_topic": "orders" },
            "path": { "queue_seconds": 0.0021, "loss_ratio": 0.012 }, "limited_by": "budget",
            "halted": [{ "topic": "<orders>", "partition": 3, "reason": "target-not-empty", "detail": "log end 7" }],
            "latency": [{ "stage": "wire", "minute": { "frames": 5, "p50_seconds": 0.1001, "p99_seconds": 0.1205 } }],
            "classes": [{ "class": "bulk", "share_percent": 20.0, "sent_percent": 55.0 }],
        });
        let topics = serde_json::json!([
            { "topic": "bills", "partitions": 3, "lag_records": 12 },
            { "topic": "orders", "partitions": 12, "lag_records": 7 },
            { "topic": "new", "partitions": 1, "lag_records": null },
        ]);
        let shown = shown(status, topics);
        for part in [
            "<h1>fra-to-sin</h1>",
            "no: 1,234,567 records behind; partitions: 1 halted",
            "the budget: `wan.rate` is used up",
            "100 Mbit/s by the file; 50 Mbit/s used, 50 %",
            "<dt>round trip</dt><dd>102.0 ms</dd>",
            "<dt>loss</dt><dd>1.20 %</dd>",
            "causeway adopt '&lt;orders&gt;/3' --config /etc/s.toml",
            "docs/troubleshoot.md#target-not-empty",
            "<td class=\"number\">1 d 1 h</td>",
            "<td class=\"number\">100.1 ms</td>",
            "<td class=\"number\">55 %</td>",
            "class=\"wrong\"",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        assert!(!shown.contains("<orders>"), "{shown}");
        let order: Vec<_> =
            ["new", "bills", "orders"].map(|topic| shown.find(&format!("<th scope=\"row\">{topic}<"))).into();
        assert!(order.is_sorted() && order[0].is_some(), "unknown lag first, then the largest: {order:?}");
    }

    #[test]
    fn a_value_that_is_not_known_is_called_unknown() {
        let shown = shown(serde_json::json!({ "link": "a" }), serde_json::json!("on standby"));
        for part in [
            "unknown: the source was not asked yet",
            "<dt>records behind</dt><dd>unknown</dd>",
            "<dt>waiting</dt><dd>unknown</dd>",
            "<dt>round trip</dt><dd>unknown</dd>",
            "<dt>loss</dt><dd>unknown</dd>",
            "<dt>lanes that fail</dt><dd>unknown</dd>",
            "commits unknown",
            "no session",
            "Records sent: <strong>unknown</strong>",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }

    #[test]
    fn an_old_measurement_is_unknown_and_has_its_age() {
        let status = |age: f64| {
            serde_json::json!({
                "link": "a", "state": "active", "session_seconds": 90.0, "lag_age_seconds": age,
                "lag_records": if age > 10.0 { None } else { Some(7) },
                "forecast": {
                    "backlog_bytes": 3_145_728.0, "goodput_bytes_per_second": 2_097_152.0,
                    "loss_seconds": 200_000.0, "loss_topic": "orders",
                },
            })
        };
        let topics = serde_json::json!([{ "topic": "orders", "partitions": 3, "lag_records": 4_711 }]);
        let values = ["4,711", "2 d 7 h", "3 MiB", "2 MiB/s committed"];
        let fresh = shown(status(9.0), topics.clone());
        assert!(values.iter().all(|value| fresh.contains(value)), "{fresh}");
        let old = shown(status(135.0), topics);
        assert!(values.iter().all(|value| !old.contains(value)), "{old}");
        for part in [
            "unknown: the source has not answered for 2 min 15 s",
            "1 topics; their lag is unknown: the source has not answered for 2 min 15 s.",
            "<dt>records behind</dt><dd>unknown</dd>",
            "<dt>backlog</dt><dd>unknown: the source has not answered for 2 min 15 s</dd>",
            "commits unknown",
            "<td class=\"number\">unknown</td><td class=\"number\">unknown</td></tr>",
        ] {
            assert!(old.contains(part), "{part}\n{old}");
        }
    }
}
