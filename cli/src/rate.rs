//! `causeway rate`: shows the rate of a running sender, sets another one for a while, and resets it.

use std::time::Duration;

use sender::{RateRequest as Request, RateStatus};
use service::format::bits;
use wire::units::Rate;

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;

/// The time for an answer: a sender decides about its rate alone.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &args::Rate) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::SENDER, TIMEOUT)?;
    if arguments.rate.is_none() && !arguments.reset {
        let status: serde_json::Value = serde_json::from_str(&port.get("status")?).map_err(Failure::failed)?;
        if status["role"] != "sender" {
            return Err(port.failed("this is a receiver; set the rate on the sender: --admin SENDER:7401"));
        }
        let rate: RateStatus = serde_json::from_value(status["rate"].clone()).map_err(Failure::failed)?;
        println!("{}", sentence(&rate));
        return Ok(());
    }
    let request = Request {
        rate: arguments.rate.map(|rate| rate.to_string()),
        // Whole seconds, rounded up: never less than requested.
        seconds: arguments.time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
    };
    println!("{}", port.post("rate", &request)?);
    Ok(())
}

/// The rate in effect, where it comes from, until when, and how much of it is used.
pub(crate) fn sentence(rate: &RateStatus) -> String {
    let used = rate.throughput_bits_per_second;
    let limit =
        rate.bits_per_second.map_or_else(|| "no limit".to_owned(), |bits| Rate::from_bits_per_second(bits).to_string());
    let part = rate.bits_per_second.map(|bits| format!(", {:.0} %", 100.0 * used / bits as f64)).unwrap_or_default();
    let by = match (rate.reason.as_str(), &rate.entry) {
        ("command", _) => " by `causeway rate`".to_owned(),
        ("schedule", Some(entry)) => format!(" by the schedule, {entry}"),
        ("receiver", _) => " by the receiver".to_owned(),
        ("file", _) if rate.bits_per_second.is_some() => " by the file".to_owned(),
        _ => String::new(),
    };
    let until = rate.until.as_ref().map_or_else(String::new, |until| format!(", until {until}"));
    format!("{limit}{by}{until}; {} used{part}", bits(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_with_its_reason_end_and_use() {
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
