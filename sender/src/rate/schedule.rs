//! Which rate holds when: weekly entries in a named time zone. Pure decisions; the time is an argument.
//!
//! An entry holds while the clocks of the zone show a time in it. So it follows them through summer time: an hour
//! that they skip is not in it, and one that they show twice is in it twice.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use wire::units::Rate;

const DAY_MINUTES: i32 = 24 * 60;
const WEEK_MINUTES: i32 = 7 * DAY_MINUTES;

/// How far ahead the next change is looked for: every entry comes once a week.
const AHEAD_DAYS: i32 = 8;

/// Days as they are written, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Entries that a schedule may have.
pub const ENTRIES_MAX: usize = 64;

/// A week of rates. Where no entry holds, the schedule says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    entries: Vec<Entry>,
    zone: Zone,
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// On which days it begins.
    pub days: Days,
    /// When it begins.
    pub from: TimeOfDay,
    /// When it ends: on the same day, or on the next where that is not after its beginning.
    pub to: TimeOfDay,
    /// The rate meanwhile.
    pub rate: Rate,
}

/// Days of the week, one bit each, Monday the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// A time on a clock, in minutes since midnight; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(u16);

/// Two entries hold at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The earlier of the two in the file, from 0.
    pub first: usize,
    /// The later of the two.
    pub second: usize,
    /// A minute of the week at which both hold.
    minute: i32,
}

/// What the schedule says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says<'s> {
    /// The entry that holds.
    pub entry: Option<&'s Entry>,
    /// When that changes; `None` if it never does.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// These entries on the clocks of `zone`.
    ///
    /// # Errors
    /// Two of them hold at the same time.
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

    /// What holds at `now`, and until when.
    pub fn at(&self, now: Timestamp) -> Says<'_> {
        let holds = self.index_at(now);
        let mut changes = self.candidates(now);
        changes.sort_unstable();
        let until = changes.into_iter().find(|at| *at > now && self.index_at(*at) != holds);
        Says { entry: holds.map(|index| &self.entries[index]), until }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The highest of the rates; `None` without an entry.
    pub fn highest(&self) -> Option<Rate> {
        self.entries.iter().map(|entry| entry.rate).max()
    }

    /// On whose clocks.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    fn index_at(&self, now: Timestamp) -> Option<usize> {
        let clock = self.zone.0.to_datetime(now);
        let day = i32::from(clock.weekday().to_monday_zero_offset());
        let minute = day * DAY_MINUTES + i32::from(clock.hour()) * 60 + i32::from(clock.minute());
        self.entries.iter().position(|entry| entry.covers(minute))
    }

    /// Every moment of the days around `now` at which an entry may begin or end.
    fn candidates(&self, now: Timestamp) -> Vec<Timestamp> {
        let today = self.zone.0.to_datetime(now).date();
        let days = (-1..=AHEAD_DAYS).filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok());
        let times = || self.entries.iter().flat_map(|entry| [entry.from, entry.to]);
        let clocks = days.flat_map(|day| times().filter_map(move |time| time.on(day)));
        let shown = clocks.flat_map(|clock| {
            // The same moment twice, but for what the clocks show twice or never.
            let ambiguous = self.zone.0.to_ambiguous_timestamp(clock);
            [ambiguous.earlier(), ambiguous.later()]
        });
        let leaps = self.zone.0.following(now).take(2).map(|leap| leap.timestamp());
        shown.filter_map(Result::ok).chain(leaps).collect()
    }
}

/// No entry, on the clocks of UTC.
impl Default for Schedule {
    fn default() -> Self {
        Self { entries: Vec::new(), zone: Zone(TimeZone::UTC) }
    }
}

impl Zone {
    /// The zone called so in the IANA database.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// `at` on the clocks of this zone, to the minute.
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

    /// The minutes of the week at which it begins.
    fn begins(&self) -> impl Iterator<Item = i32> {
        let from = i32::from(self.from.0);
        self.days.each().map(move |day| day * DAY_MINUTES + from)
    }

    fn covers(&self, minute: i32) -> bool {
        self.begins().any(|begin| (minute - begin).rem_euclid(WEEK_MINUTES) < self.length())
    }

    /// A minute of the week at which both hold: then one begins while the other holds.
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
    /// `mon-fri`, `sat,sun`, `fri-mon,wed`: days and spans of them.
    pub fn parse(text: &str) -> Option<Self> {
        let day = |word: &str| DAYS.iter().position(|day| *day == word.trim());
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
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
    /// In spans, from the first day of the week that begins one.
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
    /// `08:00`, up to `24:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
        let (hour, minute) = (number(hour)?, number(minute)?);
        let minutes = hour * 60 + minute;
        (minute < 60 && i32::from(minutes) <= DAY_MINUTES).then_some(Self(minutes))
    }

    fn on(self, day: Date) -> Option<DateTime> {
        let (hour, minute) = ((self.0 / 60) as i8, (self.0 % 60) as i8);
        match hour {
            24 => Some(day.tomorrow().ok()?.at(0, 0, 0, 0)),
            hour => Some(day.at(hour, minute, 0, 0)),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Overlap {
    /// When both hold: `mon 17:00`.
    pub fn moment(&self) -> String {
        let (day, minute) = (self.minute.rem_euclid(WEEK_MINUTES) / DAY_MINUTES, self.minute % DAY_MINUTES);
        format!("{} {:02}:{:02}", DAYS[usize::try_from(day).unwrap_or(0)], minute / 60, minute % 60)
    }
}

#[cfg(test)]
mod tests;
