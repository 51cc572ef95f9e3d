//! Files by which a process proves itself, to the other end, to operators and to Kafka: how it notices that they changed, and
//! what it shows of those in use.
//!
//! - [`contents`]: what a set of files has in it
//! - [`watch`]: which changes are taken up, and when
//! - [`expiry`]: when certificates expire
//! - [`warnings`]: when to warn of that
//! - [`board`]: what the status, the metrics and the log show

pub mod board;
pub mod contents;
pub mod expiry;
pub mod warnings;
pub mod watch;

/// Files that are of use only together: they are taken up together, and without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileSet {
    /// Authorities, certificate and key of `[tls]`.
    Tls,
    /// Token of the admin port.
    Admin,
    /// Certificates, keys and secrets of the Kafka clients.
    Kafka,
}

impl FileSet {
    pub const ALL: [Self; 3] = [Self::Tls, Self::Admin, Self::Kafka];

    /// Name in the log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Admin => "admin",
            Self::Kafka => "kafka",
        }
    }
}
