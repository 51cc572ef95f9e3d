//! Why a partition may be halted: one table of words, which both ends, `causeway status` and
//! `docs/troubleshoot.md` go by (wire-format.md#offer). On the wire and in the state a reason is its word: a word
//! of a newer version is shown as it is.

macro_rules! halt_reasons {
    ($($reason:ident $word:literal $kept:literal $skip:ident $sentence:literal;)*) => {
        /// A reason that this version knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum HaltReason {
            $(#[doc = $sentence] $reason,)*
        }

        impl HaltReason {
            /// Every reason of this version.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The word in messages, state, logs and metrics.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)*
                }
            }

            /// Whether the halt is stored and stands until somebody lifts it. One that is not ends with its
            /// cause, which is looked at again whenever the partition is offered.
            pub fn is_kept(self) -> bool {
                match self {
                    $(Self::$reason => $kept,)*
                }
            }

            /// Where `--skip` goes on.
            pub fn skip(self) -> Skip {
                match self {
                    $(Self::$reason => Skip::$skip,)*
                }
            }

            /// What it means and what to do, for people.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$reason => $sentence,)*
                }
            }
        }
    };
}

/// Where a partition goes on when what cannot be carried is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Behind the one record at the stored position.
    OneRecord,
    /// At the start of the source's log.
    LogStart,
    /// At the end of the source's log.
    LogEnd,
    /// At the start of the log of the topic's new incarnation.
    NewIncarnation,
    /// Nothing can be left out.
    Nowhere,
}

halt_reasons! {
    RecordRejected "record-rejected" true OneRecord "The target refuses the record at the stored position for good: make the target accept it and resume, or skip that record.";
    RecordTooLarge "record-too-large" true OneRecord "The record at the stored position needs more credit than a frame may have: raise `memory` and resume, or skip that record.";
    RetentionOvertook "retention-overtook" true LogStart "The source deleted records before they were carried: skip what is gone.";
    Truncated "truncated" true LogEnd "The source's log lost records that it had: find out why, then resume from where the log is right again, or skip to its end.";
    TopicRecreated "topic-recreated" true NewIncarnation "The source's topic was deleted and made again: skip to carry the new one from its start.";
    Corrupt "corrupt" true Nowhere "A batch of the source fails its checksum: repair the source and resume, or resume from behind the batch.";
    TargetReplaced "target-replaced" true Nowhere "The target's topic is not the one that this link wrote to, or lost records: find out why; adopt it to go on in it.";
    TargetUnauthorized "target-unauthorized" true Nowhere "The target does not let the receiver write the topic: give it the right and resume.";
    TargetNotEmpty "target-not-empty" false Nowhere "The target's topic holds records that this link did not write: empty, rename or adopt it.";
    TargetTooFewPartitions "target-too-few-partitions" false Nowhere "The target's topic has fewer partitions than the source's and cannot be grown: add partitions to it.";
    TargetRefused "target-refused" false Nowhere "The target's topic cannot be made: lift the policy, give the right, or use `rename`.";
    TargetTaken "target-taken" false Nowhere "Another partition of this link writes to the same target partition: change `rename` or exclude one of them.";
    TopicUnauthorized "topic-unauthorized" false Nowhere "The receiver's `links.topics` does not allow the topic: allow it there or exclude it here.";
    ReturnsToOrigin "returns-to-origin" false Nowhere "The topic has been in the target cluster before: give the sender the rights on `__causeway.`, and it leaves such topics out.";
    OutOfRange "out-of-range" false Nowhere "The source's log does not have the position; it is looked at again to see why.";
    SourceGone "source-gone" false Nowhere "The source's topic or partition is gone: nothing to do if that was meant.";
    SourceUnauthorized "source-unauthorized" false Nowhere "The source does not let the sender read the topic: give it the right and resume.";
    SourceFailed "source-failed" false Nowhere "The source's client reports trouble with the partition: see the detail, then resume.";
    JumpRefused "jump-refused" false Nowhere "A stored position was not where the wish to move it took it to be: ask again.";
}

impl HaltReason {
    /// The reason that `word` stands for, if this version knows it.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_for_one_reason_and_every_reason_says_what_to_do() {
        for &reason in HaltReason::ALL {
            assert_eq!(HaltReason::of(reason.word()), Some(reason));
            assert!(
                reason.sentence().ends_with('.') && reason.sentence().contains(':') || !reason.is_kept(),
                "{reason:?}"
            );
        }
        assert_eq!(HaltReason::of("of-a-newer-version"), None);
    }
}
