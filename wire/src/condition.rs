//! Condition of one end, as it tells the other: the status of either end shows the problems of both
//! (wire-format.md#condition).

use bincode::{Decode, Encode};

use crate::ids::LaneId;
use crate::limits::{LANES_MAX, NAMED_PARTITIONS_MAX, NAMED_TROUBLES_MAX, TOPIC_NAME_MAX};
use crate::text::{TEXT_MAX, shorten};

/// Problems of one end. The other end only shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Condition {
    /// Lanes that do not commit, each with its reason; only a receiver has any.
    pub failing: Vec<FailingLane>,
    /// Number of halted partitions that this end knows.
    pub halted: u32,
    /// Number of partitions that wait for this end's cluster.
    pub waiting: u32,
    /// Partitions among those that wait, each with its reason.
    pub named: Vec<WaitingPartition>,
    /// Other problems of this end, in sentences.
    pub trouble: Vec<String>,
}

/// Lane that does not commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FailingLane {
    /// Number of the lane.
    pub lane: LaneId,
    /// Sentence that names the lane and says why it fails.
    pub detail: String,
}

/// Partition that waits for a cluster and continues by itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WaitingPartition {
    /// Source topic of the partition.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Reason why it waits.
    pub detail: String,
}

impl Condition {
    /// Returns this condition with as many entries, and as much of each text, as it may have. Control characters become
    /// spaces, because texts of a peer are printed on terminals.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.failing.truncate(usize::from(LANES_MAX));
        self.named.truncate(NAMED_PARTITIONS_MAX);
        self.trouble.truncate(NAMED_TROUBLES_MAX);
        self.failing.iter_mut().for_each(|lane| shorten(&mut lane.detail, TEXT_MAX));
        self.trouble.iter_mut().for_each(|sentence| shorten(sentence, TEXT_MAX));
        for waiting in &mut self.named {
            shorten(&mut waiting.topic, TOPIC_NAME_MAX);
            shorten(&mut waiting.detail, TEXT_MAX);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode_control, encode_control};
    use crate::control::Control;

    fn condition(entries: usize, text: &str) -> Condition {
        let waiting = WaitingPartition { topic: "t".repeat(TOPIC_NAME_MAX), partition: 1, detail: text.into() };
        Condition {
            failing: vec![FailingLane { lane: LaneId(63), detail: text.into() }; entries],
            halted: u32::MAX,
            waiting: u32::MAX,
            named: vec![waiting; entries],
            trouble: vec![text.into(); entries],
        }
    }

    #[test]
    fn a_shortened_condition_is_within_every_limit() {
        let shortened = condition(5_000, &"\u{1f980}".repeat(5_000)).shortened();
        let counts = [shortened.failing.len(), shortened.named.len(), shortened.trouble.len()];
        assert_eq!(counts, [usize::from(LANES_MAX), NAMED_PARTITIONS_MAX, NAMED_TROUBLES_MAX]);
        assert!(shortened.trouble.iter().all(|sentence| sentence.len() == TEXT_MAX));
        let control = Control::Condition(shortened);
        let bytes = encode_control(&control);
        assert!(bytes.len() < 64 * 1024, "{} bytes", bytes.len());
        assert_eq!(decode_control(&bytes[4..]), Ok(control));
    }

    #[test]
    fn no_text_of_a_peer_reaches_a_terminal_with_control_characters() {
        let shown = condition(1, "a\u{1b}[2Jb\nc\u{85}d").shortened();
        assert_eq!(shown.trouble, ["a [2Jb c d"]);
        assert_eq!((shown.failing[0].detail.as_str(), shown.named[0].detail.as_str()), ("a [2Jb c d", "a [2Jb c d"));
        assert_eq!(condition(1, "fine").shortened(), condition(1, "fine"));
    }
}
