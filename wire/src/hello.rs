//! Negotiation of the protocol version and features (wire-format.md#hello), because two data centres are never upgraded
//! at the same time.

use std::fmt;

use crate::control::Range;
use crate::error::PeerIncompatible;

/// Newest protocol version of this end.
pub const PROTOCOL_VERSION: u16 = 1;

/// All protocol versions of this end.
pub const VERSIONS: Range = Range { min: 1, max: PROTOCOL_VERSION };

/// ALPN token of the QUIC handshake.
pub const ALPN: &[u8] = b"causeway/1";

/// Feature: frames compressed with lz4.
pub const FEATURE_LZ4: u64 = 1 << 0;
/// Feature: frames compressed with zstd.
pub const FEATURE_ZSTD: u64 = 1 << 1;
/// Reserved: a hash per run in each frame.
pub const FEATURE_RUN_HASHES: u64 = 1 << 2;
/// Feature: frames with blocks of records that have a common template.
pub const FEATURE_SHAPES: u64 = 1 << 3;
/// Reserved: dictionaries trained on earlier frames.
pub const FEATURE_DICTIONARIES: u64 = 1 << 4;
/// Reserved: clock probes for skew-free latency.
pub const FEATURE_CLOCK: u64 = 1 << 5;
/// Feature: further channels that join the session.
pub const FEATURE_CHANNELS: u64 = 1 << 6;
/// Feature: each end tells the other its problems.
pub const FEATURE_CONDITION: u64 = 1 << 7;
/// Feature: topics that the source lost, and positions that are forgotten.
pub const FEATURE_FORGET: u64 = 1 << 8;
/// Feature: effective settings of topics, and times of stored positions.
pub const FEATURE_SETTINGS: u64 = 1 << 10;
/// Feature: offers of partitions that join only if the link has carried them.
pub const FEATURE_CARRIED_ONLY: u64 = 1 << 11;
/// Only in a hello: the sender has created the topic [`crate::origin::probe_topic`] in its source, because the target
/// states the same cluster id. A receiver that can create it too is in another cluster.
pub const FEATURE_PROBE: u64 = 1 << 12;

/// Feature: topics whose refused records the receiver leaves out by itself.
pub const FEATURE_SKIP_REFUSED: u64 = 1 << 13;
/// Feature: the receiver states the rate that the sender may use.
pub const FEATURE_RATE: u64 = 1 << 14;
/// Feature: committed offsets of consumer groups.
pub const FEATURE_GROUPS: u64 = 1 << 15;
/// Feature: settings that are set on the source's topics themselves. A receiver uses it only for a link whose target
/// topics follow them, because the sender then reads settings every few seconds.
pub const FEATURE_FOLLOW_SETTINGS: u64 = 1 << 16;
/// Feature: times since which topics are gone from the source, which the target keeps.
pub const FEATURE_GONE_SINCE: u64 = 1 << 17;
/// Feature: access control lists of carried topics and groups.
pub const FEATURE_ACLS: u64 = 1 << 18;

/// Feature: ends of the source's partitions, which the target keeps for a promotion.
pub const FEATURE_SOURCE_ENDS: u64 = 1 << 19;
/// Feature: frames whose blocks refer to those of earlier frames in the lane's epoch.
pub const FEATURE_FRAME_STATE: u64 = 1 << 20;
/// Feature: the receiver asks for a reading of the source.
pub const FEATURE_READ_SOURCE: u64 = 1 << 21;
/// Feature: topics that go back to the cluster from which a promoted link brought them.
pub const FEATURE_RETURNS: u64 = 1 << 22;
/// Feature: offsets of consumer groups that go back, as positions in the target.
pub const FEATURE_GROUPS_BACK: u64 = 1 << 23;

/// Features that this end supports.
pub const FEATURES: u64 = FEATURE_LZ4
    | FEATURE_ZSTD
    | FEATURE_SHAPES
    | FEATURE_CHANNELS
    | FEATURE_CONDITION
    | FEATURE_FORGET
    | FEATURE_SETTINGS
    | FEATURE_CARRIED_ONLY
    | FEATURE_SKIP_REFUSED
    | FEATURE_RATE
    | FEATURE_GROUPS
    | FEATURE_FOLLOW_SETTINGS
    | FEATURE_GONE_SINCE
    | FEATURE_ACLS
    | FEATURE_SOURCE_ENDS
    | FEATURE_FRAME_STATE
    | FEATURE_READ_SOURCE
    | FEATURE_RETURNS
    | FEATURE_GROUPS_BACK;

/// Returns the newest protocol version that both ends speak.
///
/// # Errors
/// [`PeerIncompatible::Version`] if there is none, or if a range is empty.
pub fn agree(ours: Range, theirs: Range) -> Result<u16, PeerIncompatible> {
    let newest = ours.max.min(theirs.max);
    let spoken = |range: Range| range.min <= newest && newest <= range.max;
    if spoken(ours) && spoken(theirs) { Ok(newest) } else { Err(PeerIncompatible::Version { ours, theirs }) }
}

/// Returns the features that both ends support.
pub fn common_features(a: u64, b: u64) -> u64 {
    a & b
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u16, max: u16) -> Range {
        Range { min, max }
    }

    #[test]
    fn the_newest_common_version_wins() {
        for (ours, theirs, agreed) in [((1, 1), (1, 1), 1), ((1, 2), (1, 1), 1), ((2, 4), (3, 9), 4)] {
            assert_eq!(agree(range(ours.0, ours.1), range(theirs.0, theirs.1)), Ok(agreed));
            assert_eq!(agree(range(theirs.0, theirs.1), range(ours.0, ours.1)), Ok(agreed));
        }
    }

    #[test]
    fn disjoint_and_empty_ranges_are_refused() {
        for (ours, theirs) in [((1, 1), (2, 3)), ((1, 3), (3, 1)), ((5, 4), (1, 9))] {
            let ours = range(ours.0, ours.1);
            let theirs = range(theirs.0, theirs.1);
            assert_eq!(agree(ours, theirs), Err(PeerIncompatible::Version { ours, theirs }));
        }
    }

    #[test]
    fn only_features_that_both_know_are_used() {
        assert_eq!(common_features(FEATURES | FEATURE_DICTIONARIES, FEATURE_ZSTD | FEATURE_CLOCK), FEATURE_ZSTD);
    }
}
