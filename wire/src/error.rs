//! Errors that end a session, by fault: the bytes, the other end, or the configuration of the two ends. Each error has
//! the close code for the other end.

use crate::close::{Close, CloseCode};
use crate::control::Range;
use crate::ids::{Epoch, LaneId, Position, Sequence, Slot};

/// Bytes that the format does not allow. QUIC protects bytes on the way, so this is a bug at one end, or a wrong version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early.
    #[error("truncated: at least {missing} more bytes expected")]
    Truncated {
        /// Least number of missing bytes.
        missing: usize,
    },
    /// A number exceeds the limit that [`crate::limits`] names for it.
    #[error("{field} of {found} exceeds the limit of {limit}")]
    OverLimit {
        /// Name of the field.
        field: &'static str,
        /// Value of the field.
        found: u64,
        /// Largest value allowed.
        limit: u64,
    },
    /// The frame's checksum does not match its bytes.
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
    /// A rule of the format is broken; the text names it.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Bytes follow after the end of the value.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// A block of a shaped frame is damaged.
    #[error("block of records: {0}")]
    Block(#[from] shape::DecodeError),
    /// A frame refers to earlier ones with a bound that was not agreed.
    #[error("state of 2^{found} bytes, where {most} were agreed")]
    StateBound {
        /// Logarithm of the bound in the frame.
        found: u8,
        /// The largest bound that was agreed, in bytes.
        most: usize,
    },
    /// The body is not the one that was sent: both ends remember different things.
    #[error("the restored body is not the one that was sent")]
    Restored,
    /// The compressed body cannot be expanded.
    #[error("compressed body is damaged")]
    Decompress,
    /// The body does not have the length that the frame states.
    #[error("body of {found} bytes where {stated} were stated")]
    RawLength {
        /// Length in the frame header.
        stated: usize,
        /// Length of the body.
        found: usize,
    },
}

/// Checks a rule of the format.
pub(crate) fn ensure(holds: bool, rule: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Malformed(rule)) }
}

/// Checks that a number is within its limit.
pub(crate) fn within(field: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found <= limit {
        return Ok(());
    }
    Err(DecodeError::OverLimit { field, found: found as u64, limit: limit as u64 })
}

/// A rule of the protocol that the other end broke: it has a bug, or it is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// A run does not begin at its partition's position.
    #[error("slot {slot} is at position {expected}, but its run begins at {found}")]
    PositionGap {
        /// Slot of the partition.
        slot: Slot,
        /// The partition's position.
        expected: Position,
        /// Position at which the run begins.
        found: Position,
    },
    /// A run or a message names a slot that was never opened.
    #[error("slot {0} was never opened")]
    UnknownSlot(Slot),
    /// An offer names a slot that was used before in this epoch.
    #[error("slot {0} was used before in this epoch")]
    SlotReused(Slot),
    /// The receiver opened a slot twice.
    #[error("slot {0} is open already")]
    SlotOpen(Slot),
    /// The receiver opened or halted a slot that was halted before.
    #[error("slot {0} was halted before, and stays closed in its epoch")]
    SlotClosed(Slot),
    /// The receiver opened a second slot of one partition.
    #[error("slot {found} is of a partition that is open as slot {open}")]
    PartitionOpen {
        /// Slot that is open.
        open: Slot,
        /// Slot in the message.
        found: Slot,
    },
    /// The receiver opened a lane at an epoch that is not greater than the one before, or while the lane was open.
    #[error("lane {lane} is opened at epoch {found}, but epoch {current} is open or was used before")]
    LaneOpen {
        /// Number of the lane.
        lane: LaneId,
        /// Greatest epoch that was granted.
        current: Epoch,
        /// Epoch in the message.
        found: Epoch,
    },
    /// An ack of a frame that was never sent.
    #[error("frame {found} is acked, but the next one to be sent is {next}")]
    AckOfUnsent {
        /// Sequence of the next frame.
        next: Sequence,
        /// Sequence in the ack.
        found: Sequence,
    },
    /// A message names a lane that the link does not have.
    #[error("lane {0} does not exist in this link")]
    UnknownLane(LaneId),
    /// A name or word breaks its grammar; the text says which.
    #[error("invalid value: {0}")]
    Invalid(&'static str),
    /// A frame or a message claims an epoch that was never granted.
    #[error("epoch {found} was never granted; the lane is at epoch {current}")]
    EpochFromFuture {
        /// The lane's epoch.
        current: Epoch,
        /// Epoch in the message.
        found: Epoch,
    },
    /// More bytes are unacknowledged than credit allows.
    #[error("{held} bytes unacknowledged, credit is {limit}")]
    CreditExceeded {
        /// Charged bytes of all unacknowledged frames, including this one.
        held: u64,
        /// Charged bytes that may be unacknowledged.
        limit: u64,
    },
    /// A control message that is not allowed at this point.
    #[error("unexpected message {0}")]
    UnexpectedMessage(&'static str),
    /// The bytes cannot be decoded.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// A frame that refers to earlier ones cannot be decoded with what they left behind.
    #[error("frame {sequence} does not fit the state of the frames before it: {error}")]
    State {
        /// Sequence of the frame.
        sequence: Sequence,
        /// What does not fit.
        error: DecodeError,
    },
}

/// A configuration with which the two ends cannot work together: an operator must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIncompatible {
    /// The ends have no protocol version in common.
    #[error("no common protocol version: we speak {ours}, the peer speaks {theirs}; upgrade the older side")]
    Version {
        /// Versions of this end.
        ours: Range,
        /// Versions of the other end.
        theirs: Range,
    },
    #[error("the receiver has no such link")]
    LinkUnknown,
    #[error("the peer's certificate is not authorised for this link")]
    LinkUnauthorized,
    #[error("source and target are the same cluster")]
    SameCluster,
    /// The link was created for another cluster.
    #[error("the link belongs to cluster {stored}, but the peer has cluster {offered}; use another link name")]
    ClusterChanged {
        /// The id stored with the link's positions.
        stored: String,
        /// The id in the handshake.
        offered: String,
    },
    /// The link was created with another number of lanes.
    #[error("the link has {stored} lanes, but the peer requests {offered}; set `lanes.count` back to {stored}")]
    LanesChanged {
        /// The number stored with the link's positions.
        stored: u16,
        /// The number in the handshake.
        offered: u16,
    },
    /// The link was created with another lane hash.
    #[error(
        "the peer maps topics to lanes by another hash than the one the link was created with; use the version that created the link"
    )]
    LaneHashChanged,
    #[error("both ends have the same role")]
    Role,
}

