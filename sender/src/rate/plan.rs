//! Which of several rates holds. Pure decisions; the time is an argument.

use std::fmt;

use jiff::Timestamp;
use wire::units::Rate;

use crate::rate::schedule::{Entry, Schedule, Zone};

/// Every rate that may come to hold.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    file: Option<Rate>,
    schedule: Schedule,
    order: Option<Order>,
}

/// An operator's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The rate.
    pub rate: Rate,
    /// Until when; `None` until it is taken back.
    pub until: Option<Timestamp>,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruling {
    /// The rate; `None` is no limit.
    pub rate: Option<Rate>,
    /// Where it comes from.
    pub reason: Reason,
    /// When that is to be looked at again; `None` if nothing changes by itself.
    pub until: Option<Timestamp>,
}

/// Where a rate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reason {
    /// `wan.rate`.
    #[default]
    File,
    /// An entry of `[[wan.schedule]]`.
    Schedule(Entry, Zone),
    /// `causeway rate`.
    Command,
}

impl Plan {
    /// The file's part of it.
    pub fn configure(&mut self, file: Option<Rate>, schedule: Schedule) {
        self.file = file;
        self.schedule = schedule;
    }

    /// An operator's rate from now on, or none; returns the one before.
    pub fn order(&mut self, order: Option<Order>) -> Option<Order> {
        std::mem::replace(&mut self.order, order)
    }

    /// What holds at `now`. An operator's rate that is over is forgotten.
    pub fn rule(&mut self, now: Timestamp) -> Ruling {
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

    /// What holds, for whoever asked for it; `was_ordered` says whether an operator's rate held before.
    pub fn sentence(&self, ruling: &Ruling, was_ordered: bool) -> String {
        let (rate, zone) = (shown(ruling.rate), self.schedule.zone());
        match (&ruling.reason, ruling.until) {
            (Reason::Command, Some(until)) => {
                format!("{rate} until {}, unless this process is started anew before", zone.show(until))
            }
            (Reason::Command, None) => {
                format!("{rate} until `causeway rate --reset`, or until this process is started anew")
            }
            (reason, _) if was_ordered => format!("{rate} again, by {reason}"),
            (reason, _) => format!("no rate was set by command: {rate} goes on, by {reason}"),
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
    /// The word in `status --json` and in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Schedule(..) => "schedule",
            Self::Command => "command",
        }
    }

    /// Every word.
    pub const WORDS: [&'static str; 3] = ["file", "schedule", "command"];

    /// The schedule's entry, as people write it.
    pub fn entry(&self) -> Option<String> {
        match self {
            Self::Schedule(entry, zone) => Some(format!("{entry} {zone}")),
            Self::File | Self::Command => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("`wan.rate`"),
            Self::Schedule(entry, zone) => write!(f, "the schedule's {entry} {zone}"),
            Self::Command => f.write_str("`causeway rate`"),
        }
    }
}

/// A rate, or that there is none.
pub(super) fn shown(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string())
}
