//! The page of a sender.

use maud::{Markup, html};
use sender::{CostStatus, GroupStatus, Report, State, Status, TopicStatus};
use service::format::{bits, bytes, duration, grouped};

use super::chart::{Chart, charts};
use super::cost;
use super::halts::{For, command, needs_action};
use super::parts::{Answer, Level, Table, millis, more_than, or_unknown, percent, plain, way};
use super::stations::stations;
use super::{Around, ROWS_MAX, Shown};
use crate::answers::Answers;
use crate::history::{Curve, Sample};
use crate::status::lifts::{Halts, Lift, command_line, manual};
use crate::status::sentences::{
    KeepingUp, Keeps, SOON_SECONDS, class_compression, groups_read, members, named, problems, promised, remedies,
    sender_state, silence,
};

const CHARTS: [Chart; 4] = [
    Chart { curve: Curve::Records, title: "Records sent", unit: per_second, unknown: "unknown" },
    Chart { curve: Curve::Bytes, title: "On the wire", unit: |bytes| bits(bytes * 8.0), unknown: "unknown" },
    Chart {
        curve: Curve::Lag,
        title: "Lag",
        unit: |lag| format!("{} records", grouped(lag as u64)),
        unknown: "unknown",
    },
    Chart { curve: Curve::Queue, title: "Queue of the path", unit: millis, unknown: "unknown: no session" },
];

pub(super) fn per_second(records: f64) -> String {
    if records > 0.0 && records < 10.0 { format!("{records:.1}/s") } else { format!("{}/s", grouped(records as u64)) }
}

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
            (topics_table(status, topics))
            (classes(status))
            (groups_table(status, groups))
            (cost::section(&cost))
            (latency(status))
        }
    }
}

fn answer(status: &Status) -> Answer {
    let keeping_up = KeepingUp::of(status);
    let problems = problems(status);
    let level = match (&status.state, keeping_up.answer) {
        _ if !problems.is_empty() => Level::Wrong,
        (State::Standby { .. }, _) | (_, Keeps::Yes) => Level::Good,
        (_, Keeps::No) => Level::Look,
        (_, Keeps::Unknown) => Level::Unknown,
    };
    Answer {
        level,
        keeping_up: keeping_up.sentence,
        limited_by: status.limited_by.sentence().to_owned(),
        problems,
        actions: remedies(status),
    }
}

/// Halts, and deleted topics, each with what to do.
fn action(status: &Status, options: &str) -> Markup {
    let forget = |topic: &str| Lift {
        when: "to drop its positions".to_owned(),
        command: command_line("forget", &[topic.to_owned()], options),
    };
    html! {
        @if !status.halted.is_empty() || !status.deleted_topics.is_empty() {
            section id="halts" aria-labelledby="halts-head" {
                h2 #halts-head { "Needs an operator" }
                (needs_action(Halts { listed: &status.halted, count: status.halted.len() }, &For { link: "", options, words: "" }))
                @for deleted in status.deleted_topics.iter().take(ROWS_MAX) {
                    article.halt id=(plain(&format!("deleted-{}", deleted.topic))) {
                        h3 { (deleted.topic) " is deleted at the source" }
                        p { (deleted.positions) " positions are stored. Manual: " code { (manual("source-deleted")) } }
                        (command(&forget(&deleted.topic)))
                    }
                }
                (more_than(status.deleted_topics.len(), ROWS_MAX, "p"))
            }
        }
    }
}

fn topics_table(status: &Status, topics: Result<Vec<TopicStatus>, String>) -> Markup {
    let silent = silence(status);
    let count = topics.as_ref().map_or(0, Vec::len);
    let (mut topics, note) = match (topics, &silent) {
        (Err(reason), _) => (Vec::new(), reason),
        (Ok(topics), Some(silent)) => (topics, format!("{count} topics; their lag is unknown: {silent}.")),
        (Ok(topics), None) if status.lag_age_seconds.is_none() => {
            (topics, "Unknown: the source was not asked yet.".to_owned())
        }
        (Ok(topics), None) => {
            (topics, format!("{count} topics; those in trouble, then those with the most lag, come first."))
        }
    };
    if silent.is_some() {
        topics.iter_mut().for_each(|topic| topic.lag_records = None);
    }
    topics
        .sort_by_key(|topic| std::cmp::Reverse((topic.halted + topic.waiting, topic.lag_records.unwrap_or(u64::MAX))));
    let rows = topics.iter().map(|topic| {
        vec![
            topic.topic.clone(),
            topic.partitions.to_string(),
            topic.halted.to_string(),
            topic.waiting.to_string(),
            or_unknown(topic.lag_records.map(grouped)),
            loss(status, topic),
        ]
    });
    let head = ["topic", "partitions", "halted", "waiting", "records behind", "time to loss"];
    Table { id: "topics", title: "Topics", note: &note, head: &head, rows: rows.collect(), numbers: 1 }.shown()
}

