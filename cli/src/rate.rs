//! `causeway rate`: the rate of a running sender, shown, set for a while, and taken back.

use std::time::Duration;

use sender::rate::{RateStatus, Request};
use wire::units::Rate;

use crate::admin::AdminPort;
use crate::args;
use crate::exit::Failure;
use crate::shown::bits;

/// A sender decides by itself, at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shows the rate, or asks for another one.
pub(crate) fn run(asked: &args::Rate) -> Result<(), Failure> {
    let port = AdminPort::new(&asked.access, TIMEOUT)?;
    let failed = |reason: String| Failure::Failed(format!("{}: {reason}", asked.admin));
    if asked.rate.is_none() && !asked.reset {
        let body = port.get(&asked.admin, "status").map_err(failed)?;
        let status: serde_json::Value = serde_json::from_str(&body).map_err(Failure::failed)?;
        if status["role"] != "sender" {
            let words = "this is no sender; the rate of a link is its sender's: ask that one, with --admin";
            return Err(failed(words.to_owned()));
        }
        let rate: RateStatus = serde_json::from_value(status["rate"].clone()).map_err(Failure::failed)?;
        println!("{}", sentence(&rate));
        return Ok(());
    }
    let request = Request {
        rate: asked.rate.map(|rate| rate.to_string()),
        // Whole seconds, upwards: what is asked for is had.
        seconds: asked.time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
    };
    let body = serde_json::to_string(&request).map_err(Failure::failed)?;
    let answer = port.post(&asked.admin, "rate", body).map_err(failed)?;
    println!("{}", answer.trim_end());
    Ok(())
}

/// The rate, where it comes from, how long it holds, and what is used of it.
pub(crate) fn sentence(rate: &RateStatus) -> String {
    let used = rate.throughput_bits_per_second;
    let (holds, part) = match rate.bits_per_second {
        Some(bits) => {
            let part = format!(", {:.0} %", 100.0 * used / bits as f64);
            (Rate::from_bits_per_second(bits).to_string(), part)
        }
        None => ("no limit".to_owned(), String::new()),
    };
    let by = match (rate.reason.as_str(), &rate.entry) {
        ("command", _) => " by `causeway rate`".to_owned(),
        ("schedule", Some(entry)) => format!(" by the schedule, {entry}"),
        ("file", _) if rate.bits_per_second.is_some() => " by the file".to_owned(),
        _ => String::new(),
    };
    let until = rate.until.as_ref().map_or_else(String::new, |until| format!(", until {until}"));
    format!("{holds}{by}{until}; {} used{part}", bits(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_with_its_reason_its_end_and_its_use() {
        let shown = |json: serde_json::Value| sentence(&serde_json::from_value(json).unwrap());
        let of_file = serde_json::json!({ "bits_per_second": 500_000_000, "reason": "file", "throughput_bits_per_second": 93.2e6 });
        assert_eq!(shown(of_file), "500 Mbit/s by the file; 93.2 Mbit/s used, 19 %");
        let of_schedule = serde_json::json!({
            "bits_per_second": 100_000_000, "reason": "schedule", "entry": "mon-fri 08:00-18:00 Europe/Berlin",
            "until": "2026-01-14T17:00:00Z", "throughput_bits_per_second": 99.6e6,
        });
        let expected = "100 Mbit/s by the schedule, mon-fri 08:00-18:00 Europe/Berlin, until 2026-01-14T17:00:00Z; 99.6 Mbit/s used, 100 %";
        assert_eq!(shown(of_schedule), expected);
        let by_command = serde_json::json!({ "bits_per_second": 64_000, "reason": "command" });
        assert_eq!(shown(by_command), "64 kbit/s by `causeway rate`; 0 bit/s used, 0 %");
        assert_eq!(shown(serde_json::json!({ "reason": "file" })), "no limit; 0 bit/s used");
    }
}
