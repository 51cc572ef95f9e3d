//! Limits of one link, from the receiver's configuration.

use wire::units::Rate;

/// Limits that keep the owner of a link from taking what other links need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLimits {
    /// Most topics that the link carries.
    pub topics: u64,
    /// Most partitions that it carries.
    pub partitions: u64,
    /// Most senders that stand by.
    pub standbys: u16,
    /// Bytes of topics, settings and offers that wait.
    pub announced_bytes: u64,
    /// Bytes of decoded records.
    pub decode_bytes: u64,
    /// Bandwidth that its senders may use; `None` for no limit.
    pub rate: Option<Rate>,
}

#[cfg(test)]
impl Default for LinkLimits {
    fn default() -> Self {
        Self { topics: 100, partitions: 1000, standbys: 8, announced_bytes: 1 << 20, decode_bytes: 1 << 20, rate: None }
    }
}
