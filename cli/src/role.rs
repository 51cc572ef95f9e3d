//! The role of a process, sender or receiver, by the configuration file that it runs with.

use std::path::Path;

use clap::ValueEnum;
use kafka::properties::forbidden;
use service::config::{self, Configuration, ProcessSettings, top_keys};
use service::tls::End;

use crate::exit::Failure;

/// The role of a process in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Near the source cluster
    Sender,
    /// Near the target cluster
    Receiver,
}

/// Reads the file of a process; a file of the other role is refused with the command that it is for.
pub(crate) fn load<C: Configuration>(file: &Path) -> Result<C, Failure> {
    config::load(file, forbidden).map_err(|problems| {
        let role = config::read_text(file).ok().and_then(|text| Role::of(&text));
        let (whose, command) = match (role, C::END) {
            (Some(Role::Sender), End::Server) => ("a sender", "send"),
            (Some(Role::Receiver), End::Client) => ("a receiver", "receive"),
            _ => return problems.into(),
        };
        let file = file.display();
        Failure::Config(format!("{file} is the configuration of {whose}; run `causeway {command} {file}`"))
    })
}

impl Role {
    /// The role that `text` is written for, by the keys that only one role has; `None` for none or both.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let keys = top_keys(text);
        let has = |any: &[&str]| keys.iter().any(|key| any.contains(&key.as_str()));
        match (has(&["link", "source", "wan", "lanes"]), has(&["listen", "target", "links"])) {
            (true, false) => Some(Self::Sender),
            (false, true) => Some(Self::Receiver),
            _ => None,
        }
    }

    /// The role that `file` is written for, and its text.
    pub(crate) fn of_file(file: &Path) -> Result<(Self, String), Failure> {
        let text = config::read_text(file)?;
        let role = Self::of(&text).ok_or_else(|| {
            let hint = "a sender's file has `link`, [source] and [wan], a receiver's [target] and [[links]]";
            Failure::Config(format!("{} is neither a sender's nor a receiver's: {hint}", file.display()))
        })?;
        Ok((role, text))
    }

    /// The settings of the process in `file`. Paths are as written; nothing they name is opened.
    pub(crate) fn process(self, file: &Path, text: &str) -> Result<ProcessSettings, Failure> {
        let sections = match self {
            Self::Sender => sender::config::SECTIONS,
            Self::Receiver => receiver::config::SECTIONS,
        };
        let name = file.display().to_string();
        Ok(config::parse_with(text, &name, sections, forbidden, |document| document.read())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_examples_have_a_role_and_other_files_none() {
        assert_eq!(Role::of(sender::config::EXAMPLE), Some(Role::Sender));
        assert_eq!(Role::of(receiver::config::EXAMPLE), Some(Role::Receiver));
        for neither in ["", "[tls]\nca = \"a\"", "link = \"a\"\n[target]\n", "[[["] {
            assert_eq!(Role::of(neither), None, "{neither}");
        }
    }
}
