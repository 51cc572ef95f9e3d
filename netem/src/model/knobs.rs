//! Knobs as text: `delay 80 ms, loss 2 % in bursts of 10, rate 300 Mbit/s, limit 20 ms`. The text that is shown for
//! conditions reads back as the same conditions.

use std::fmt;
use std::time::Duration;

use wire::units::{UnitError, UnitFault, display_duration, parse_duration};

use super::conditions::{Conditions, Excess, GilbertElliott, Jitter, Knob, Loss, Order, Reorder};
use wire::share::{Share, ShareError};

/// Every knob with an example of its value, for error messages.
const KNOBS: &str = "delay 80 ms; jitter 2 ms [unordered]; reorder 1 % by 5 ms; loss 2 % [in bursts of 10]; \
                     loss gemodel 0.2 % 10 % [100 % [0 %]]; duplicate 0.1 %; corrupt 0.1 %; rate 300 Mbit/s; \
                     limit 20 ms; limit 1 MB; policer 64 kB; mtu 1400 B; down; up; \
                     flow 2 down; flow 2 up";

/// The longest mean burst, in packets. A longer outage is written `down for 3 s`.
const BURST_MAX: f64 = 1_000_000.0;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KnobError {
    #[error("`{0}` is not a knob of a path; the knobs are: {KNOBS}")]
    Unknown(String),
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error("`{found}`: write it like `{example}`")]
    Value { found: String, example: &'static str },
}

/// Reads knobs separated by commas. An empty text has none.
pub fn parse_knobs(text: &str) -> Result<Vec<Knob>, KnobError> {
    text.split(',').map(str::trim).filter(|knob| !knob.is_empty()).map(parse_knob).collect()
}

fn parse_knob(text: &str) -> Result<Knob, KnobError> {
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let value = value.trim();
    let off = value == "none";
    Ok(match name {
        "delay" => Knob::Delay(parse_duration(value)?),
        "jitter" => Knob::Jitter(jitter(value)?),
        "reorder" => Knob::Reorder(if off { None } else { Some(reorder(value)?) }),
        "loss" => Knob::Loss(if off { Loss::None } else { loss(value)? }),
        "duplicate" => Knob::Duplicate(value.parse()?),
        "corrupt" => Knob::Corrupt(value.parse()?),
        "rate" => Knob::Rate(if off { None } else { Some(value.parse()?) }),
        "limit" => Knob::Excess(limit(value)?),
        "policer" => Knob::Excess(Excess::Police(value.parse()?)),
        "mtu" => Knob::Mtu(if off { None } else { Some(value.parse()?) }),
        "down" if value.is_empty() => Knob::Down(true),
        "up" if value.is_empty() => Knob::Down(false),
        "flow" => flow(value)?,
        _ => return Err(KnobError::Unknown(text.to_owned())),
    })
}

fn jitter(value: &str) -> Result<Jitter, KnobError> {
    let (by, order) = value.strip_suffix("unordered").map_or((value, Order::Kept), |by| (by, Order::Free));
    Ok(Jitter { by: parse_duration(by)?, order })
}

fn reorder(value: &str) -> Result<Reorder, KnobError> {
    let (share, by) = value.split_once("by").ok_or_else(|| malformed("reorder", value, "reorder 1 % by 5 ms"))?;
    Ok(Reorder { share: share.parse()?, by: parse_duration(by)? })
}

fn loss(value: &str) -> Result<Loss, KnobError> {
    if let Some(chain) = value.strip_prefix("gemodel") {
        return gilbert_elliott(chain).map(Loss::Bursts);
    }
    let Some((mean, length)) = value.split_once("in bursts of") else { return Ok(Loss::Random(value.parse()?)) };
    let length = length.trim().parse().ok().filter(|length| (1.0..=BURST_MAX).contains(length));
    match (mean.parse()?, length) {
        (mean, Some(length)) if mean != Share::ALL => Ok(Loss::Bursts(GilbertElliott::bursts(mean, length))),
        _ => Err(malformed("loss", value, "loss 2 % in bursts of 10")),
    }
}

fn flow(value: &str) -> Result<Knob, KnobError> {
    let read = || {
        let (number, state) = value.split_once(char::is_whitespace)?;
        let down = match state.trim() {
            "down" => true,
            "up" => false,
            _ => return None,
        };
        Some(Knob::Flow(number.parse().ok()?, down))
    };
    read().ok_or_else(|| malformed("flow", value, "flow 2 down` with 1 to 64, or `flow 2 up"))
}

fn gilbert_elliott(value: &str) -> Result<GilbertElliott, KnobError> {
    let shares: Vec<Share> = value.split_inclusive('%').map(str::parse).collect::<Result<_, _>>()?;
    let [enter, leave, ref rest @ ..] = shares[..] else { return Err(malformed_chain(value)) };
    let (lost_in_bad, lost_in_good) = match *rest {
        [] => (Share::ALL, Share::NONE),
        [bad] => (bad, Share::NONE),
        [bad, good] => (bad, good),
        _ => return Err(malformed_chain(value)),
    };
    Ok(GilbertElliott { enter, leave, lost_in_bad, lost_in_good })
}