/// Time until the source deletes the topic's first record that is not carried. Only the soonest of all is forecast.
fn loss(status: &Status, topic: &TopicStatus) -> String {
    let soonest = status.forecast.loss_seconds.zip(status.forecast.loss_topic.as_ref());
    match (topic.lag_records, soonest) {
        (Some(0), _) => "nothing waits".to_owned(),
        (Some(_), Some((seconds, first))) if *first == topic.topic => duration(seconds),
        (Some(_), None) if status.forecast.drain_seconds.is_some_and(|drain| drain <= SOON_SECONDS) => {
            "carried within a minute".to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn classes(status: &Status) -> Markup {
    let rows = status.classes.iter().map(|class| {
        vec![
            class.class.clone(),
            promised(class),
            class_compression(class, false),
            class.sent_percent.map_or_else(|| "nothing sent".to_owned(), |part| percent(part / 100.0)),
            bytes(class.sent_bytes),
            class.waiting_lanes.to_string(),
        ]
    });
    let head = ["class", "share", "compression", "has now", "sent", "lanes waiting"];
    let note = if status.classes.is_empty() { "Unknown before the first session." } else { "" };
    Table { id: "classes", title: "Classes and shares", note, head: &head, rows: rows.collect(), numbers: 3 }.shown()
}

fn groups_table(status: &Status, groups: Result<Vec<GroupStatus>, String>) -> Markup {
    if !status.consumer_groups.on {
        let note = "Not carried: `groups.include` names none.";
        return Table { id: "groups", title: "Consumer groups", note, head: &[], rows: Vec::new(), numbers: 1 }.shown();
    }
    let (groups, note) = match groups {
        Ok(groups) => (groups, groups_read(&status.consumer_groups)),
        Err(reason) => (Vec::new(), reason),
    };
    let rows =
        groups.iter().map(|group| vec![group.group.clone(), members(group).to_owned(), grouped(group.offsets as u64)]);
    let head = ["group", "at the source", "offsets"];
    Table { id: "groups", title: "Consumer groups", note: &note, head: &head, rows: rows.collect(), numbers: 2 }.shown()
}

fn latency(status: &Status) -> Markup {
    let rows = status.latency.iter().map(|stage| {
        let is_recent = stage.minute.frames > 0;
        let summary = if is_recent { stage.minute } else { stage.total };
        let when = match (is_recent, stage.total.frames) {
            (true, _) => "the last minute",
            (false, 0) => "nothing measured yet",
            (false, _) => "before",
        };
        let value = |seconds: Option<f64>| or_unknown(seconds.map(millis));
        vec![stage.stage.word().to_owned(), when.to_owned(), value(summary.p50_seconds), value(summary.p99_seconds)]
    });
    let head = ["stage", "measured in", "median", "99 of 100 below"];
    let note = "From a record's timestamp at the source to its commit in the target; what a stage means is in docs/troubleshoot.md#latency-by-stage.";
    Table { id: "latency", title: "Latency by stage", note, head: &head, rows: rows.collect(), numbers: 2 }.shown()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::page::stations::status;

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

    #[test]
    fn a_link_that_falls_behind_or_loses_records_is_not_good() {
        let of = |more| {
            let answer = answer(&status(more));
            (answer.level, answer.keeping_up, answer.actions)
        };
        let none: Vec<String> = Vec::new();
        let caught_up = of(serde_json::json!({ "lag_records": 0 }));
        assert_eq!(caught_up, (Level::Good, "yes: the target has everything".to_owned(), none.clone()));
        let soon = of(serde_json::json!({ "forecast": { "drain_seconds": 12.5 } }));
        assert_eq!(soon, (Level::Good, "yes: 9 records behind, gone in 12 s".to_owned(), none.clone()));
        let late = of(serde_json::json!({ "forecast": { "drain_seconds": 500.0 } }));
        assert_eq!(late, (Level::Look, "no: 9 records behind, gone in 8 min 20 s".to_owned(), none.clone()));
        let grows = of(serde_json::json!({ "forecast": { "grows": true } }));
        let remedy = vec!["see docs/troubleshoot.md#lag-grows".to_owned()];
        assert_eq!(grows, (Level::Look, "no: 9 records behind, and it does not shrink".to_owned(), remedy));
        let new = of(serde_json::json!({}));
        assert_eq!(new, (Level::Unknown, "unknown: no trend yet, 9 records behind".to_owned(), none.clone()));
        let expires = |drain: Option<f64>, loss: f64| {
            of(serde_json::json!({
                "forecast": { "drain_seconds": drain, "loss_seconds": loss, "loss_topic": "orders" }
            }))
        };
        let lost = expires(Some(90_000.0), 80_000.0);
        let remedy = vec!["see docs/troubleshoot.md#records-expire-soon".to_owned()];
        assert_eq!(lost, (Level::Wrong, "no: 9 records behind, which the source will delete".to_owned(), remedy));
        assert_eq!(expires(None, 80_000.0).0, Level::Wrong);
        assert_eq!(expires(Some(500.0), 80_000.0).0, Level::Look, "carried before it is deleted");
        assert_eq!(expires(Some(500.0), 90_000.0).0, Level::Look);
        assert_eq!(of(serde_json::json!({ "lag_records": 0, "trouble": ["a"] })).0, Level::Wrong);
        assert_eq!(of(serde_json::json!({ "state": { "standby": { "behind": "b" } } })).0, Level::Good);
    }
}
