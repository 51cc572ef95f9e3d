//! What is shown of a receiver: all its links, those in trouble first.

use receiver::GroupStatus;
use receiver::status::{LinkStatus, Status};
use service::format::{bytes, duration, grouped};

use super::place::Place;
use super::sender::per_second;
use super::stations::level;
use super::{Answer, Chart, Level, Station, Table, or_unknown};
use crate::history::{Curve, History};
use crate::status::lifts::manual;
use crate::status::sentences::{named, states};

/// Links in trouble whose problems are shown in full.
pub(crate) const TROUBLED_MAX: usize = 20;

pub(crate) const CHARTS: [Chart; 4] = [
    Chart { curve: Curve::Records, title: "Records committed", unit: per_second, unknown: "unknown" },
    Chart {
        curve: Curve::Bytes,
        title: "Record bytes committed",
        unit: |b| format!("{}/s", bytes(b as u64)),
        unknown: "unknown",
    },
    Chart {
        curve: Curve::Queue,
        title: "Not committed yet",
        unit: |b| bytes(b as u64),
        unknown: "unknown: the target has not answered",
    },
    Chart {
        curve: Curve::Lag,
        title: "Lag",
        unit: |lag| format!("{lag}"),
        unknown: "known to the sender of each link",
    },
];

/// How much trouble a link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    None,
    /// No sender has it, and it is not promoted.
    NoSender,
    /// It says so.
    Some,
    /// Partitions are halted.
    Halted,
}

fn trouble(link: &LinkStatus) -> Trouble {
    if link.halted_partitions > 0 {
        Trouble::Halted
    } else if !link.trouble.is_empty() || link.orphaned_positions > 0 || link.waiting_partitions > 0 {
        Trouble::Some
    } else if needs_sender(link) && link.sender.is_none() {
        Trouble::NoSender
    } else {
        Trouble::None
    }
}

/// Puts the links in most trouble first.
pub(crate) fn sort_by_trouble(status: &mut Status) {
    // The sort keeps the order of links that are equally well.
    status.links.sort_by_key(|link| std::cmp::Reverse(trouble(link)));
}

/// Returns the links in trouble, in their order.
pub(crate) fn troubled(status: &Status) -> Vec<&LinkStatus> {
    status.links.iter().filter(|link| trouble(link) > Trouble::None).collect()
}

/// Returns whether a link is to have a sender. A promoted one has ended.
fn needs_sender(link: &LinkStatus) -> bool {
    link.promotion.state != "promoted"
}

/// Links that are to have a sender.
struct Senders {
    wanted: usize,
    held: usize,
}

impl Senders {
    fn of(status: &Status) -> Self {
        let wanted = || status.links.iter().filter(|link| needs_sender(link));
        Self { wanted: wanted().count(), held: wanted().filter(|link| link.sender.is_some()).count() }
    }

    fn sentence(&self) -> String {
        format!("{} of {} links have a sender", self.held, self.wanted)
    }
}

pub(crate) fn answer(status: &Status, troubled: &[&LinkStatus]) -> Answer {
    let senders = Senders::of(status);
    let keeping_up = match senders.held < senders.wanted {
        true => format!("no: {}", senders.sentence()),
        false => format!("unknown here, each sender knows its lag: {}", senders.sentence()),
    };
    let of_link = |link: &&LinkStatus| format!("link {}: {}", named(&link.link), problem(link));
    let problems: Vec<_> = status.trouble.iter().cloned().chain(troubled.iter().map(of_link)).collect();
    let level = match (problems.is_empty(), status.listen) {
        (true, None) => Level::Unknown,
        (true, Some(_)) => Level::Good,
        (false, _) => Level::Wrong,
    };
    let mut actions: Vec<_> = troubled.iter().flat_map(|link| remedies(link)).collect();
    actions.sort();
    actions.dedup();
    Answer { level, keeping_up, limited_by: "the sender of a link says what limits it".to_owned(), problems, actions }
}

/// The first problem of a link, in a few words.
pub(crate) fn problem(link: &LinkStatus) -> String {
    match trouble(link) {
        Trouble::Halted => format!("{} partitions halted", link.halted_partitions),
        Trouble::NoSender => "no sender".to_owned(),
        _ => link.trouble.first().cloned().unwrap_or_else(|| {
            format!("{} partitions wait, {} orphaned positions", link.waiting_partitions, link.orphaned_positions)
        }),
    }
}