fn malformed_chain(value: &str) -> KnobError {
    malformed("loss gemodel", value.trim_start(), "loss gemodel 0.2 % 10 % 100 % 0 %")
}

fn malformed(knob: &str, value: &str, example: &'static str) -> KnobError {
    KnobError::Value { found: format!("{knob} {value}"), example }
}

fn limit(value: &str) -> Result<Excess, KnobError> {
    match parse_duration(value) {
        Ok(time) => Ok(Excess::QueueTime(time)),
        Err(no_time) => match value.parse() {
            Ok(size) => Ok(Excess::QueueBytes(size)),
            Err(UnitError { fault: UnitFault::Unit(_), .. }) => {
                Err(malformed("limit", value, "limit 20 ms` or `limit 1 MB"))
            }
            Err(_) => Err(no_time.into()),
        },
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delay {}", display_duration(self.delay))?;
        if self.jitter.by > Duration::ZERO {
            let unordered = if self.jitter.order == Order::Free { " unordered" } else { "" };
            write!(f, ", jitter {}{unordered}", display_duration(self.jitter.by))?;
        }
        if let Some(Reorder { share, by }) = self.reorder {
            write!(f, ", reorder {share} by {}", display_duration(by))?;
        }
        match self.loss {
            Loss::None => {}
            Loss::Random(share) => write!(f, ", loss {share}")?,
            Loss::Bursts(GilbertElliott { enter, leave, lost_in_bad, lost_in_good }) => {
                write!(f, ", loss gemodel {enter} {leave} {lost_in_bad} {lost_in_good}")?;
            }
        }
        for (name, share) in [("duplicate", self.duplicate), ("corrupt", self.corrupt)] {
            if share > Share::NONE {
                write!(f, ", {name} {share}")?;
            }
        }
        if let Some(rate) = self.rate {
            write!(f, ", rate {}", rate)?;
            match self.excess {
                Excess::QueueBytes(size) => write!(f, ", limit {}", size)?,
                Excess::QueueTime(time) => write!(f, ", limit {}", display_duration(time))?,
                Excess::Police(depth) => write!(f, ", policer {}", depth)?,
            }
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", mtu {}", mtu)?;
        }
        self.down_flows.iter().try_for_each(|flow| write!(f, ", flow {flow} down"))?;
        if self.down { f.write_str(", down") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Conditions {
        Conditions::default().with(parse_knobs(text).unwrap())
    }

    #[test]
    fn reads_back_what_it_shows() {
        for text in [
            "",
            "delay 80 ms",
            "delay 80ms,jitter 2 ms unordered, reorder 1 % by 5 ms",
            "loss 2 %, duplicate 0.1 %, corrupt 0.01 %",
            "loss gemodel 0.2 % 10 %",
            "loss gemodel 0.2 % 10 % 50 % 0.1 %",
            "loss 2 % in bursts of 10",
            "rate 300 Mbit/s, limit 20 ms",
            "rate 5 Mbit/s, limit 1500 B",
            "rate 300 Mbit/s, policer 64 kB",
            "mtu 1400 B, down",
            "flow 2 down, flow 64 down, flow 3 down, flow 3 up",
        ] {
            let conditions = read(text);
            assert_eq!(read(&conditions.to_string()), conditions, "{text}: {conditions}");
        }
        assert_eq!(read("rate 1 Mbit/s, loss 1 %, rate none, loss none, down, up"), Conditions::default());
    }

    #[test]
    fn bursts_have_the_requested_mean() {
        let loss = read("loss 2 % in bursts of 10").loss;
        assert!((loss.mean() - 0.02).abs() < 1e-6, "{}", loss.mean());
    }

    #[test]
    fn refuses_an_invalid_knob_with_an_example() {
        for (text, says) in [
            ("dealy 5 ms", "the knobs are: delay 80 ms;"),
            ("delay 5", "has no unit"),
            ("loss 2", "write it like `0.1 %`"),
            ("loss 2 % in bursts of 0.5", "loss 2 % in bursts of 10"),
            ("loss 100 % in bursts of 10", "loss 2 % in bursts of 10"),
            ("loss gemodel 1 %", "loss gemodel 0.2 %"),
            ("reorder 1 %", "reorder 1 % by 5 ms"),
            ("limit 5", "limit 20 ms"),
            ("down for 3 s", "the knobs are"),
            ("flow 65 down", "flow 2 down"),
            ("flow 0 down", "flow 2 down"),
            ("flow 2", "flow 2 up"),
            ("rate 0 Mbit/s", "is zero"),
        ] {
            let error = parse_knobs(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
