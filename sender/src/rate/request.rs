//! What `POST /rate` takes: an operator's rate for a while, or that there is to be none any more.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use wire::units::Rate;

use super::plan::Order;

/// As `wan.rate`: less carries no packet in a sensible time, more is a slip.
const RATE_MIN: Rate = Rate::from_bits_per_second(64_000);
const RATE_MAX: Rate = Rate::from_bits_per_second(100_000_000_000);

/// Longer is for the file.
const SECONDS_MAX: u64 = 366 * 24 * 3600;

/// An operator's wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The rate, such as `200 Mbit/s`; none takes an earlier one back.
    pub rate: Option<String>,
    /// For how long.
    #[serde(default)]
    pub seconds: Option<u64>,
}

impl Request {
    /// What it means from `now` on.
    pub(super) fn check(&self, now: Timestamp) -> Result<Option<Order>, String> {
        let Some(rate) = &self.rate else {
            return match self.seconds {
                None => Ok(None),
                Some(_) => Err("a time without a rate: say which rate is to hold for so long".to_owned()),
            };
        };
        let rate = rate.parse::<Rate>().map_err(|error| error.to_string())?;
        if rate < RATE_MIN {
            return Err(format!("{rate} is below the minimum of {RATE_MIN}; raise it"));
        }
        if rate > RATE_MAX {
            return Err(format!("{rate} is above the maximum of {RATE_MAX}; lower it"));
        }
        let until = match self.seconds {
            None => None,
            Some(0) => return Err("0 s is no time; leave `--for` out, or make it 1 s or longer".to_owned()),
            Some(seconds) if seconds > SECONDS_MAX => {
                return Err("more than 366 d: set the rate in the file, where a restart does not forget it".to_owned());
            }
            Some(seconds) => {
                let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                Some(now.checked_add(seconds).map_err(|error| error.to_string())?)
            }
        };
        Ok(Some(Order { rate, until }))
    }
}
