//! The role of a process, sender or receiver, by the configuration file that it runs with.

use std::path::Path;

use kafka::properties::forbidden;
use service::admin::AdminSettings;
use service::config::{self, Configuration, Problems, Section, top_keys};
use service::tls::TlsFiles;

use crate::exit::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
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

    /// The role that `file` with this `text` is written for, or the failure of a file that is for neither.
    pub(crate) fn of_file(file: &Path, text: &str) -> Result<Self, Failure> {
        Self::of(text).ok_or_else(|| {
            let hint = "a sender's file has `link`, [source] and [wan], a receiver's [target] and [[links]]";
            Failure::Config(format!("{} is neither a sender's nor a receiver's: {hint}", file.display()))
        })
    }

    /// Reads the file of a process of this role; a file of the other role is refused with the command that it is for.
    pub(crate) fn load<C: Configuration>(self, file: &Path) -> Result<C, Failure> {
        config::load(file, forbidden).map_err(|problems| self.refuse(file, problems))
    }

    /// The failure of a file that this role cannot use.
    fn refuse(self, file: &Path, problems: Problems) -> Failure {
        let other = std::fs::read_to_string(file).ok().and_then(|text| Self::of(&text)).filter(|role| *role != self);
        let (whose, command) = match other {
            Some(Self::Sender) => ("a sender", "send"),
            Some(Self::Receiver) => ("a receiver", "receive"),
            None => return problems.into(),
        };
        let file = file.display();
        Failure::Config(format!("{file} is the configuration of {whose}; run `causeway {command} {file}`"))
    }

    /// The `[admin]` and `[tls]` of `file`. Paths are as written; nothing they name is opened.
    pub(crate) fn admin(self, file: &Path, text: &str) -> Result<(AdminSettings, TlsFiles), Failure> {
        let name = file.display().to_string();
        let read = config::parse_with(text, &name, self.sections(), forbidden, |document| {
            let admin = AdminSettings::read(document);
            let tls = document.read();
            Ok((admin?, tls?))
        });
        read.map_err(Failure::from)
    }

    fn sections(self) -> &'static [Section] {
        match self {
            Self::Sender => sender::config::SECTIONS,
            Self::Receiver => receiver::config::SECTIONS,
        }
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