impl From<DecodeError> for Close {
    fn from(error: DecodeError) -> Self {
        PeerMisbehaved::Bytes(error).into()
    }
}

impl From<PeerMisbehaved> for Close {
    fn from(error: PeerMisbehaved) -> Self {
        let code = match error {
            PeerMisbehaved::Bytes(_) => CloseCode::BadFrame,
            PeerMisbehaved::State { .. } => CloseCode::StateLost,
            _ => CloseCode::Misbehaved,
        };
        Self::new(code, error.to_string())
    }
}

impl From<PeerIncompatible> for Close {
    fn from(error: PeerIncompatible) -> Self {
        let code = match error {
            PeerIncompatible::Version { .. } | PeerIncompatible::Role => CloseCode::Version,
            PeerIncompatible::LinkUnknown => CloseCode::LinkUnknown,
            PeerIncompatible::LinkUnauthorized => CloseCode::Unauthorized,
            PeerIncompatible::SameCluster => CloseCode::SameCluster,
            PeerIncompatible::ClusterChanged { .. } => CloseCode::ClusterChanged,
            PeerIncompatible::LanesChanged { .. } | PeerIncompatible::LaneHashChanged => CloseCode::LanesChanged,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_close_code() {
        let range = Range { min: 1, max: 1 };
        let id = String::new;
        let expected = [
            (PeerIncompatible::Version { ours: range, theirs: range }, CloseCode::Version),
            (PeerIncompatible::Role, CloseCode::Version),
            (PeerIncompatible::LinkUnknown, CloseCode::LinkUnknown),
            (PeerIncompatible::LinkUnauthorized, CloseCode::Unauthorized),
            (PeerIncompatible::SameCluster, CloseCode::SameCluster),
            (PeerIncompatible::ClusterChanged { stored: id(), offered: id() }, CloseCode::ClusterChanged),
            (PeerIncompatible::LanesChanged { stored: 8, offered: 4 }, CloseCode::LanesChanged),
            (PeerIncompatible::LaneHashChanged, CloseCode::LanesChanged),
        ];
        for (error, code) in expected {
            let close = Close::from(error);
            assert_eq!(close.code, code, "{close}");
        }
        assert_eq!(Close::from(PeerMisbehaved::UnknownSlot(Slot(1))).code, CloseCode::Misbehaved);
        assert_eq!(Close::from(DecodeError::Checksum).code, CloseCode::BadFrame);
        let state = PeerMisbehaved::State { sequence: Sequence(1), error: DecodeError::Restored };
        assert_eq!(Close::from(state).code, CloseCode::StateLost);
    }
}
