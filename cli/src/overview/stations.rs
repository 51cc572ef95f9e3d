//! Stations of a sender, each with the colour of its own trouble.

use sender::{State, Status};
use service::format::{bytes, duration, grouped};

use super::place::Place;
use super::{Level, Station, millis, or_unknown};
use crate::status::sentences::{backlog, credit, silence};

fn partitions(count: usize) -> String {
    format!("{count} partition{}", if count == 1 { "" } else { "s" })
}

/// The level of a station that has this trouble, or of which this much is known.
pub(super) fn level(is_wrong: bool, is_known: bool) -> Level {
    match (is_wrong, is_known) {
        (true, _) => Level::Wrong,
        (false, true) => Level::Good,
        (false, false) => Level::Unknown,
    }
}

/// The way of a record, as a sender knows it.
pub(crate) fn stations(status: &Status) -> [Station; 5] {
    let in_session = status.session_seconds.is_some();
    let halted = Place::Sender.halts(&status.halted);
    let sender = Station {
        name: "Sender",
        level: level(halted > 0, in_session),
        what: format!("{} of {} lanes open", status.lanes_open, status.lanes),
        facts: vec![
            ("records sent", grouped(status.totals.records)),
            ("halts", partitions(halted)),
            ("in flight", bytes(status.in_flight_bytes)),
        ],
        used: None,
    };
    [source(status), sender, wan(status), receiver(status), target(status)]
}

fn source(status: &Status) -> Station {
    let asked = status.lag_age_seconds.map(|age| format!("{} ago", duration(age)));
    let is_silent = silence(status).is_some();
    let halted = Place::Source.halts(&status.halted);
    let is_blocked = status.waiting_at_source > 0 || !status.source_transactions_open.is_empty();
    let waiting = asked.as_ref().filter(|_| !is_silent).map(|_| partitions(status.waiting_at_source));
    Station {
        name: "Source",
        level: level(is_silent || is_blocked || halted > 0, asked.is_some()),
        what: format!("{} being read", partitions(status.partitions)),
        facts: vec![
            ("records behind", or_unknown(status.lag_records.map(grouped))),
            ("halts", partitions(halted)),
            ("waiting", or_unknown(waiting)),
            ("asked", asked.unwrap_or_else(|| "never".to_owned())),
        ],
        used: None,
    }
}

fn wan(status: &Status) -> Station {
    let seconds = |value: Option<f64>| or_unknown(value.map(millis));
    let loss = status.path.loss_ratio.map(|loss| format!("{:.2} %", loss * 100.0));
    let used = status.rate.bits_per_second.map(|_| ("part of the rate in use", status.rate.used_ratio().min(1.0)));
    let in_session = status.session_seconds.is_some();
    Station {
        name: "WAN",
        level: match (in_session, &status.state) {
            (true, _) if status.channels < status.channels_wanted => Level::Look,
            (true, _) => Level::Good,
            (false, State::Starting | State::Standby { .. }) => Level::Unknown,
            (false, _) => Level::Wrong,
        },
        what: if in_session { crate::rate::sentence(&status.rate) } else { "no session".to_owned() },
        facts: vec![
            ("round trip", seconds(status.rtt_seconds)),
            ("queue", seconds(status.path.queue_seconds)),
            ("loss", or_unknown(loss)),
            ("channels", format!("{} of {} open", status.channels, status.channels_wanted)),
        ],
        used,
    }
}

fn receiver(status: &Status) -> Station {
    let credit = credit(status);
    let used = status.credit_used_bytes.zip(status.credit_bytes).filter(|(_, all)| *all > 0);
    let halted = Place::Receiver.halts(&status.halted);
    let closed = status.lanes_closed.len();
    Station {
        name: "Receiver",
        level: level(closed > 0 || halted > 0, status.session_seconds.is_some()),
        what: or_unknown(status.receiver.clone()),
        facts: vec![
            ("credit", or_unknown(credit)),
            ("halts", partitions(halted)),
            ("lanes closed", closed.to_string()),
        ],
        used: used.map(|(used, all)| ("part of the credit in use", used as f64 / all as f64)),
    }
}

fn target(status: &Status) -> Station {
    let in_session = status.session_seconds.is_some();
    // A receiver tells its condition when it changes. Its lanes fail because of the target.
    let failing = status.receiver_condition.as_ref().map_or(0, |told| told.lanes_failing);
    let halted = Place::Target.halts(&status.halted);
    let told = |words: String| or_unknown(in_session.then_some(words));
    let goodput = status.forecast.goodput_bytes_per_second.filter(|_| silence(status).is_none());
    Station {
        name: "Target",
        level: level(status.waiting_at_target > 0 || failing > 0 || halted > 0, in_session),
        what: goodput.map_or_else(|| "commits unknown".to_owned(), |b| format!("{}/s committed", bytes(b as u64))),
        facts: vec![
            ("halts", partitions(halted)),
            ("waiting", told(partitions(status.waiting_at_target))),
            ("lanes that fail", told(failing.to_string())),
            ("backlog", backlog(status)),
            ("cluster", or_unknown(status.target_cluster.clone())),
        ],
        used: None,
    }
}

/// A status of a sender in a session, with more fields or others.
#[cfg(test)]
pub(crate) fn status(more: serde_json::Value) -> Status {
    let mut all =
        serde_json::json!({ "state": "active", "session_seconds": 1.0, "lag_records": 9, "lag_age_seconds": 1.0 });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_has_the_colour_of_its_own_trouble() {
        let wrong = |more| {
            let status = status(more);
            let wrong = stations(&status).into_iter().filter(|station| station.level != Level::Good);
            wrong.map(|station| (station.name, station.level)).collect::<Vec<_>>()
        };
        let halt = |reason: &str| serde_json::json!({ "halted": [{ "topic": "a", "reason": reason }] });
        assert_eq!(wrong(serde_json::json!({})), []);
        assert_eq!(wrong(halt("target-not-empty")), [("Target", Level::Wrong)]);
        assert_eq!(wrong(halt("corrupt")), [("Source", Level::Wrong)]);
        assert_eq!(wrong(halt("topic-unauthorized")), [("Receiver", Level::Wrong)]);
        assert_eq!(wrong(halt("record-too-large")), [("Sender", Level::Wrong)]);
        assert_eq!(
            wrong(serde_json::json!({ "receiver_condition": { "lanes_failing": 1 } })),
            [("Target", Level::Wrong)]
        );
        assert_eq!(wrong(serde_json::json!({ "waiting_at_source": 1 })), [("Source", Level::Wrong)]);
        assert_eq!(wrong(serde_json::json!({ "lag_age_seconds": 11.0 })), [("Source", Level::Wrong)]);
        assert_eq!(wrong(serde_json::json!({ "lag_records": null })), [], "a partition has not joined");
        assert_eq!(wrong(serde_json::json!({ "channels": 3, "channels_wanted": 4 })), [("WAN", Level::Look)]);
        let unknown = ["Sender", "WAN", "Receiver", "Target"]
            .map(|name| (name, if name == "WAN" { Level::Wrong } else { Level::Unknown }));
        assert_eq!(wrong(serde_json::json!({ "session_seconds": null, "state": "connecting" })), unknown);
    }
}