/// Sections of the manual for the problems of a link.
fn remedies(link: &LinkStatus) -> Vec<String> {
    let fails = link.by_lane.iter().any(|lane| lane.trouble.is_some());
    let sections = [
        (needs_sender(link) && link.sender.is_none(), "no-active-sender"),
        (fails, "failing-lanes"),
        (link.waiting_partitions > 0, "waiting-partitions"),
        (link.orphaned_positions > 0, "orphaned"),
        (link.weaker_topics.is_some_and(|count| count > 0), "weaker-settings"),
        (link.foreign_writes.records.is_some_and(|count| count > 0), "foreign-writes"),
    ];
    let known = sections.into_iter().filter(|(is_so, _)| *is_so).map(|(_, section)| section);
    let halts = link.halted.iter().map(|halt| halt.reason.as_str());
    known.chain(halts).map(|section| format!("see {}", manual(section))).collect()
}

pub(crate) fn stations(status: &Status) -> [Station; 4] {
    [senders(status), wan(status), receiver(status), target(status)]
}

/// The sum of a number of each link.
fn count(status: &Status, of: fn(&LinkStatus) -> usize) -> usize {
    status.links.iter().map(of).sum()
}

/// Counts the stored halts with their cause here, of those that are listed.
fn halted(status: &Status, here: Place) -> usize {
    here.halts(status.links.iter().flat_map(|link| &link.halted))
}

/// The other end: senders, and the sources behind them.
fn senders(status: &Status) -> Station {
    let senders = Senders::of(status);
    let halted = halted(status, Place::Source) + halted(status, Place::Sender);
    let waiting = count(status, |link| link.sender_condition.as_ref().map_or(0, |told| told.waiting_partitions));
    Station {
        name: "Senders",
        level: level(senders.held < senders.wanted || halted > 0 || waiting > 0, true),
        what: senders.sentence(),
        facts: vec![
            ("standing by", count(status, |link| link.standbys).to_string()),
            ("halts of the source", halted.to_string()),
            ("waiting for the source", format!("{waiting} partitions")),
        ],
        used: None,
    }
}

fn wan(status: &Status) -> Station {
    let refused = status.refusals.counts().iter().map(|(_, count)| count).sum::<u64>();
    let failed = status.failed_handshakes.counts().iter().map(|(_, count)| count).sum::<u64>();
    let channels = count(status, |link| link.channels);
    Station {
        name: "WAN",
        level: if channels > 0 { Level::Good } else { Level::Unknown },
        what: format!("{channels} channels open"),
        facts: vec![
            ("refused peers", grouped(refused)),
            ("failed handshakes", grouped(failed)),
            ("round trip, loss", "known to the senders".to_owned()),
        ],
        used: None,
    }
}

fn receiver(status: &Status) -> Station {
    let memory = status.decode_memory_bytes.max(1);
    let halted = halted(status, Place::Receiver);
    Station {
        name: "Receiver",
        level: level(halted > 0, true),
        what: format!("{} of {} lanes open", count(status, |link| link.lanes_open), count(status, |link| link.lanes)),
        facts: vec![
            ("halts", halted.to_string()),
            ("not committed", bytes(status.links.iter().map(|link| link.held_bytes).sum())),
            (
                "decoding",
                format!("{} of {}", bytes(status.decode_memory_used_bytes), bytes(status.decode_memory_bytes)),
            ),
        ],
        used: Some(("part of the memory for decoding in use", status.decode_memory_used_bytes as f64 / memory as f64)),
    }
}

fn target(status: &Status) -> Station {
    let waiting = count(status, |link| link.waiting_partitions);
    // Lanes fail, and the process as a whole has trouble, because of the target.
    let failing = count(status, |link| link.by_lane.iter().filter(|lane| lane.trouble.is_some()).count());
    let halted = halted(status, Place::Target);
    let is_wrong = waiting > 0 || failing > 0 || halted > 0 || !status.trouble.is_empty();
    Station {
        name: "Target",
        level: level(is_wrong, status.listen.is_some()),
        what: format!("{} records committed", grouped(status.links.iter().map(|link| link.counts.records).sum())),
        facts: vec![
            ("halts", halted.to_string()),
            ("waiting", format!("{waiting} partitions")),
            ("lanes that fail", failing.to_string()),
        ],
        used: None,
    }
}

