//! Which side of a link a config file is for.

use std::path::Path;

use service::config::{Problems, top_keys};

use crate::exit::Failure;

/// A side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Beside the source cluster.
    Sender,
    /// Beside the target cluster.
    Receiver,
}

impl Side {
    /// The side that `text` is written for, by the keys and sections that only one side has; `None` where
    /// it has none of them, or of both.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let keys = top_keys(text);
        let has = |any: &[&str]| keys.iter().any(|key| any.contains(&key.as_str()));
        match (has(&["link", "source", "wan", "lanes"]), has(&["listen", "target", "links"])) {
            (true, false) => Some(Self::Sender),
            (false, true) => Some(Self::Receiver),
            _ => None,
        }
    }

    /// The failure of a file that this side cannot use.
    pub(crate) fn refuse(self, file: &Path, problems: Problems) -> Failure {
        let other = std::fs::read_to_string(file).ok().and_then(|text| Self::of(&text)).filter(|side| *side != self);
        match other {
            Some(Self::Sender) => hint(file, "a sender", "send"),
            Some(Self::Receiver) => hint(file, "a receiver", "receive"),
            None => problems.into(),
        }
    }
}

fn hint(file: &Path, whose: &str, command: &str) -> Failure {
    let file = file.display();
    Failure::Config(format!("{file} is the configuration of {whose}; run `causeway {command} {file}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_examples_are_told_apart_and_neither_is_guessed() {
        assert_eq!(Side::of(sender::config::EXAMPLE), Some(Side::Sender));
        assert_eq!(Side::of(receiver::config::EXAMPLE), Some(Side::Receiver));
        for neither in ["", "[tls]\nca = \"a\"", "link = \"a\"\n[target]\n", "[[["] {
            assert_eq!(Side::of(neither), None, "{neither}");
        }
    }
}
