//! `[[wan.schedule]]`: the form of entries, and which of them contradict each other.

use service::config::document::collected;
use service::config::value::text;
use service::config::{DeValue, Document, ReadSection, Rejection, Reported, Setting, Table};

use super::fields::ScheduleEntry;
use crate::rate::schedule::{DAYS, Days, ENTRIES_MAX, Entry, Schedule, TimeOfDay, Zone};

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
        let written = text(value)?;
        Self::parse(written).ok_or_else(|| {
            let days = DAYS.join(", ");
            Rejection::because(format!("\"{written}\" names no days; write \"mon-fri\" or \"sat,sun\", of {days}"))
        })
    }
}

impl Setting for TimeOfDay {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = text(value)?;
        Self::parse(written)
            .ok_or_else(|| Rejection::because(format!("\"{written}\" is no time of day; write \"00:00\" to \"24:00\"")))
    }
}

impl Setting for Zone {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = text(value)?;
        Self::named(written).ok_or_else(|| {
            let hint = "write it as in the IANA database, such as \"Europe/Berlin\"";
            Rejection::because(format!("\"{written}\" is no time zone; {hint}"))
        })
    }
}
