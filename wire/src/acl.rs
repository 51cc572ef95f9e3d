//! Access control lists (ACLs) of topics and groups, as Kafka keeps them: one rule each.

use std::fmt;

use bincode::{Decode, Encode};

/// A rule that allows or denies a principal one operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Acl {
    pub resource: AclResource,
    pub pattern: AclPattern,
    /// Name or prefix; a literal `*` stands for all names.
    pub name: String,
    /// Such as `User:alice`; `User:*` stands for everyone.
    pub principal: String,
    /// Address of the client; `*` stands for all.
    pub host: String,
    pub operation: AclOperation,
    pub permission: AclPermission,
}

crate::words! {
    /// Kinds of resources whose rules are carried.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
    pub enum AclResource {
        /// A topic.
        Topic = "topic",
        /// A consumer group.
        Group = "group",
    }
}

crate::words! {
    /// How a rule names its resources.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
    pub enum AclPattern {
        /// By one name.
        Literal = "literal",
        /// By the beginning of names.
        Prefixed = "prefixed",
    }
}

crate::words! {
    /// Operations on topics and groups.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
    pub enum AclOperation {
        /// Every operation.
        All = "All",
        /// Read records; join a group and commit its offsets.
        Read = "Read",
        /// Write records.
        Write = "Write",
        /// Create the topic.
        Create = "Create",
        /// Delete it.
        Delete = "Delete",
        /// Add partitions.
        Alter = "Alter",
        /// See that it exists, and its offsets.
        Describe = "Describe",
        /// See its settings.
        DescribeConfigs = "DescribeConfigs",
        /// Change its settings.
        AlterConfigs = "AlterConfigs",
    }
}

crate::words! {
    /// Effect of a rule; where both apply, the operation is denied.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
    pub enum AclPermission {
        /// The operation is denied.
        Deny = "deny",
        /// The operation is allowed.
        Allow = "allow",
    }
}

impl Acl {
    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.name.len() + self.principal.len() + self.host.len()
    }

    /// Returns whether the rule is about all resources of its kind.
    pub fn is_about_all(&self) -> bool {
        self.pattern == AclPattern::Literal && self.name == "*"
    }

    /// Returns whether the rule applies to a resource of its kind.
    pub fn applies_to(&self, name: &str) -> bool {
        match self.pattern {
            AclPattern::Literal => self.name == name || self.is_about_all(),
            AclPattern::Prefixed => name.starts_with(&self.name),
        }
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, pattern, name, principal, host, operation, permission } = self;
        write!(f, "{} {principal} {} on {} {name}", permission.word(), operation.word(), resource.word())?;
        if *pattern == AclPattern::Prefixed {
            write!(f, " (prefix)")?;
        }
        if host != "*" { write!(f, " from {host}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(pattern: AclPattern, name: &str) -> Acl {
        Acl {
            resource: AclResource::Topic,
            pattern,
            name: name.to_owned(),
            principal: "User:alice".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation::Read,
            permission: AclPermission::Allow,
        }
    }

    #[test]
    fn a_rule_applies_as_in_kafka() {
        let applies = |pattern, name: &str| acl(pattern, name).applies_to("orders-1");
        assert!(applies(AclPattern::Literal, "orders-1") && !applies(AclPattern::Literal, "orders-"));
        assert!(applies(AclPattern::Prefixed, "orders-") && !applies(AclPattern::Prefixed, "orders-12"));
        assert!(applies(AclPattern::Literal, "*") && !applies(AclPattern::Prefixed, "*"));
    }

    #[test]
    fn a_rule_is_one_sentence() {
        assert_eq!(acl(AclPattern::Literal, "orders").to_string(), "allow User:alice Read on topic orders");
        let from = Acl { host: "10.0.0.1".to_owned(), ..acl(AclPattern::Prefixed, "o") };
        assert_eq!(from.to_string(), "allow User:alice Read on topic o (prefix) from 10.0.0.1");
    }
}
