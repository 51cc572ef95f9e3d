//! librdkafka properties passed through from `[source.client]` and `[target.client]`. What would break
//! the promise is refused, and secrets come from files, so that a config can be shown to anyone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Reported, Table};
use crate::private_file;

/// Properties in the order of their names; values not yet resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, Property)>);

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// As written; numbers and booleans as text.
    Plain(String),
    /// In a file.
    Secret(Secret),
}

/// A secret that lies in a file and is read when it is needed, so that a new one needs no new config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    file: PathBuf,
}

/// A secret's file that cannot be used. Never shows the secret.
#[derive(Debug, thiserror::Error)]
#[error("secret in {}: {source}", file.display())]
pub struct SecretError {
    file: PathBuf,
    source: io::Error,
}

/// Properties whose value is a secret.
const SECRETS: &[&str] = &[
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

impl Secret {
    /// The file's text without its last line end.
    pub fn read(&self) -> Result<String, SecretError> {
        private_file::read(&self.file).map_err(|source| SecretError { file: self.file.clone(), source })
    }
}

impl Properties {
    /// Name and value of each property, secrets read from their files.
    pub fn resolve(&self) -> Result<BTreeMap<String, String>, SecretError> {
        let resolve = |property: &Property| match property {
            Property::Plain(value) => Ok(value.clone()),
            Property::Secret(secret) => secret.read(),
        };
        self.0.iter().map(|(name, property)| Ok((name.clone(), resolve(property)?))).collect()
    }

    /// Each property, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property))
    }
}

/// A property as it may be shown: plain values, and for secrets the file.
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => f.write_str(value),
            Self::Secret(secret) => write!(f, "(in {})", secret.file.display()),
        }
    }
}

impl Table<'_> {
    /// Reads every key as a librdkafka property. `forbidden` says for a name why it is refused, if it is.
    pub fn read_properties(&self, forbidden: impl Fn(&str) -> Option<&'static str>) -> Result<Properties, Reported> {
        let mut flat = Vec::new();
        for (key, value) in self.entries() {
            flatten(key.to_owned(), value, &mut flat);
        }
        let read = |(name, value): (String, &Spanned<DeValue<'_>>)| {
            let property = self.property(&name, value, &forbidden)?;
            Ok((name, property))
        };
        let properties = flat.into_iter().map(read).collect::<Vec<_>>();
        let mut properties = properties.into_iter().collect::<Result<Vec<_>, Reported>>()?;
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Properties(properties))
    }

    fn property(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        forbidden: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Property, Reported> {
        let report = |reason: &str| {
            let message = format!("`{name}` in {} {reason}", self.section().title());
            self.document().report(value.span().start, message)
        };
        if let Some(reason) = forbidden(name) {
            return Err(report(&format!("is refused: {reason}")));
        }
        if let Some(file) = secret_file(value.get_ref()) {
            let file = self.document().files().map_or_else(|| PathBuf::from(file), |base: &Path| base.join(file));
            let secret = Secret { file };
            if self.document().files().is_some()
                && let Err(error) = secret.read()
            {
                return Err(report(&format!("cannot be read: {error}")));
            }
            return Ok(Property::Secret(secret));
        }
        if SECRETS.contains(&name) {
            return Err(report("is a secret; write it as { file = \"/path/to/it\" }"));
        }
        match value.get_ref() {
            DeValue::String(text) => Ok(Property::Plain(text.to_string())),
            DeValue::Integer(number) => Ok(Property::Plain(number.to_string())),
            DeValue::Float(number) => Ok(Property::Plain(number.to_string())),
            DeValue::Boolean(flag) => Ok(Property::Plain(flag.to_string())),
            other => {
                let found = other.type_str();
                Err(report(&format!("is of type {found}; a property takes a string, a number or a boolean")))
            }
        }
    }
}

/// `{ file = "…" }`: no librdkafka property ends in `.file`, so this cannot be a dotted key.
fn secret_file<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    let table: &DeTable<'_> = value.as_table().filter(|table| table.len() == 1)?;
    table.get("file")?.get_ref().as_str()
}

/// Undoes what TOML makes of a dotted key: `security.protocol = …` is one property, quoted or not.
fn flatten<'v>(name: String, value: &'v Spanned<DeValue<'v>>, flat: &mut Vec<(String, &'v Spanned<DeValue<'v>>)>) {
    match value.get_ref() {
        DeValue::Table(table) if secret_file(value.get_ref()).is_none() => {
            for (key, value) in table {
                flatten(format!("{name}.{}", key.get_ref()), value, flat);
            }
        }
        _ => flat.push((name, value)),
    }
}
