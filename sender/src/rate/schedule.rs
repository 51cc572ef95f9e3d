//! Schedule of rates: weekly entries in a named time zone. Pure decisions; the time is an argument.
//!
//! An entry is in effect while the clocks of the zone show a time in it. It follows them through summer time: an hour
//! that they skip is not in it, and an hour that they show twice is in it twice.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use wire::units::Rate;

const DAY_MINUTES: i32 = 24 * 60;
const WEEK_MINUTES: i32 = 7 * DAY_MINUTES;
/// Days in which the next change is searched: every entry comes once a week.
const AHEAD_DAYS: i32 = 8;
/// Names of the days, Monday first.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
pub(crate) const ENTRIES_MAX: usize = 64;

/// Week of rates. It states no rate where no entry is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    entries: Vec<Entry>,
    zone: Zone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub days: Days,
    pub from: TimeOfDay,
    /// Time of day at which the entry ends: on the same day, or on the next if that is not after its beginning.
    pub to: TimeOfDay,
    pub rate: Rate,
}

/// Days of the week, one bit each, Monday the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// Time of day in minutes since midnight; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Index in the file of the earlier of the two, from 0.
    pub first: usize,
    /// Index in the file of the later of the two.
    pub second: usize,
    /// Minute of the week that is in both.
    minute: i32,
}

/// Schedule at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says<'s> {
    pub entry: Option<&'s Entry>,
    /// Time of the next change; `None` if there is none.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// Creates a schedule of these entries on the clocks of `zone`. Fails if two entries overlap.
    pub fn new(entries: Vec<Entry>, zone: Zone) -> Result<Self, Overlap> {
        for second in 1..entries.len() {
            for first in 0..second {
                if let Some(minute) = entries[first].meets(&entries[second]) {
                    return Err(Overlap { first, second, minute });
                }
            }
        }
        Ok(Self { entries, zone })
    }

    /// Returns the entry in effect at `now`, and its end.
    pub fn at(&self, now: Timestamp) -> Says<'_> {
        let current = self.index_at(now);
        let mut changes = self.candidates(now);
        changes.sort_unstable();
        let until = changes.into_iter().find(|at| *at > now && self.index_at(*at) != current);
        Says { entry: current.map(|index| &self.entries[index]), until }
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the highest of the rates; `None` without an entry.
    pub fn highest(&self) -> Option<Rate> {
        self.entries.iter().map(|entry| entry.rate).max()
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    fn index_at(&self, now: Timestamp) -> Option<usize> {
        let clock = self.zone.0.to_datetime(now);
        let day = i32::from(clock.weekday().to_monday_zero_offset());
        let minute = day * DAY_MINUTES + i32::from(clock.hour()) * 60 + i32::from(clock.minute());
        self.entries.iter().position(|entry| entry.covers(minute))
    }

    /// Returns every moment of the days around `now` at which an entry may begin or end.
    fn candidates(&self, now: Timestamp) -> Vec<Timestamp> {
        let today = self.zone.0.to_datetime(now).date();
        let days = (-1..=AHEAD_DAYS).filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok());
        let times = || self.entries.iter().flat_map(|entry| [entry.from, entry.to]);
        let clocks = days.flat_map(|day| times().filter_map(move |time| time.on(day)));
        let shown = clocks.flat_map(|clock| {
            // Both are the same moment, except for times that the clocks show twice or never.
            let ambiguous = self.zone.0.to_ambiguous_timestamp(clock);
            [ambiguous.earlier(), ambiguous.later()]
        });
        let leaps = self.zone.0.following(now).take(2).map(|leap| leap.timestamp());
        shown.filter_map(Result::ok).chain(leaps).collect()
    }
}

/// A schedule without entries, on the clocks of UTC.
impl Default for Schedule {
    fn default() -> Self {
        Self { entries: Vec::new(), zone: Zone(TimeZone::UTC) }
    }
}

impl Zone {
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// Returns `at` on the clocks of this zone, to the minute.
    pub fn show(&self, at: Timestamp) -> impl fmt::Display {
        at.to_zoned(self.0.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("an unnamed zone"))
    }
}

impl Entry {
    fn length(&self) -> i32 {
        let length = i32::from(self.to.0) - i32::from(self.from.0);
        if length > 0 { length } else { length + DAY_MINUTES }
    }

    /// Returns the minutes of the week at which the entry begins.
    fn begins(&self) -> impl Iterator<Item = i32> {
        let from = i32::from(self.from.0);
        self.days.each().map(move |day| day * DAY_MINUTES + from)
    }

    fn covers(&self, minute: i32) -> bool {
        self.begins().any(|begin| (minute - begin).rem_euclid(WEEK_MINUTES) < self.length())
    }

    /// Returns a minute of the week that is in both entries: one begins during the other.
    fn meets(&self, other: &Self) -> Option<i32> {
        let begins_within = |one: &Self, other: &Self| one.begins().find(|minute| other.covers(*minute));
        begins_within(self, other).or_else(|| begins_within(other, self))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-{}", self.days, self.from, self.to)
    }
}

impl Days {
    /// Parses days and spans of days: `mon-fri`, `sat,sun`, `fri-mon,wed`.
    pub fn parse(text: &str) -> Option<Self> {
        let day = |word: &str| DAYS.iter().position(|day| *day == word.trim());
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = day(first)?;
            let last = day(last)?;
            let length = (last + DAYS.len() - first) % DAYS.len();
            (first..=first + length).for_each(|day| days |= 1 << (day % DAYS.len()));
        }
        Some(Self(days))
    }

    fn each(self) -> impl Iterator<Item = i32> {
        (0..7).filter(move |day| self.0 & (1 << day) != 0)
    }
}

impl fmt::Display for Days {
    /// Writes spans of days, from the first day of the week that begins one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |day: usize| self.0 & (1 << (day % 7)) != 0;
        if (0..7).all(has) {
            return f.write_str("mon-sun");
        }
        let mut separator = "";
        for first in (0..7).filter(|&day| has(day) && !has(day + 6)) {
            let length = (1..7).take_while(|more| has(first + more)).count();
            write!(f, "{separator}{}", DAYS[first])?;
            match length {
                0 => {}
                1 => write!(f, ",{}", DAYS[(first + 1) % 7])?,
                _ => write!(f, "-{}", DAYS[(first + length) % 7])?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl TimeOfDay {
    /// Parses a time of day: `00:00` to `24:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
        let minute = number(minute)?;
        let minutes = number(hour)? * 60 + minute;
        (minute < 60 && i32::from(minutes) <= DAY_MINUTES).then_some(Self(minutes))
    }

    fn on(self, day: Date) -> Option<DateTime> {
        match (self.0 / 60) as i8 {
            24 => Some(day.tomorrow().ok()?.at(0, 0, 0, 0)),
            hour => Some(day.at(hour, (self.0 % 60) as i8, 0, 0)),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Overlap {
    /// Returns a moment in both entries, like `mon 17:00`.
    pub fn moment(&self) -> String {
        let day = self.minute.rem_euclid(WEEK_MINUTES) / DAY_MINUTES;
        let minute = self.minute % DAY_MINUTES;
        format!("{} {:02}:{:02}", DAYS[usize::try_from(day).unwrap_or(0)], minute / 60, minute % 60)
    }
}

#[cfg(test)]
mod tests;
