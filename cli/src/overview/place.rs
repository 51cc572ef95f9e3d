//! Station of the way whose trouble a halt is: each station has the colour of its own trouble.

use service::status::HaltedPartition;
use wire::halt::HaltReason;

/// Station of the way where the cause of a halt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Source,
    Sender,
    Receiver,
    Target,
}

impl Place {
    /// Counts the halts whose cause is here.
    pub(super) fn halts<'a>(self, halts: impl IntoIterator<Item = &'a HaltedPartition>) -> usize {
        halts.into_iter().filter(|halt| Self::of(&halt.reason) == self).count()
    }

    /// The place of a reason. One of a newer version is at the sender, whose partition is halted.
    fn of(reason: &str) -> Self {
        let Some(reason) = HaltReason::of(reason) else { return Self::Sender };
        match reason {
            HaltReason::RetentionOvertook
            | HaltReason::DeletesLost
            | HaltReason::Truncated
            | HaltReason::TopicRecreated
            | HaltReason::Corrupt
            | HaltReason::OutOfRange
            | HaltReason::SourceGone
            | HaltReason::SourceUnauthorized
            | HaltReason::SourceFailed
            | HaltReason::OriginUnknown => Self::Source,
            HaltReason::RecordTooLarge | HaltReason::ReturnsToOrigin | HaltReason::JumpRefused => Self::Sender,
            HaltReason::TopicUnauthorized | HaltReason::TargetTaken | HaltReason::SwitchedOver => Self::Receiver,
            HaltReason::RecordRejected
            | HaltReason::TargetReplaced
            | HaltReason::TargetUnauthorized
            | HaltReason::TargetNotEmpty
            | HaltReason::TargetTooFewPartitions
            | HaltReason::TargetRefused
            | HaltReason::TargetUnavailable => Self::Target,
        }
    }
}
