//! `[[wan.schedule]]`: the form of entries, and which of them contradict each other.

use service::config::document::collected;
use service::config::value::parsed;
use service::config::{DeValue, Document, ReadSection, Rejection, Reported, Setting, Table};
use wire::units::Rate;

use crate::rate::schedule::{DAYS, Days, ENTRIES_MAX, Entry, Schedule, TimeOfDay, Zone};

/// The lowest rate of a link: a packet of 1,500 bytes takes 188 ms.
pub(super) const RATE_MIN: &str = r#""64 kbit/s""#;

/// The highest rate of a link: a packet of 1,500 bytes takes 120 ns.
pub(super) const RATE_MAX: &str = r#""100 Gbit/s""#;

service::settings! {
    /// The times of the week at which the rate differs from `wan.rate`, on the clocks of `wan.time_zone`. An entry is in
    /// effect while those clocks show a time in it, also on the days on which they are changed. Two entries must not be
    /// in effect at the same time.
    #[derive(Debug, Clone)]
    pub struct ScheduleEntry: Repeated "wan.schedule" {
        /// Days on which the entry begins.
        days: Days = required, "days and spans of days, such as `mon-fri` or `sat,sun`", live;
        /// Time at which it begins.
        from: TimeOfDay = required, "a time of day, such as `08:00`", live;
        /// Time at which it ends; on the next day if that is not after its beginning.
        to: TimeOfDay = required, "a time of day, such as `18:00`, up to `24:00`", live;
        /// The rate between the two.
        rate: Rate = required, "a rate, such as `100 Mbit/s`", [RATE_MIN, RATE_MAX], live;
    }
}

/// Reads every entry, in the time zone `wan.time_zone`.
pub(super) fn read_schedule(document: &Document<'_>) -> Result<Schedule, Reported> {
    let zone = document.table("wan").read("time_zone");
    let tables = document.tables(ScheduleEntry::SECTION.path);
    if let Some(surplus) = tables.get(ENTRIES_MAX) {
        let message = format!("{} [[wan.schedule]], above the maximum of {ENTRIES_MAX}; join some", tables.len());
        return Err(surplus.refuse("days", message));
    }
    let entries = collected(tables.iter().map(read_entry))?;
    Schedule::new(entries, zone?).map_err(|overlap| {
        let message = format!(
            "`wan.schedule.from`: the {} and the {} [[wan.schedule]] both hold on {}; let one end where the other begins",
            ordinal(overlap.first),
            ordinal(overlap.second),
            overlap.moment()
        );
        tables[overlap.second].refuse("from", message)
    })
}

fn read_entry(table: &Table<'_>) -> Result<Entry, Reported> {
    let ScheduleEntry { days, from, to, rate } = ReadSection::read_section(table)?;
    let entry = Entry { days, from, to, rate };
    if entry.from == entry.to {
        let message = "`wan.schedule.to` is when the entry begins; a whole day is from \"00:00\" to \"24:00\"";
        return Err(table.refuse("to", message));
    }
    Ok(entry)
}

fn ordinal(index: usize) -> String {
    let number = index + 1;
    let ending = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

impl Setting for Days {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let days = DAYS.join(", ");
        parsed(value, Self::parse, &format!("names no days; write \"mon-fri\" or \"sat,sun\", of {days}"))
    }
}

impl Setting for TimeOfDay {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        parsed(value, Self::parse, "is no time of day; write \"00:00\" to \"24:00\"")
    }
}

impl Setting for Zone {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let hint = "write it as in the IANA database, such as \"Europe/Berlin\"";
        parsed(value, Self::named, &format!("is no time zone; {hint}"))
    }
}
