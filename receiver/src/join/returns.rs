//! Topics that go back: a promoted link brought them to the source, and the target is the cluster from which they came.
//! Pure decisions.

use std::sync::Arc;

use wire::control::{Accepts, Jump};
use wire::halt::HaltReason;
use wire::ids::{Position, TopicId};

use super::OfferedTarget;
use crate::target::state::HaltRecord;

/// Where a topic that goes back came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Promoted link that brought it.
    pub link: String,
    /// Cluster from which it came.
    pub cluster: String,
    /// Topic from which it came.
    pub topic: String,
    /// Id of that topic.
    pub topic_id: TopicId,
}

/// Partition that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    /// Where its topic came from.
    pub from: Arc<Provenance>,
    /// Position at the source after the last record that the promoted link brought.
    pub begins: Position,
    /// Position in the target up to which both logs have the same records.
    pub common: Position,
}

impl Returning {
    /// Checks that the target is the cluster and has the name from which the records came, before it is looked up: a topic that
    /// goes back is never created.
    pub(super) fn check_place(&self, target_topic: &str, target_cluster: &str) -> Result<(), HaltRecord> {
        let Provenance { cluster, topic, .. } = &*self.from;
        if cluster != target_cluster {
            return Err(self.halt(format!("the target is cluster {target_cluster}")));
        }
        if topic != target_topic {
            return Err(self.halt(format!("they would go to {target_topic}: see `links.rename`")));
        }
        Ok(())
    }

    /// Returns the halt of a target whose topic does not exist.
    pub(super) fn missing(&self) -> HaltRecord {
        self.halt("it does not exist any more".to_owned())
    }

    fn halt(&self, what: String) -> HaltRecord {
        let Provenance { link, cluster, topic, .. } = &*self.from;
        let detail = format!("link {link} brought the records from {topic} of cluster {cluster}, and {what}");
        HaltRecord::new(HaltReason::TargetReplaced, detail)
    }

    /// Checks that the target is the log from which the records came, with all of them.
    pub fn check(&self, target: &OfferedTarget, target_cluster: &str) -> Result<(), HaltRecord> {
        self.check_place(&target.partition.topic, target_cluster)?;
        let topic_id = self.from.topic_id;
        if topic_id.differs(target.topic_id) {
            return Err(self.halt(format!("it was created again since: its id was {topic_id}, is {}", target.topic_id)));
        }
        if target.end < self.common {
            return Err(self.halt(format!("up to {}, where the target ends at {}", self.common, target.end)));
        }
        Ok(())
    }

    /// Returns the entry of the log of jumps that names what was never carried; `None` if there is nothing.
    pub(super) fn jump(&self, target: &OfferedTarget) -> Option<Jump> {
        let Self { from, begins, common } = self;
        let count = target.end.0 - common.0;
        let last = target.end.0 - 1;
        let what = format!("target offsets {common} to {last} were never carried: {count}, markers included");
        (count > 0).then(|| Jump {
            expected: Position(-1),
            to: *begins,
            accepts: Accepts::Target,
            asked: 0,
            reason: format!("after the last record of link {}; {what}", from.link),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetPartition;

    fn returning() -> Returning {
        let from = Provenance {
            link: "fra-to-sin".to_owned(),
            cluster: "fra".to_owned(),
            topic: "orders".to_owned(),
            topic_id: TopicId([2; 16]),
        };
        Returning { from: Arc::new(from), begins: Position(90), common: Position(70) }
    }

    fn target(topic: &str, id: u8, end: i64) -> OfferedTarget {
        let partition = TargetPartition::new(topic, 0);
        OfferedTarget { partition, topic_id: TopicId([id; 16]), end: Position(end), clusters: Arc::new([]) }
    }

    #[test]
    fn only_the_log_from_which_the_records_came_is_continued() {
        let check = |target: &OfferedTarget, cluster| returning().check(target, cluster).map_err(|halt| halt.detail);
        assert_eq!(check(&target("orders", 2, 70), "fra"), Ok(()));
        assert_eq!(check(&target("orders", 2, 99), "fra"), Ok(()), "it has diverged");
        assert!(check(&target("orders", 2, 70), "ams").unwrap_err().contains("the target is cluster ams"));
        assert!(check(&target("sin.orders", 2, 70), "fra").unwrap_err().contains("they would go to sin.orders"));
        assert!(check(&target("orders", 3, 70), "fra").unwrap_err().contains("created again"));
        assert!(check(&target("orders", 2, 69), "fra").unwrap_err().contains("the target ends at 69"));
    }

    #[test]
    fn records_that_were_never_carried_are_named() {
        let reason = |end| returning().jump(&target("orders", 2, end)).map(|jump| jump.reason);
        assert_eq!(reason(70), None);
        let sentence =
            "after the last record of link fra-to-sin; target offsets 70 to 74 were never carried: 5, markers included";
        assert_eq!(reason(75).as_deref(), Some(sentence));
    }
}
