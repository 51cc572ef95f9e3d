//! Topics that were carried and that the source no longer has, as status shows them.

use serde::{Deserialize, Serialize};
use service::format::duration;

/// Topics that are named at most, in sentences.
const NAMED_MAX: usize = 5;

/// Topic that matches the filter and has stored positions, and that the source no longer has.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct DeletedTopic {
    /// Topic that was carried and that the source no longer has.
    pub topic: String,
    /// Number of its stored positions.
    pub positions: u32,
    /// Time in seconds until a policy drops its positions; absent without such a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_in_seconds: Option<u64>,
}

impl DeletedTopic {
    /// Sentence about deleted topics in a log line that names the first.
    pub(crate) const SENTENCE: &str = "topics no longer exist at the source, or are hidden from this sender \
        (source-deleted); `causeway forget TOPIC` drops their positions";

    /// Returns a sentence for each topic; many share one.
    pub(crate) fn sentences(deleted: &[Self]) -> Vec<String> {
        let remedy = "`causeway forget` drops its positions";
        let named = deleted.iter().take(NAMED_MAX).map(|one| {
            let Self { topic, positions, forgotten_in_seconds } = one;
            let policy = forgotten_in_seconds.map(|seconds| duration(seconds as f64));
            let policy = policy.map(|time| format!(", a policy in {time}")).unwrap_or_default();
            format!(
                "source-deleted: the source has no topic {topic}, of which {positions} positions are stored; {remedy}{policy}"
            )
        });
        let others = deleted.len().saturating_sub(NAMED_MAX);
        let rest = (others > 0).then(|| format!("source-deleted: {others} more topics"));
        named.chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_deleted_topics_share_a_sentence() {
        let topic = |n: u32| DeletedTopic { topic: format!("t{n}"), positions: 1, forgotten_in_seconds: None };
        let sentences = DeletedTopic::sentences(&(0..200).map(topic).collect::<Vec<_>>());
        assert_eq!(sentences.len(), NAMED_MAX + 1);
        assert!(sentences[0].contains("no topic t0") && sentences[NAMED_MAX].contains("195 more"), "{sentences:?}");
        assert!(DeletedTopic::sentences(&[]).is_empty());
    }
}
