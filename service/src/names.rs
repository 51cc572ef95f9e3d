//! Names that both ends agree on. Each is a type with its own rules.

use std::fmt;
use std::ops::Deref;

use rustls::pki_types::ServerName;

use crate::config::value::text;
use crate::config::{DeValue, Rejection, Reported, Setting, Table};

/// Limit of a link's name in bytes: it is part of topic names and transactional ids in the target.
pub const LINK_NAME_BYTES_MAX: usize = 64;
/// Limit of an instance's name in bytes: that of a DNS name.
pub const INSTANCE_NAME_BYTES_MAX: usize = 253;

/// A link's name: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName(String);

/// Name of one process of a link, the same across its restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceName(String);

/// A name that a certificate proves: a DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(String);

/// True if a name has nothing but `a-z 0-9 . _ -`.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

/// Limit of a class's name in bytes.
const CLASS_NAME_BYTES_MAX: usize = 64;

/// True if a text can be the name of a class: 1 to 64 of `a-z 0-9 . _ -`.
pub fn is_class_name(name: &str) -> bool {
    (1..=CLASS_NAME_BYTES_MAX).contains(&name.len()) && is_plain(name)
}

/// True if a text can be the name of an instance, or Kafka's id of a cluster: 1 to 253 visible ASCII characters.
pub fn is_id(text: &str) -> bool {
    (1..=INSTANCE_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl LinkName {
    /// Parses `name`; the error says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self, String> {
        let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if name.len() > LINK_NAME_BYTES_MAX {
            return Err(format!("\"{name}\" has {} characters, above the limit of {LINK_NAME_BYTES_MAX}", name.len()));
        }
        if begins && is_plain(name) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("\"{name}\" is no link name: use a-z, 0-9, `.`, `_` and `-`, and begin with a letter or digit"))
    }
}

impl InstanceName {
    /// Parses `name`; the error says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self, String> {
        if !is_id(name) {
            return Err(format!(
                "\"{name}\" is no instance name: use 1 to {INSTANCE_NAME_BYTES_MAX} visible ASCII characters"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// Reads the setting `name`; where it is missing, the name of this machine.
    pub fn read(table: &Table<'_>, name: &str) -> Result<Self, Reported> {
        Ok(table.read::<Option<Self>>(name)?.unwrap_or_else(Self::of_host))
    }

    /// This machine's host name, or `localhost` where that is no instance name.
    pub fn of_host() -> Self {
        let host = gethostname::gethostname();
        host.to_str().and_then(|host| Self::parse(host).ok()).unwrap_or_else(|| Self("localhost".to_owned()))
    }
}

impl PeerName {
    /// Parses `name`, which must be one that a certificate can bear.
    pub fn parse(name: &str) -> Result<Self, String> {
        match ServerName::try_from(name) {
            Ok(_) => Ok(Self(name.to_owned())),
            Err(_) => Err(format!("\"{name}\" is not a DNS name or IP address, as a certificate bears it")),
        }
    }
}

macro_rules! is_text {
    ($($name:ident),*) => {$(
        impl Setting for $name {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
                Self::parse(text(value)?).map_err(Rejection::because)
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

is_text!(LinkName, InstanceName, PeerName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_can_be_part_of_a_topic_name() {
        for good in ["a", "fra-to-sin", "7.b_c", &"a".repeat(64)] {
            assert_eq!(&*LinkName::parse(good).unwrap(), good);
        }
        for bad in ["", "-a", ".", "Fra", "a b", "a/b", "ä", &"a".repeat(65)] {
            LinkName::parse(bad).unwrap_err();
        }
        assert!(LinkName::parse(&"a".repeat(65)).unwrap_err().ends_with("has 65 characters, above the limit of 64"));
    }

    #[test]
    fn the_host_gives_an_instance_its_name() {
        assert!(!InstanceName::of_host().is_empty());
        InstanceName::parse("a b").unwrap_err();
        InstanceName::parse("").unwrap_err();
    }

    #[test]
    fn names_of_a_peer_have_their_grammar() {
        assert!(is_class_name("bulk-7") && is_class_name(&"a".repeat(64)));
        for bad in ["", "../a", "Bulk", "a b", "a\n", &"a".repeat(65)] {
            assert!(!is_class_name(bad), "{bad:?}");
        }
        assert!(is_id("5L6g3nShT-eMCtK--X86sw") && is_id("../a"));
        assert!(!is_id("") && !is_id("a b") && !is_id("ä") && !is_id(&"a".repeat(254)));
    }

    #[test]
    fn a_peer_name_is_one_that_a_certificate_can_bear() {
        for good in ["link.example", "10.0.0.7", "::1"] {
            PeerName::parse(good).unwrap();
        }
        for bad in ["", "a b", "*.example", "link.example:7443"] {
            PeerName::parse(bad).unwrap_err();
        }
    }
}
