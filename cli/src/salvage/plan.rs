//! Which records of a partition were never carried, and which of them can be copied. Pure decisions.

use kafka::catalog::Bounds;
use receiver::PartitionLoss;
use serde::Serialize;
use wire::ids::{Offset, Position};

/// Present log of a partition of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    /// Id of its topic; empty if the cluster does not state one.
    pub(super) topic_id: String,
    /// From the oldest offset to the last stable one.
    pub(super) stable: Bounds,
    /// End of the log, open transactions included.
    pub(super) end: Position,
}

/// What was left behind in a partition, as `--json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftBehind {
    /// Topic at the source.
    pub(super) topic: String,
    /// Number of the partition.
    pub(super) partition: i32,
    /// First source offset that was not carried.
    pub(super) from: i64,
    /// Offset before which the copy ends: the log's end, or the first record that a link brought there since.
    pub(super) to: i64,
    /// Offsets of these that the source's retention has deleted, and that no earlier command has copied.
    pub(super) deleted: u64,
    /// Oldest offset of the log.
    #[serde(skip)]
    start: i64,
    /// Offsets of these at or after an open transaction: they are not copied.
    pub(super) open: u64,
    /// Records copied by this command; `null` where nothing was to be done.
    pub(super) copied: Option<u64>,
    /// Reason why nothing is copied, in a sentence.
    pub(super) problem: Option<String>,
}

impl LeftBehind {
    /// Decides about a partition; `first_written` is the first record that a link wrote there at or after the position up to
    /// which it was carried.
    pub(super) fn new(
        loss: &PartitionLoss,
        log: Result<Log, String>,
        first_written: Option<Result<Offset, String>>,
    ) -> Self {
        let from = loss.carried_to.unwrap_or(0);
        let new = Self { topic: loss.topic.clone(), partition: loss.partition, from, to: from, ..Self::default() };
        let is_other =
            |log: &Log| loss.topic_id.as_ref().is_some_and(|id| *id != log.topic_id && !log.topic_id.is_empty());
        let problem = match (&log, &first_written) {
            (Err(reason), _) | (_, Some(Err(reason))) => Some(reason.clone()),
            (Ok(_), _) if loss.is_of_another_log() => {
                let halt = loss.halt.as_deref().unwrap_or_default();
                Some(format!("the link had halted it as {halt}: the log is not the one that it carried"))
            }
            (Ok(log), _) if is_other(log) => Some(format!(
                "the topic was created again: its id was {}, is {}",
                loss.topic_id.as_deref().unwrap_or_default(),
                log.topic_id
            )),
            (Ok(log), _) if log.end.0 < from => {
                Some(format!("it was carried up to {from}, and ends at {}: it is another log now", log.end))
            }
            _ => None,
        };
        match (problem, log) {
            (None, Ok(log)) => new.within(&log, first_written.and_then(Result::ok)),
            (problem, _) => Self { problem, ..new },
        }
    }

    fn within(self, log: &Log, first_written: Option<Offset>) -> Self {
        let last = |end: Position| first_written.map_or(end.0, |first| first.0.min(end.0)).max(self.from);
        let end = last(log.end);
        let to = last(log.stable.end);
        let offsets = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        // What never joined has no position: then nothing says that older records existed.
        let oldest = if self.from == 0 { log.stable.start.0.min(end) } else { self.from };
        let start = log.stable.start.0.min(end);
        Self { from: oldest, to: to.max(oldest), open: offsets(to, end), start, ..self }.behind(oldest)
    }

    /// Continues at `from`: what is before was copied by an earlier command.
    pub(super) fn behind(self, from: i64) -> Self {
        let from = from.clamp(self.from, self.to.max(self.start));
        let deleted = u64::try_from(self.start - from).unwrap_or(0);
        Self { from, deleted, ..self }
    }

