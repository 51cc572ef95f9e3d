//! The types of values and how each is read. A quantity has a unit, in one spelling; messages show one that parses.

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;
use wire::share::Share;
use wire::units::{Rate, Size, parse_duration};

/// A type that a configuration file can state as one value.
pub trait Setting: Sized {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection>;

    /// Compares the value to a bound; `None` for types without an order.
    fn compare(&self, bound: &Self) -> Option<Ordering> {
        let _ = bound;
        None
    }
}

/// The reason why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The TOML type is not the one of the field's kind.
    Kind,
    /// The content is wrong; the text says what it is and what would be accepted.
    Content(String),
}

impl Rejection {
    pub fn because(reason: impl Into<String>) -> Self {
        Self::Content(reason.into())
    }
}

pub fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Rejection> {
    value.as_str().ok_or(Rejection::Kind)
}

/// Reads a text with `parse`. The message for another text ends with `expected`: what it is not, and how to write it.
pub fn parsed<T>(value: &DeValue<'_>, parse: impl FnOnce(&str) -> Option<T>, expected: &str) -> Result<T, Rejection> {
    let written = text(value)?;
    parse(written).ok_or_else(|| Rejection::because(format!("\"{written}\" {expected}")))
}

/// Reads one of a few words; suggests the nearest one for a misspelt word.
pub fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, Rejection> {
    let found = text(value)?;
    if let Some((_, meant)) = choices.iter().find(|(word, _)| *word == found) {
        return Ok(*meant);
    }
    let words = choices.iter().map(|(word, _)| *word);
    let hint = nearest(found, words.clone()).map_or_else(
        || format!("one of {}", words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")),
        |word| format!("did you mean \"{word}\"?"),
    );
    Err(Rejection::because(format!("\"{found}\" is not known; {hint}")))
}

/// The word that is most similar to `found`, if one is similar enough.
pub(crate) fn nearest<'w>(found: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Suggests `topic` for `topics` and `bootstrap.servers` for `bootstrap_servers`, not words that only share letters.
    const LIKENESS_MIN: f64 = 0.8;
    words
        .map(|word| (strsim::jaro_winkler(found, word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Parses the text of a quantity; the message for a bare number shows how to write the unit.
fn quantity<T, E: fmt::Display>(
    value: &DeValue<'_>,
    example: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Rejection> {
    let bare = match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => return parse(text(value)?).map_err(|error| Rejection::because(error.to_string())),
    };
    Err(Rejection::because(format!("{bare} has no unit; write it like \"{example}\"")))
}

macro_rules! quantities {
    ($($type:ty, $example:literal, $parse:expr;)*) => {$(
        impl Setting for $type {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
                quantity(value, $example, $parse)
            }

            fn compare(&self, bound: &Self) -> Option<Ordering> {
                self.partial_cmp(bound)
            }
        }
    )*};
}

quantities! {
    Rate, "500 Mbit/s", str::parse;
    Size, "256 MiB", str::parse;
    Duration, "5 ms", parse_duration;
    Share, "20 %", str::parse;
}

/// A count. A number with a unit needs a type of its own.
impl Setting for u32 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let number = value.as_integer().ok_or(Rejection::Kind)?;
        Self::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| Rejection::because(format!("{number} is not a count from 0 to {}", Self::MAX)))
    }

    fn compare(&self, bound: &Self) -> Option<Ordering> {
        self.partial_cmp(bound)
    }
}

/// A number without a unit, such as a price.
impl Setting for f64 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let number = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => return Err(Rejection::Kind),
        };
        let is_number = |number: &Self| number.is_finite();
        number.filter(is_number).ok_or_else(|| Rejection::because("is not a number, such as `1.5`"))
    }

    fn compare(&self, bound: &Self) -> Option<Ordering> {
        self.partial_cmp(bound)
    }
}

impl Setting for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        value.as_bool().ok_or(Rejection::Kind)
    }
}

impl Setting for String {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let text = text(value)?;
        if text.trim().is_empty() {
            return Err(Rejection::because("is empty"));
        }
        Ok(text.to_owned())
    }
}

impl Setting for SocketAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let hint = "write an IP address and a port, such as \"127.0.0.1:7401\" or \"[::]:7401\"";
        parsed(value, |text| text.parse().ok(), &format!("is not an address to listen on; {hint}"))
    }
}

/// A host, by name or IP address, and a port. Names are resolved at each use, not here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl Setting for Address {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let hint = "write a host and a port, such as \"link.example:7443\" or \"[::1]:7443\"";
        parsed(value, Self::split, &format!("is not an address; {hint}"))
    }
}

/// Returns addresses as a list in one line.
pub fn list_of(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
}

impl Address {
    fn split(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => host,
        };
        let named = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let plain = !host.is_empty() && (named(host) || text.starts_with('['));
        plain.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
