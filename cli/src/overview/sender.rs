//! What is shown of a sender.

use sender::{GroupStatus, State, Status, TopicStatus};
use service::format::{bits, bytes, duration, grouped};

use super::{Answer, Chart, Level, Table, millis, or_unknown, percent};
use crate::history::Curve;
use crate::status::sentences::{
    KeepingUp, Keeps, SOON_SECONDS, class_compression, groups_read, members, problems, promised, remedies, silence,
};

pub(crate) use super::stations::stations;

pub(crate) const CHARTS: [Chart; 4] = [
    Chart { curve: Curve::Records, title: "Records sent", unit: per_second, unknown: "unknown" },
    Chart { curve: Curve::Bytes, title: "On the wire", unit: |bytes| bits(bytes * 8.0), unknown: "unknown" },
    Chart { curve: Curve::Lag, title: "Lag", unit: records, unknown: "unknown" },
    Chart { curve: Curve::Queue, title: "Queue of the path", unit: millis, unknown: "unknown: no session" },
];

pub(crate) fn per_second(records: f64) -> String {
    if records > 0.0 && records < 10.0 { format!("{records:.1}/s") } else { format!("{}/s", grouped(records as u64)) }
}

pub(crate) fn records(count: f64) -> String {
    format!("{} records", grouped(count as u64))
}

pub(crate) fn answer(status: &Status) -> Answer {
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

pub(crate) fn topics_table(status: &Status, topics: Result<Vec<TopicStatus>, String>) -> Table {
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
    let head = &["topic", "partitions", "halted", "waiting", "records behind", "time to loss"];
    Table { id: "topics", title: "Topics", note, head, rows: rows.collect(), numbers: 1 }
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

pub(crate) fn classes(status: &Status) -> Table {
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
    let head = &["class", "share", "compression", "has now", "sent", "lanes waiting"];
    let note = if status.classes.is_empty() { "Unknown before the first session.".to_owned() } else { String::new() };
    Table { id: "classes", title: "Classes and shares", note, head, rows: rows.collect(), numbers: 3 }
}

pub(crate) fn groups_table(status: &Status, groups: Result<Vec<GroupStatus>, String>) -> Table {
    if !status.consumer_groups.on {
        let note = "Not carried: `groups.include` names none.".to_owned();
        return Table { id: "groups", title: "Consumer groups", note, head: &[], rows: Vec::new(), numbers: 1 };
    }
    let (groups, note) = match groups {
        Ok(groups) => (groups, groups_read(&status.consumer_groups)),
        Err(reason) => (Vec::new(), reason),
    };
    let rows =
        groups.iter().map(|group| vec![group.group.clone(), members(group).to_owned(), grouped(group.offsets as u64)]);
    let head = &["group", "at the source", "offsets"];
    Table { id: "groups", title: "Consumer groups", note, head, rows: rows.collect(), numbers: 2 }
}

pub(crate) fn latency(status: &Status) -> Table {
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
    let head = &["stage", "measured in", "median", "99 of 100 below"];
    let note = "From a record's timestamp at the source to its commit in the target; what a stage means is in docs/troubleshoot.md#latency-by-stage.".to_owned();
    Table { id: "latency", title: "Latency by stage", note, head, rows: rows.collect(), numbers: 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::stations::status;

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
