//! Halt reasons: one table of reasons why a partition is halted, for both ends, `causeway status` and
//! `docs/troubleshoot.md` (wire-format.md#offer). On the wire and in the state, a reason is its word. A word of a newer
//! version is shown unchanged.

macro_rules! halt_reasons {
    ($($reason:ident $word:literal $kept:literal $skip:ident $sentence:literal;)*) => {
        crate::words! {
            /// Halt reason that this version knows. Its word is in messages, state, logs and metrics; its sentence says what
            /// happened, and what to do.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub enum HaltReason {
                $($reason = $word $sentence,)*
            }
        }

        impl HaltReason {
            /// Returns whether the halt is stored until an operator resumes the partition. Any other halt ends with its
            /// cause, which is checked each time the partition is offered.
            pub fn is_kept(self) -> bool {
                match self {
                    $(Self::$reason => $kept,)*
                }
            }

            /// Returns the position at which `--skip` resumes.
            pub fn skip(self) -> Skip {
                match self {
                    $(Self::$reason => Skip::$skip,)*
                }
            }
        }
    };
}

/// Position at which a partition resumes when records are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// After the one record at the stored position.
    OneRecord,
    /// At the start of the source's log.
    LogStart,
    /// At the end of the source's log.
    LogEnd,
    /// At the stored position: what is missing cannot be read any more.
    InPlace,
    /// At the start of the new topic's log.
    NewIncarnation,
    /// Skipping is not possible.
    Nowhere,
}

halt_reasons! {
    RecordRejected "record-rejected" true OneRecord "The target permanently refuses the record at the stored position: make the target accept it and resume, or skip that record.";
    RecordTooLarge "record-too-large" true OneRecord "The record at the stored position is larger than a frame may be: raise `memory` at the side that limits it and resume, or skip that record.";
    RetentionOvertook "retention-overtook" true LogStart "The source deleted records before they were copied: skip the deleted records.";
    DeletesLost "deletes-lost" true InPlace "The source's compaction may have removed deletions of keys before they were copied, so that the target keeps those keys: carry the topic again, or resume to accept it.";
    Truncated "truncated" true LogEnd "The source's log lost records: find out why, then resume from the position where the log is correct again, or skip to its end.";
    TopicRecreated "topic-recreated" true NewIncarnation "The source's topic was deleted and created again: skip to copy the new topic from its start.";
    Corrupt "corrupt" true Nowhere "A batch at the source has a wrong checksum: repair the source and resume, or resume from a position after the batch.";
    TargetReplaced "target-replaced" true Nowhere "The target's topic is not the one that this link wrote to, or it lost records: find out why, then adopt the topic to continue in it.";
    TargetUnauthorized "target-unauthorized" true Nowhere "The receiver has no right to write the target's topic: grant it WRITE and resume.";
    TargetNotEmpty "target-not-empty" false Nowhere "The target's topic holds records that this link did not write: empty, rename or adopt it.";
    TargetTooFewPartitions "target-too-few-partitions" false Nowhere "The target's topic has fewer partitions than the source's, and the receiver cannot add them: add partitions to it.";
    TargetRefused "target-refused" false Nowhere "The target's topic cannot be created: change the policy, or use `rename`.";
    TargetUnavailable "target-unavailable" false Nowhere "The target cannot serve the topic or partition now: start its broker, or grant DESCRIBE, CREATE or WRITE. The receiver tries again by itself.";
    TargetTaken "target-taken" false Nowhere "Another partition of this link writes to the same target partition: change `rename` or exclude one of them.";
    TopicUnauthorized "topic-unauthorized" false Nowhere "The receiver's `links.topics` does not allow the topic: allow it there or exclude it here.";
    ReturnsToOrigin "returns-to-origin" false Nowhere "The topic came from the target cluster: grant the sender the rights on `__causeway.` topics, so that it excludes such topics.";
    OriginUnknown "origin-unknown" false Nowhere "Another link may write the topic, and its state topic cannot be read: make it readable, or name a link that is none of yours in `source.ignore_links`. The sender continues by itself.";
    OutOfRange "out-of-range" false Nowhere "The source's log does not contain the stored position: no action needed, the reason is determined at the next attempt.";
    SourceGone "source-gone" false Nowhere "The source's topic or partition does not exist: no action needed if it was deleted on purpose.";
    SourceUnauthorized "source-unauthorized" false Nowhere "The sender has no right to read the source's topic: grant it READ and resume.";
    SourceFailed "source-failed" false Nowhere "The source's client reports an error for the partition: see the detail, then resume.";
    SwitchedOver "switched-over" true Nowhere "The topic was switched over: its applications use the target, and the link does not carry it any more. To take it back before they write there, resume it.";
    JumpRefused "jump-refused" false Nowhere "The stored position changed since this request was made: check `causeway status`, then retry.";
}

/// Bytes of the longest word for a reason.
const WORD_MAX: usize = 64;

/// Returns whether `reason` can be the word of a reason, of this version or a newer one: 1 to 64 of `a-z 0-9 -`.
pub fn is_word(reason: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=WORD_MAX).contains(&reason.len()) && reason.bytes().all(is_letter)
}

impl HaltReason {
    /// Returns whether partitions with this reason wait: they continue by themselves, and no operator must act here.
    pub fn waits(self) -> bool {
        matches!(self, Self::TargetUnavailable)
    }

    /// Returns whether the link is to carry partitions with this reason, and does not.
    pub fn is_trouble(self) -> bool {
        !self.waits() && self != Self::SwitchedOver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_one_reason_and_each_reason_says_what_to_do() {
        for &reason in HaltReason::ALL {
            assert_eq!(HaltReason::of(reason.word()), Some(reason));
            assert!(is_word(reason.word()));
            assert!(
                reason.sentence().ends_with('.') && reason.sentence().contains(':') || !reason.is_kept(),
                "{reason:?}"
            );
        }
        assert!(HaltReason::of("of-a-newer-version").is_none() && is_word("of-a-newer-version"));
        assert!(["", "Two words", "a\nb", &"a".repeat(65)].iter().all(|text| !is_word(text)));
    }
}