    /// Offsets to copy.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { start: Position(self.from.max(self.start)), end: Position(self.to) }
    }

    /// Returns whether an earlier command may have copied something.
    pub(super) fn may_be_copied(&self) -> bool {
        self.problem.is_none() && (self.from < self.to || self.deleted > 0)
    }

    /// Returns whether there is something to copy.
    pub(super) fn is_due(&self) -> bool {
        let Bounds { start, end } = self.bounds();
        self.problem.is_none() && start < end
    }

    /// Returns why not everything that was left behind is copied.
    pub(super) fn missing(&self) -> Option<String> {
        let Self { deleted, open, problem, .. } = self;
        let deleted = (*deleted > 0).then(|| format!("{deleted} offsets were deleted by the topic's retention"));
        let open = (*open > 0)
            .then(|| format!("{open} offsets are at or after an open transaction; run it again when that has ended"));
        let reasons: Vec<String> = problem.iter().cloned().chain(deleted).chain(open).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(carried_to: Option<i64>) -> PartitionLoss {
        PartitionLoss { topic: "orders".to_owned(), topic_id: Some("07".to_owned()), carried_to, ..Default::default() }
    }

    fn log(start: i64, stable: i64, end: i64) -> Result<Log, String> {
        let stable = Bounds { start: Position(start), end: Position(stable) };
        Ok(Log { topic_id: "07".to_owned(), stable, end: Position(end) })
    }

    /// First and last offset of the copy, deleted and open offsets.
    fn plan(carried_to: Option<i64>, log: Result<Log, String>, first: Option<i64>) -> (i64, i64, u64, u64) {
        let plan = LeftBehind::new(&loss(carried_to), log, first.map(|at| Ok(Offset(at))));
        assert_eq!(plan.problem, None);
        let Bounds { start, end } = plan.bounds();
        assert_eq!(plan.is_due(), start < end);
        (start.0, end.0, plan.deleted, plan.open)
    }

    #[test]
    fn what_was_not_carried_ends_with_the_log_or_what_came_back() {
        assert_eq!(plan(Some(70), log(0, 75, 75), None), (70, 75, 0, 0));
        assert_eq!(plan(Some(70), log(0, 99, 99), Some(75)), (70, 75, 0, 0), "75 came back");
        assert_eq!(plan(Some(70), log(0, 99, 99), Some(70)), (70, 70, 0, 0), "all of it was carried");
        assert_eq!(plan(Some(70), log(0, 70, 70), None), (70, 70, 0, 0));
        assert_eq!(plan(None, log(0, 9, 9), None), (0, 9, 0, 0), "it never joined");
        assert_eq!(plan(None, log(5, 9, 9), None), (5, 9, 0, 0), "nothing says that there was more");
    }

    #[test]
    fn what_is_open_or_deleted_is_counted() {
        assert_eq!(plan(Some(70), log(0, 72, 75), None), (70, 72, 0, 3));
        assert_eq!(plan(Some(70), log(0, 60, 75), None), (70, 70, 0, 5), "the transaction began before");
        assert_eq!(plan(Some(70), log(0, 72, 99), Some(75)), (70, 72, 0, 3), "what came back is not counted");
        assert_eq!(plan(Some(70), log(73, 75, 75), None), (73, 75, 3, 0));
        assert_eq!(plan(Some(70), log(90, 99, 99), Some(75)), (75, 75, 5, 0), "all of it is deleted");
        let again = LeftBehind::new(&loss(Some(70)), log(73, 75, 75), None).behind(72);
        assert_eq!((again.deleted, again.bounds().start), (1, Position(73)), "70 and 71 were copied before");
        assert_eq!(again.clone().behind(75).missing(), None, "all of it was copied before");
        let missing = LeftBehind::new(&loss(Some(70)), log(73, 74, 75), None).missing().unwrap();
        assert!(missing.starts_with("3 offsets were deleted") && missing.contains("1 offsets are at or after"));
    }

    #[test]
    fn a_log_that_was_cut_is_not_the_one_that_was_carried() {
        let halted = PartitionLoss { halt: Some("truncated".to_owned()), ..loss(Some(70)) };
        let plan = LeftBehind::new(&halted, log(0, 80, 80), None);
        assert!(!plan.is_due() && plan.missing().unwrap().contains("halted it as truncated"));
    }

    #[test]
    fn of_another_log_nothing_is_copied() {
        let refused = |log, first: Option<Result<Offset, String>>| {
            let plan = LeftBehind::new(&loss(Some(70)), log, first);
            assert!(!plan.is_due());
            plan.missing().unwrap()
        };
        assert!(refused(log(0, 60, 60), None).contains("another log"));
        let recreated = log(0, 75, 75).map(|log| Log { topic_id: "08".to_owned(), ..log });
        assert!(refused(recreated, None).contains("created again"));
        assert_eq!(refused(Err("it is gone".to_owned()), None), "it is gone");
        assert_eq!(refused(log(0, 75, 75), Some(Err("the map is lost".to_owned()))), "the map is lost");
        let unknown = log(0, 75, 75).map(|log| Log { topic_id: String::new(), ..log });
        assert!(LeftBehind::new(&loss(Some(70)), unknown, None).is_due(), "the cluster does not state ids");
    }
}