pub(crate) fn links(status: &Status, history: &History) -> Table {
    let rows = status.links.iter().map(|link| {
        let rate = or_unknown(history.link_rate(&link.link).map(per_second));
        vec![
            named(&link.link).to_owned(),
            link.sender.clone().unwrap_or_else(|| "no sender".to_owned()),
            if trouble(link) == Trouble::None { "none".to_owned() } else { problem(link) },
            rate,
            grouped(link.counts.records),
            bytes(link.held_bytes),
            link.halted_partitions.to_string(),
            link.waiting_partitions.to_string(),
        ]
    });
    let head = &["link", "sender", "problem", "records", "committed", "not committed", "halted", "waiting"];
    let note = format!(
        "{} links; those in trouble come first. Records per second are of the last minute.",
        status.links.len()
    );
    Table { id: "links", title: "Links", note, head, rows: rows.collect(), numbers: 3 }
}

pub(crate) fn groups_table(status: &Status, groups: &[GroupStatus]) -> Table {
    let ages = status.links.iter().filter_map(|link| link.consumer_groups.age_seconds);
    let note = match ages.reduce(f64::max) {
        Some(age) => format!("The oldest reading is {} old.", duration(age)),
        None => "None: no sender has sent any.".to_owned(),
    };
    let rows = groups.iter().map(|group| vec![group.group.clone(), group.link.clone(), states(&group.offsets)]);
    let head = &["group", "link", "offsets in the target"];
    Table { id: "groups", title: "Consumer groups", note, head, rows: rows.collect(), numbers: 3 }
}

#[cfg(test)]
mod tests {
    use receiver::status::LaneStatus;
    use service::status::{HaltedPartition, PeerStatus};

    use super::*;

    fn status(links: Vec<LinkStatus>) -> Status {
        Status { listen: Some("0.0.0.0:7443".parse().unwrap()), links, ..Status::default() }
    }

    fn link(n: usize) -> LinkStatus {
        LinkStatus { link: format!("spoke-{n}"), sender: Some("s".into()), channels: 1, ..LinkStatus::default() }
    }

    #[test]
    fn a_station_has_the_colour_of_its_own_trouble() {
        let wrong = |change: fn(&mut LinkStatus)| {
            let mut link = link(1);
            change(&mut link);
            let stations = stations(&status(vec![link])).into_iter().filter(|station| station.level != Level::Good);
            stations.map(|station| (station.name, station.level)).collect::<Vec<_>>()
        };
        let halted = |link: &mut LinkStatus, reason: &str| {
            link.halted = vec![HaltedPartition { reason: reason.into(), ..HaltedPartition::default() }];
        };
        assert_eq!(wrong(|_| ()), []);
        assert_eq!(wrong(|link| link.promotion.state = "promoted".into()), []);
        assert_eq!(
            wrong(|link| (link.sender, link.channels) = (None, 0)),
            [("Senders", Level::Wrong), ("WAN", Level::Unknown)]
        );
        assert_eq!(wrong(|link| link.waiting_partitions = 1), [("Target", Level::Wrong)]);
        let fails = |link: &mut LinkStatus| {
            link.by_lane = vec![LaneStatus { trouble: Some("timed out".into()), ..LaneStatus::default() }];
        };
        assert_eq!(wrong(fails), [("Target", Level::Wrong)]);
        let waits = |link: &mut LinkStatus| {
            link.sender_condition = Some(PeerStatus { waiting_partitions: 1, ..PeerStatus::default() });
        };
        assert_eq!(wrong(waits), [("Senders", Level::Wrong)]);
        for (reason, name) in [
            ("record-rejected", "Target"),
            ("truncated", "Senders"),
            ("record-too-large", "Senders"),
            ("topic-unauthorized", "Receiver"),
        ] {
            let mut link = link(1);
            halted(&mut link, reason);
            let wrong = stations(&status(vec![link])).into_iter().filter(|station| station.level == Level::Wrong);
            assert_eq!(wrong.map(|station| station.name).collect::<Vec<_>>(), [name], "{reason}");
        }
    }
}
