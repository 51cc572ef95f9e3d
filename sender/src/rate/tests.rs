//! Rate in effect, its followers, and requests that are refused.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::{Config, EXAMPLE};

/// A Wednesday, 09:00 UTC.
const NINE: &str = "2026-01-14T09:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn wan(rate: &str) -> WanConfig {
    let entry = "[[wan.schedule]]\ndays = \"mon-fri\"\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"100 Mbit/s\"\n";
    let text = EXAMPLE.replace("[wan]", &format!("[wan]\nrate = \"{rate}\""));
    service::config::parse::<Config>(&format!("{text}{entry}"), "a.toml", |_| None).unwrap().wan
}

fn request(rate: &str, seconds: Option<u64>) -> Request {
    Request { rate: Some(rate.to_owned()), seconds }
}

/// Returns the rate in effect in Mbit/s, and its reason.
fn in_effect(rates: &Rates) -> (u64, String) {
    let status = rates.status();
    (status.bits_per_second.unwrap() / 1_000_000, status.reason)
}

#[test]
fn a_command_precedes_the_schedule_and_that_the_file() {
    let rates = Rates::default();
    rates.configure(&wan("500 Mbit/s"), at("2026-01-14T07:00:00Z"));
    assert_eq!(in_effect(&rates), (500, "file".to_owned()));
    assert_eq!(rates.status().until.unwrap(), "2026-01-14T08:00:00Z");
    rates.evaluate(at(NINE));
    assert_eq!(in_effect(&rates), (100, "schedule".to_owned()));
    assert_eq!(rates.status().entry.unwrap(), "mon-fri 08:00-18:00 UTC");
    let said = rates.ask(&request("200Mbit/s", Some(7200)), at(NINE)).unwrap();
    assert_eq!(said, "200 Mbit/s until Wed 2026-01-14 11:00 UTC, unless this process restarts before");
    assert_eq!(in_effect(&rates), (200, "command".to_owned()));
    rates.configure(&wan("300 Mbit/s"), at(NINE));
    assert_eq!(in_effect(&rates), (200, "command".to_owned()), "a new file does not take it back");
    rates.evaluate(at("2026-01-14T10:59:59Z"));
    assert_eq!(in_effect(&rates).0, 200);
    rates.evaluate(at("2026-01-14T11:00:00Z"));
    assert_eq!(in_effect(&rates).0, 100, "its time is over");
    rates.evaluate(at("2026-01-14T18:00:00Z"));
    assert_eq!(in_effect(&rates).0, 300, "the new file's");
}

#[test]
fn a_command_is_taken_back_and_states_the_rate_in_effect() {
    let rates = Rates::default();
    rates.configure(&wan("500 Mbit/s"), at(NINE));
    let reset = Request::default();
    let said = rates.ask(&reset, at(NINE)).unwrap();
    assert_eq!(
        said,
        "no rate was set by command: 100 Mbit/s stays in effect, by the schedule's mon-fri 08:00-18:00 UTC"
    );
    let said = rates.ask(&request("1 Gbit/s", None), at(NINE)).unwrap();
    assert_eq!(said, "1 Gbit/s until `causeway rate --reset`, or until this process restarts");
    assert_eq!(rates.status().until, None);
    assert_eq!(rates.ask(&reset, at(NINE)).unwrap(), "100 Mbit/s again, by the schedule's mon-fri 08:00-18:00 UTC");
    let unlimited = Rates::default();
    assert_eq!(
        unlimited.ask(&reset, at(NINE)).unwrap(),
        "no rate was set by command: no limit stays in effect, by `wan.rate`"
    );
}

#[test]
fn followers_get_the_rate_immediately_and_each_change_once() {
    let rates = Rates::default();
    let heard = Arc::new(AtomicU64::new(0));
    let times = Arc::new(AtomicU64::new(0));
    let hears = Arc::clone(&heard);
    let counts = Arc::clone(&times);
    rates.configure(&wan("500 Mbit/s"), at("2026-01-14T07:00:00Z"));
    rates.follow(move |rate| {
        hears.store(rate.map_or(0, Rate::bits_per_second), Ordering::Relaxed);
        counts.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!((heard.load(Ordering::Relaxed), times.load(Ordering::Relaxed)), (500_000_000, 1));
    for _ in 0..3 {
        rates.evaluate(at(NINE));
    }
    assert_eq!((heard.load(Ordering::Relaxed), times.load(Ordering::Relaxed)), (100_000_000, 2));
    assert_eq!(rates.budget().rate(), Some(Rate::from_bits_per_second(100_000_000)), "the budget is one of them");
    // The same rate for another reason is no change.
    rates.ask(&request("100 Mbit/s", None), at(NINE)).unwrap();
    assert_eq!((times.load(Ordering::Relaxed), in_effect(&rates).1.as_str()), (2, "command"));
}

#[test]
fn an_invalid_rate_is_refused_with_the_limit_and_a_remedy() {
    let rates = Rates::default();
    for (rate, seconds, sentence) in [
        ("500", None, "`500` has no unit we know; write it like `500 Mbit/s`"),
        ("1 kbit/s", None, "1 kbit/s is below the minimum of 64 kbit/s; raise it"),
        ("1000 Gbit/s", None, "1000 Gbit/s is above the maximum of 100 Gbit/s; lower it"),
        ("1 Mbit/s", Some(0), "0 s is too short; omit `--for`, or use 1 s or longer"),
        ("1 Mbit/s", Some(u64::MAX), "more than 366 d: set the rate in the file, where it survives a restart"),
    ] {
        assert_eq!(rates.ask(&request(rate, seconds), at(NINE)).unwrap_err(), sentence);
    }
    let error = rates.ask(&Request { rate: None, seconds: Some(5) }, at(NINE)).unwrap_err();
    assert_eq!(error, "a time without a rate: state the rate for that time");
    assert_eq!(rates.status().bits_per_second, None, "nothing has changed");
}
