//! librdkafka properties, passed through from `[source.client]` and `[target.client]`. Those that would break the
//! guarantees are refused. Secrets come from files, so that a configuration can be shown to anyone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Reported, Table, collected};
use super::effective::toml;
use super::field::{Section, Shape};
use crate::private_file;

/// The properties of a client, sorted by name; secrets are not read yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, Property)>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// The text as written; numbers and booleans as text.
    Plain(String),
    Secret(Secret),
}

/// A secret in a file. It is read when it is needed, so that a new one needs no new configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    file: PathBuf,
}

/// The error of a secret's file that cannot be used. It never shows the secret.
#[derive(Debug, thiserror::Error)]
#[error("secret in {}: {source}", file.display())]
pub struct SecretError {
    file: PathBuf,
    source: io::Error,
}

/// Properties whose value is a secret, which the file must not state.
const SECRETS: &[&str] = &[
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// Properties whose value is the path of a file that the client reads when it is made.
const FILES: &[&str] = &[
    "https.ca.location",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// The section at `path` that takes librdkafka properties.
pub const fn section(path: &'static str) -> Section {
    Section {
        path,
        shape: Shape::Properties,
        doc: "librdkafka properties, passed through by their own names: how to reach and authenticate to the cluster. \
              Properties that would break the guarantees are refused. Secrets come from files: \
              `\"sasl.password\" = { file = \"/run/secrets/sasl\" }`.",
        fields: &[],
    }
}

impl Secret {
    /// The text of the file without its last line end.
    pub fn read(&self) -> Result<String, SecretError> {
        private_file::read(&self.file).map_err(|source| SecretError { file: self.file.clone(), source })
    }
}

impl Properties {
    /// The name and value of each property, with secrets read from their files.
    pub fn resolve(&self) -> Result<BTreeMap<String, String>, SecretError> {
        let resolve = |property: &Property| match property {
            Property::Plain(value) => Ok(value.clone()),
            Property::Secret(secret) => secret.read(),
        };
        self.0.iter().map(|(name, property)| Ok((name.clone(), resolve(property)?))).collect()
    }

    /// The paths of the files that the properties name, of secrets and others.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = self
            .0
            .iter()
            .filter(|(name, property)| matches!(property, Property::Secret(_)) || FILES.contains(&name.as_str()));
        named.filter_map(|(name, _)| self.file(name)).collect()
    }

    /// The file of a property: that of a secret, or else the one whose path is its value.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, property)| match property {
            Property::Plain(path) => PathBuf::from(path),
            Property::Secret(secret) => secret.file.clone(),
        })
    }

    /// The properties, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property))
    }
}

/// The property as it may be shown: a plain value, or the file of a secret.
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => f.write_str(value),
            Self::Secret(secret) => write!(f, "(in {})", secret.file.display()),
        }
    }
}

impl Table<'_> {
    pub fn read_properties(&self) -> Result<Properties, Reported> {
        let mut flat = Vec::new();
        for (key, value) in self.entries() {
            flatten(key.to_owned(), value, &mut flat);
        }
        let properties = flat.into_iter().map(|(name, value)| {
            let property = self.property(&name, value)?;
            Ok((name, property))
        });
        let mut properties = collected(properties)?;
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Properties(properties))
    }

    fn property(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Property, Reported> {
        let report = |reason: &str| {
            let message = format!("`{name}` in {} {reason}", self.section().title());
            self.document().report(value.span().start, message)
        };
        if let Some(reason) = self.forbidden(name) {
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
            DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) => {
                let found = value.get_ref().type_str();
                Err(report(&format!("is of type {found}; a property takes a string, a number or a boolean")))
            }
            other => Ok(Property::Plain(toml(other))),
        }
    }
}

/// The file of `{ file = "…" }`. No librdkafka property ends in `.file`, so this cannot be a dotted key.
fn secret_file<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    let table: &DeTable<'_> = value.as_table().filter(|table| table.len() == 1)?;
    table.get("file")?.get_ref().as_str()
}

/// Joins the tables that TOML makes of a dotted key: `security.protocol = …` is one property, quoted or not.
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
