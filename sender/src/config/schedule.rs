//! `[[wan.schedule]]`: how entries are written, and which cannot stand side by side.

use service::config::value::text;
use service::config::{DeValue, Document, Rejection, Reported, Setting, Table};

use crate::rate::schedule::{DAYS, Days, ENTRIES_MAX, Entry, Schedule, TimeOfDay, Zone};

/// Reads every entry, on the clocks of `wan.time_zone`.
pub(super) fn read_schedule(document: &Document<'_>) -> Result<Schedule, Reported> {
    let zone = document.table("wan").read("time_zone");
    let tables = document.tables("wan.schedule");
    if let Some(surplus) = tables.get(ENTRIES_MAX) {
        let message = format!("{} [[wan.schedule]], above the maximum of {ENTRIES_MAX}; join some", tables.len());
        return Err(surplus.refuse("days", message));
    }
    // Two steps, so that one bad entry does not hide the next.
    let entries = tables.iter().map(read_entry).collect::<Vec<_>>();
    let entries = entries.into_iter().collect::<Result<Vec<_>, _>>()?;
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
    let (days, from, to, rate) = (table.read("days"), table.read("from"), table.read("to"), table.read("rate"));
    let entry = Entry { days: days?, from: from?, to: to?, rate: rate? };
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
