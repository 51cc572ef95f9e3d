//! Request of `POST /rate`: sets an operator's rate for a while, or removes it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use wire::units::Rate;

use super::plan::Order;

/// Lowest rate, as for `wan.rate`: a lower one carries no packet in a reasonable time.
const RATE_MIN: Rate = Rate::from_bits_per_second(64_000);
/// Highest rate, as for `wan.rate`: a higher one is a typing error.
const RATE_MAX: Rate = Rate::from_bits_per_second(100_000_000_000);
/// Longest time; a longer one belongs into the file.
const SECONDS_MAX: u64 = 366 * 24 * 3600;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Rate, such as `200 Mbit/s`; none removes an earlier one.
    pub rate: Option<String>,
    /// Duration of the rate in seconds.
    #[serde(default)]
    pub seconds: Option<u64>,
}

impl Request {
    pub(super) fn check(&self, now: Timestamp) -> Result<Option<Order>, String> {
        let Some(rate) = &self.rate else {
            return match self.seconds {
                None => Ok(None),
                Some(_) => Err("a time without a rate: state the rate for that time".to_owned()),
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
            Some(0) => return Err("0 s is too short; omit `--for`, or use 1 s or longer".to_owned()),
            Some(seconds) if seconds > SECONDS_MAX => {
                return Err("more than 366 d: set the rate in the file, where it survives a restart".to_owned());
            }
            Some(seconds) => {
                let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                Some(now.checked_add(seconds).map_err(|error| error.to_string())?)
            }
        };
        Ok(Some(Order { rate, until }))
    }
}
