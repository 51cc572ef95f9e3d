//! Rates on ordinary days, over midnight, and on the two days on which the clocks are changed.

use super::*;

fn entry(days: &str, from: &str, to: &str, mbit: u64) -> Entry {
    Entry {
        days: Days::parse(days).unwrap(),
        from: TimeOfDay::parse(from).unwrap(),
        to: TimeOfDay::parse(to).unwrap(),
        rate: Rate::from_bits_per_second(mbit * 1_000_000),
    }
}

fn schedule(zone: &str, entries: &[Entry]) -> Schedule {
    Schedule::new(entries.to_vec(), Zone::named(zone).unwrap()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The rate in Mbit/s, and when that changes.
fn says(schedule: &Schedule, now: &str) -> (Option<u64>, Option<Timestamp>) {
    let says = schedule.at(at(now));
    (says.entry.map(|entry| entry.rate.bits_per_second() / 1_000_000), says.until)
}

#[test]
fn office_hours_follow_the_clocks_of_their_zone() {
    let schedule = schedule("Europe/Berlin", &[entry("mon-fri", "08:00", "18:00", 100)]);
    // A Wednesday in winter: one hour ahead of UTC.
    assert_eq!(says(&schedule, "2026-01-14T06:59:59Z"), (None, Some(at("2026-01-14T07:00:00Z"))));
    assert_eq!(says(&schedule, "2026-01-14T07:00:00Z"), (Some(100), Some(at("2026-01-14T17:00:00Z"))));
    // Friday evening, until Monday.
    assert_eq!(says(&schedule, "2026-01-16T17:00:00Z"), (None, Some(at("2026-01-19T07:00:00Z"))));
    // In summer two.
    assert_eq!(says(&schedule, "2026-07-15T06:00:00Z"), (Some(100), Some(at("2026-07-15T16:00:00Z"))));
}

#[test]
fn an_entry_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let schedule = schedule("UTC", &[entry("fri,sun", "22:00", "06:00", 500)]);
    assert_eq!(says(&schedule, "2026-01-17T03:00:00Z"), (Some(500), Some(at("2026-01-17T06:00:00Z"))), "Saturday");
    assert_eq!(says(&schedule, "2026-01-17T23:00:00Z"), (None, Some(at("2026-01-18T22:00:00Z"))));
    // Over the end of the week.
    assert_eq!(says(&schedule, "2026-01-19T05:59:00Z"), (Some(500), Some(at("2026-01-19T06:00:00Z"))), "Monday");
    assert_eq!(says(&schedule, "2026-01-19T06:00:00Z"), (None, Some(at("2026-01-23T22:00:00Z"))));
}

#[test]
fn an_hour_that_the_clocks_skip_is_in_no_entry() {
    // On 29 March 2026 the clocks go from 02:00 to 03:00, at 01:00 UTC.
    let night = schedule("Europe/Berlin", &[entry("mon-sun", "01:00", "04:00", 7)]);
    assert_eq!(says(&night, "2026-03-29T00:00:00Z"), (Some(7), Some(at("2026-03-29T02:00:00Z"))), "two hours");
    let skipped = schedule("Europe/Berlin", &[entry("sun", "02:00", "03:00", 7)]);
    assert_eq!(says(&skipped, "2026-03-29T00:59:59Z"), (None, Some(at("2026-04-05T00:00:00Z"))));
    // It begins within what is skipped: as soon as the clocks show a time in it.
    let begins = schedule("Europe/Berlin", &[entry("sun", "02:30", "05:00", 7)]);
    assert_eq!(says(&begins, "2026-03-29T00:59:59Z"), (None, Some(at("2026-03-29T01:00:00Z"))));
    assert_eq!(says(&begins, "2026-03-29T01:00:00Z"), (Some(7), Some(at("2026-03-29T03:00:00Z"))));
}

#[test]
fn an_hour_that_the_clocks_show_twice_is_in_its_entry_twice() {
    // On 25 October 2026 the clocks go from 03:00 back to 02:00, at 01:00 UTC.
    let night = schedule("Europe/Berlin", &[entry("mon-sun", "01:00", "04:00", 7)]);
    assert_eq!(says(&night, "2026-10-24T23:00:00Z"), (Some(7), Some(at("2026-10-25T03:00:00Z"))), "four hours");
    let half = schedule("Europe/Berlin", &[entry("sun", "02:00", "02:30", 7)]);
    assert_eq!(says(&half, "2026-10-25T00:00:00Z"), (Some(7), Some(at("2026-10-25T00:30:00Z"))));
    assert_eq!(says(&half, "2026-10-25T00:30:00Z"), (None, Some(at("2026-10-25T01:00:00Z"))));
    assert_eq!(says(&half, "2026-10-25T01:00:00Z"), (Some(7), Some(at("2026-10-25T01:30:00Z"))));
    assert_eq!(says(&half, "2026-10-25T01:30:00Z"), (None, Some(at("2026-11-01T01:00:00Z"))));
}

#[test]
fn what_is_said_to_change_changes_then_and_not_before() {
    let entries = [entry("mon-fri", "08:00", "18:00", 100), entry("mon-fri", "18:00", "23:30", 200)];
    let more = [entry("sat", "00:00", "24:00", 300), entry("sun-thu", "23:30", "02:45", 400)];
    for zone in ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"] {
        let schedule = schedule(zone, &[entries, more].concat());
        let mut now = at("2026-01-01T00:00:00Z");
        let end = at("2027-01-01T00:00:00Z");
        while now < end {
            let says = schedule.at(now);
            let until = says.until.unwrap();
            let moment = jiff::SignedDuration::from_secs(1);
            assert_eq!(schedule.at(until - moment).entry, says.entry, "{zone} {now} {until}");
            assert_ne!(schedule.at(until).entry, says.entry, "{zone} {now} {until}");
            // No change is passed over: every quarter of an hour until then.
            let mut between = now;
            while between < until {
                assert_eq!(schedule.index_at(between), schedule.index_at(now), "{zone} {now} {between}");
                between += jiff::SignedDuration::from_mins(15);
            }
            now = until;
        }
    }
}

