//! Who is at fault when a session cannot go on: the bytes, the other end, or the way the two ends were
//! set up. Each error knows the close code that tells the other end.

use crate::close::{Close, CloseCode};
use crate::control::Range;
use crate::ids::{Epoch, Position, Slot};

/// The bytes are not what the format allows. QUIC protects them on the way, so this is a bug or a
/// mix-up of versions at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early.
    #[error("truncated: at least {missing} more bytes expected")]
    Truncated {
        /// How many more were certainly expected.
        missing: usize,
    },
    /// A number exceeds the limit that [`crate::limits`] names for it.
    #[error("{field} of {found} exceeds the limit of {limit}")]
    OverLimit {
        /// What was too large.
        field: &'static str,
        /// How large it was.
        found: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The frame's checksum is not that of its bytes.
    #[error("checksum does not match")]
    Checksum,
    /// A frame kind that this version does not know.
    #[error("unknown frame kind {0}")]
    UnknownFrame(u8),
    /// A codec that this version does not know.
    #[error("unknown codec {0}")]
    UnknownCodec(u8),
    /// A control kind that this version does not know, or reserves.
    #[error("unknown control kind {0}")]
    UnknownControl(u8),
    /// A rule of the format is broken; the text says which.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// The compressed body cannot be expanded.
    #[error("compressed body is damaged")]
    Decompress,
    /// The body has another length than the frame states.
    #[error("body of {found} bytes where {stated} were stated")]
    RawLength {
        /// What the frame header says.
        stated: usize,
        /// What the body has.
        found: usize,
    },
}

impl DecodeError {
    /// What to tell the other end.
    pub fn close_code(&self) -> CloseCode {
        CloseCode::BadFrame
    }
}

/// The other end broke a rule that both know: a bug there, or a hostile peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// A run does not begin where its partition stands.
    #[error("slot {slot} stands at position {expected}, its run begins at {found}")]
    PositionGap {
        /// Whose run.
        slot: Slot,
        /// The partition's position.
        expected: Position,
        /// Where the run begins.
        found: Position,
    },
    /// A run or a message names a slot that was never opened.
    #[error("slot {0} was never opened")]
    UnknownSlot(Slot),
    /// An offer names a slot that this epoch has used already.
    #[error("slot {0} was used before in this epoch")]
    SlotReused(Slot),
    /// A frame or a message claims an epoch that was never granted.
    #[error("epoch {found} was never granted, the lane is at {current}")]
    EpochFromFuture {
        /// The lane's epoch.
        current: Epoch,
        /// What the peer claims.
        found: Epoch,
    },
    /// More bytes are unacknowledged than credit allows.
    #[error("{held} bytes unacknowledged, credit is {limit}")]
    CreditExceeded {
        /// What is held with the offending frame, in charged bytes.
        held: u64,
        /// What may be held.
        limit: u64,
    },
    /// A control message that has no place here.
    #[error("unexpected message {0}")]
    UnexpectedMessage(&'static str),
    /// What it sent cannot be decoded.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
}

impl PeerMisbehaved {
    /// What to tell the other end.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Bytes(error) => error.close_code(),
            _ => CloseCode::Misbehaved,
        }
    }
}

/// The two ends must not work together as they are set up: a human must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIncompatible {
    /// No protocol version is spoken by both.
    #[error("no common protocol version: we speak {ours}, the peer speaks {theirs}; upgrade the older side")]
    Version {
        /// What this end speaks.
        ours: Range,
        /// What the other end speaks.
        theirs: Range,
    },
    /// The receiver has no such link.
    #[error("the receiver has no such link")]
    LinkUnknown,
    /// The peer's certificate does not cover the link.
    #[error("the peer's certificate does not allow it this link")]
    LinkUnauthorized,
    /// Source and target are one cluster.
    #[error("source and target are the same cluster")]
    SameCluster,
    /// The link was made for another cluster.
    #[error("the link belongs to cluster {stored}, the peer has {offered}")]
    ClusterChanged {
        /// The id stored with the link's positions.
        stored: String,
        /// The id in the handshake.
        offered: String,
    },
    /// The number of lanes is not the one the link was made with.
    #[error("the link has {stored} lanes, the peer asks for {offered}")]
    LanesChanged {
        /// The number stored with the link's positions.
        stored: u16,
        /// The number in the handshake.
        offered: u16,
    },
    /// The lane hash is not the one the link was made with.
    #[error("the peer maps topics to lanes by another hash than the link was made with")]
    LaneHashChanged,
    /// Both ends have the same role.
    #[error("both ends have the same role")]
    Role,
}

impl PeerIncompatible {
    /// What to tell the other end.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Version { .. } | Self::Role => CloseCode::Version,
            Self::LinkUnknown => CloseCode::LinkUnknown,
            Self::LinkUnauthorized => CloseCode::Unauthorized,
            Self::SameCluster => CloseCode::SameCluster,
            Self::ClusterChanged { .. } => CloseCode::ClusterChanged,
            Self::LanesChanged { .. } | Self::LaneHashChanged => CloseCode::LanesChanged,
        }
    }
}

impl From<PeerMisbehaved> for Close {
    fn from(error: PeerMisbehaved) -> Self {
        Self::new(error.close_code(), error.to_string())
    }
}

impl From<PeerIncompatible> for Close {
    fn from(error: PeerIncompatible) -> Self {
        Self::new(error.close_code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_by_its_own_close_code() {
        let range = Range { min: 1, max: 1 };
        let id = String::new;
        let told = [
            (PeerIncompatible::Version { ours: range, theirs: range }, CloseCode::Version),
            (PeerIncompatible::Role, CloseCode::Version),
            (PeerIncompatible::LinkUnknown, CloseCode::LinkUnknown),
            (PeerIncompatible::LinkUnauthorized, CloseCode::Unauthorized),
            (PeerIncompatible::SameCluster, CloseCode::SameCluster),
            (PeerIncompatible::ClusterChanged { stored: id(), offered: id() }, CloseCode::ClusterChanged),
            (PeerIncompatible::LanesChanged { stored: 8, offered: 4 }, CloseCode::LanesChanged),
            (PeerIncompatible::LaneHashChanged, CloseCode::LanesChanged),
        ];
        for (error, code) in told {
            assert_eq!(error.close_code(), code, "{error}");
        }
        assert_eq!(PeerMisbehaved::UnknownSlot(Slot(1)).close_code(), CloseCode::Misbehaved);
        assert_eq!(PeerMisbehaved::from(DecodeError::Checksum).close_code(), CloseCode::BadFrame);
    }
}
