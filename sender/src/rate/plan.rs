//! Decides which of several rates is in effect. Pure decisions; the time is an argument.

use std::fmt;

use jiff::Timestamp;
use wire::units::Rate;

use crate::rate::schedule::{Entry, Schedule, Zone};

/// All rates that may take effect.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    file: Option<Rate>,
    schedule: Schedule,
    order: Option<Order>,
    /// Most that the receiver of the present session allows.
    assigned: Option<Rate>,
}

/// Rate that an operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub rate: Rate,
    /// End of the order; `None` until it is taken back.
    pub until: Option<Timestamp>,
}

/// Rate in effect, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruling {
    /// The rate; `None` is no limit.
    pub rate: Option<Rate>,
    pub reason: Reason,
    /// Time of the next change; `None` if nothing changes by itself.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reason {
    #[default]
    File,
    Schedule(Entry, Zone),
    Command,
    /// The receiver allows less.
    Receiver,
}

impl Plan {
    pub fn configure(&mut self, file: Option<Rate>, schedule: Schedule) {
        self.file = file;
        self.schedule = schedule;
    }

    /// Sets an operator's rate, or none; returns the one before.
    pub fn order(&mut self, order: Option<Order>) -> Option<Order> {
        std::mem::replace(&mut self.order, order)
    }

    /// Sets the most that the receiver allows.
    pub fn assign(&mut self, rate: Option<Rate>) {
        self.assigned = rate;
    }

    /// Returns the rate in effect at `now`. Forgets an operator's rate that is over.
    pub fn rule(&mut self, now: Timestamp) -> Ruling {
        let own = self.own(now);
        match self.assigned {
            Some(assigned) if own.rate.is_none_or(|rate| rate > assigned) => {
                Ruling { rate: Some(assigned), reason: Reason::Receiver, until: own.until }
            }
            _ => own,
        }
    }

    /// Returns the rate that this side's operator wants at `now`.
    fn own(&mut self, now: Timestamp) -> Ruling {
        self.order = self.order.filter(|order| order.until.is_none_or(|until| now < until));
        if let Some(order) = self.order {
            return Ruling { rate: Some(order.rate), reason: Reason::Command, until: order.until };
        }
        let says = self.schedule.at(now);
        match says.entry {
            Some(entry) => Ruling {
                rate: Some(entry.rate),
                reason: Reason::Schedule(*entry, self.schedule.zone().clone()),
                until: says.until,
            },
            None => Ruling { rate: self.file, reason: Reason::File, until: says.until },
        }
    }

    /// Returns a sentence for the operator; `was_ordered` says whether an operator's rate was in effect before.
    pub fn sentence(&self, ruling: &Ruling, was_ordered: bool) -> String {
        let rate = shown(ruling.rate);
        let zone = self.schedule.zone();
        match (&ruling.reason, ruling.until) {
            (Reason::Command, Some(until)) => {
                format!("{rate} until {}, unless this process restarts before", zone.show(until))
            }
            (Reason::Command, None) => {
                format!("{rate} until `causeway rate --reset`, or until this process restarts")
            }
            (Reason::Receiver, _) => format!("{rate} stays in effect, by {}, which is lower", ruling.reason),
            (reason, _) if was_ordered => format!("{rate} again, by {reason}"),
            (reason, _) => format!("no rate was set by command: {rate} stays in effect, by {reason}"),
        }
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, by {}", shown(self.rate), self.reason)?;
        self.until.map_or(Ok(()), |until| write!(f, ", until {until}"))
    }
}

impl Reason {
    /// Returns the word in `status --json` and in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Schedule(..) => "schedule",
            Self::Command => "command",
            Self::Receiver => "receiver",
        }
    }

    pub const WORDS: [&'static str; 4] = ["file", "schedule", "command", "receiver"];

    /// Returns the schedule's entry, as written in the configuration.
    pub fn entry(&self) -> Option<String> {
        match self {
            Self::Schedule(entry, zone) => Some(format!("{entry} {zone}")),
            Self::File | Self::Command | Self::Receiver => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("`wan.rate`"),
            Self::Schedule(entry, zone) => write!(f, "the schedule's {entry} {zone}"),
            Self::Command => f.write_str("`causeway rate`"),
            Self::Receiver => f.write_str("`links.rate` of the receiver"),
        }
    }
}

/// Returns the rate, or "no limit".
pub(super) fn shown(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string())
}
