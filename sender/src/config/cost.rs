//! Prices, for the cost meter.

use std::fmt;

use service::config::value::parsed;
use service::config::{DeValue, Rejection, Setting};

/// Longest name of a currency in characters.
const CURRENCY_MAX: usize = 8;

service::settings! {
    /// Price of what is sent, for [`causeway status --cost`](../bytes.md#cost).
    #[derive(Debug, Clone)]
    pub struct CostConfig: Table "cost" {
        /// Price of 10⁹ bytes on the wire.
        price_per_gb: Option<f64> = otherwise("none"), "a number, such as `0.02`", ["0", "1000000"], live;
        /// Currency of the price.
        currency: Currency = default(r#""EUR""#), "a word such as `EUR`", live;
    }
}

/// Name of a currency: a word, or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency(String);

impl Default for CostConfig {
    fn default() -> Self {
        Self { price_per_gb: None, currency: Currency("EUR".to_owned()) }
    }
}

impl Setting for Currency {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let expected = "is no currency: write a word or sign of 1 to 8 characters, such as \"EUR\"";
        let is_word = |text: &str| {
            let is_visible =
                |letter: char| !letter.is_whitespace() && !letter.is_control() && !"\"<>&".contains(letter);
            (1..=CURRENCY_MAX).contains(&text.chars().count()) && text.chars().all(is_visible)
        };
        parsed(value, |text| is_word(text).then(|| Self(text.to_owned())), expected)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