#[test]
fn entries_that_hold_at_the_same_time_are_found() {
    let zone = || Zone::named("UTC").unwrap();
    let overlap = |entries: &[Entry]| Schedule::new(entries.to_vec(), zone()).map(drop);
    let office = entry("mon-fri", "08:00", "18:00", 1);
    assert_eq!(overlap(&[office, entry("mon-fri", "18:00", "08:00", 1)]), Ok(()), "one ends where the other begins");
    let second = overlap(&[office, entry("sat", "00:00", "24:00", 1), entry("fri", "17:00", "20:00", 1)]).unwrap_err();
    assert_eq!((second.first, second.second, second.moment().as_str()), (0, 2, "fri 17:00"));
    let within = overlap(&[entry("wed", "10:00", "11:00", 1), office]).unwrap_err();
    assert_eq!(within.moment(), "wed 10:00");
    let week_end = overlap(&[entry("sun", "22:00", "09:00", 1), office]).unwrap_err();
    assert_eq!(week_end.moment(), "mon 08:00");
}

#[test]
fn days_and_times_are_parsed_strictly() {
    for (written, shown) in [
        ("mon-fri", "mon-fri"),
        ("sat,sun", "sat,sun"),
        ("mon", "mon"),
        ("fri-mon", "fri-mon"),
        ("sun-thu", "sun-thu"),
        ("mon-sun", "mon-sun"),
        ("wed-tue", "mon-sun"),
        ("tue, thu", "tue,thu"),
        ("mon-wed,fri", "mon-wed,fri"),
    ] {
        assert_eq!(Days::parse(written).unwrap().to_string(), shown, "{written}");
    }
    for wrong in ["", "monday", "mon-", "mon-fri-sun", "mon fri", "Mon"] {
        assert_eq!(Days::parse(wrong), None, "{wrong}");
    }
    for right in ["00:00", "08:05", "23:59", "24:00"] {
        assert_eq!(TimeOfDay::parse(right).unwrap().to_string(), right);
    }
    for wrong in ["8:00", "24:01", "12:60", "12", "12:5", "+1:00", "noon"] {
        assert_eq!(TimeOfDay::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_schedule_without_an_entry_says_nothing_for_ever() {
    assert_eq!(Schedule::default().at(at("2026-01-01T00:00:00Z")), Says { entry: None, until: None });
    let always = schedule("UTC", &[entry("mon-sun", "00:00", "24:00", 9)]);
    assert_eq!(says(&always, "2026-01-01T00:00:00Z"), (Some(9), None));
    assert!(Zone::named("Europe/Berln").is_none());
}
