//! What happens to a partition on the way back after a promotion. Pure decisions.

use kafka::catalog::Bounds;
use receiver::{OfferedTarget, Returning};
use serde::Serialize;
use wire::ids::Position;
use wire::words;

words! {
    /// What happens to a partition.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) enum Outcome {
        /// It goes back, behind the log from which it came.
        Continues = "continues",
        /// The promoted link did not bring it: all of it is carried.
        Begins = "begins",
        /// It is not carried until an operator decides.
        Waits = "waits",
        /// It halts when it is offered.
        Halts = "halts",
    }
}

/// Target of the way back, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// No configuration of a receiver was given.
    NotLooked,
    /// The topic or partition does not exist.
    Missing,
    Found(OfferedTarget),
    /// Error: a sentence.
    Unknown(String),
}

/// Partition of the source of the way back, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Its log, to the last stable offset. Error: a sentence.
    pub(super) log: Result<Bounds, String>,
    /// End of its log, open transactions included.
    pub(super) end: Position,
    /// Where it begins if the promoted link brought it.
    pub(super) returning: Option<Returning>,
    /// Reason why it cannot go back although the link brought it.
    pub(super) stranded: Option<String>,
    pub(super) target: Place,
    /// Kafka's id of the target cluster, if it was looked at.
    pub(super) target_cluster: Option<String>,
}

/// What happens to a partition, as `--json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// Topic at the source of the way back.
    pub(super) topic: String,
    /// Number of the partition.
    pub(super) partition: i32,
    /// What happens to it; `null` while unknown.
    pub(super) outcome: Option<Outcome>,
    /// First source offset that is carried; `null` if none is.
    pub(super) begins: Option<i64>,
    /// Source offsets from there to the end, markers included; `null` while unknown.
    pub(super) to_carry: Option<u64>,
    /// Target offset up to which both logs have the same records; `null` if the promoted link did not bring it.
    pub(super) common: Option<i64>,
    /// Target offsets behind that were never carried, markers included; `null` while unknown.
    pub(super) never_carried: Option<u64>,
    /// Reason, in a sentence.
    pub(super) detail: Option<String>,
}

impl Row {
    /// Decides about a partition.
    pub(super) fn new(known: &Known) -> Self {
        let row = Self { topic: known.topic.clone(), partition: known.partition, ..Self::default() };
        if let Some(reason) = &known.stranded {
            return Self { outcome: Some(Outcome::Waits), detail: Some(reason.clone()), ..row };
        }
        let row = match &known.returning {
            Some(returning) => row.returning(returning, known),
            None => row.new_here(known),
        };
        row.within(known)
    }

    fn returning(self, returning: &Returning, known: &Known) -> Self {
        let row = Self { begins: Some(returning.begins.0), common: Some(returning.common.0), ..self };
        match (&known.target, &known.target_cluster) {
            (Place::Found(target), Some(cluster)) => match returning.check(target, cluster) {
                Ok(()) => {
                    let never = u64::try_from(target.end.0 - returning.common.0).ok();
                    Self { outcome: Some(Outcome::Continues), never_carried: never, ..row }
                }
                Err(halt) => row.halts(format!("{}: {}", halt.reason, halt.detail)),
            },
            (Place::Missing, _) => {
                row.halts("target-replaced: the topic from which it came does not exist any more".to_owned())
            }
            (Place::Unknown(reason), _) => Self { detail: Some(reason.clone()), ..row },
            (Place::NotLooked | Place::Found(_), _) => Self { outcome: Some(Outcome::Continues), ..row },
        }
    }

    /// A partition that the promoted link did not bring.
    fn new_here(self, known: &Known) -> Self {
        let begins = known.log.as_ref().ok().map(|log| log.start.0);
        let row = Self { begins, ..self };
        match &known.target {
            Place::Found(target) if target.end > Position(0) => {
                let words =
                    format!("target-not-empty: the link did not bring it, and the target ends at {}", target.end);
                row.halts(words)
            }
            Place::Unknown(reason) => Self { detail: Some(reason.clone()), ..row },
            _ => Self { outcome: Some(Outcome::Begins), ..row },
        }
    }

    /// Compares the beginning with the source's log.
    fn within(self, known: &Known) -> Self {
        match (&known.log, self.begins) {
            (Err(reason), _) => Self { outcome: None, detail: Some(reason.clone()), ..self },
            (Ok(log), Some(begins)) if begins < log.start.0 && self.outcome == Some(Outcome::Continues) => {
                let words = format!("retention-overtook: offsets {begins} to {} are deleted", log.start.0 - 1);
                self.halts(words)
            }
            (Ok(_), Some(begins)) if begins > known.end.0 => {
                let words = format!("truncated: the log ends at {}, before offset {begins}", known.end);
                self.halts(words)
            }
            (Ok(log), Some(begins)) if matches!(self.outcome, Some(Outcome::Continues | Outcome::Begins)) => {
                Self { to_carry: Some(u64::try_from(log.end.0 - begins).unwrap_or(0)), ..self }
            }
            _ => self,
        }
    }

    fn halts(self, detail: String) -> Self {
        Self { outcome: Some(Outcome::Halts), begins: None, detail: Some(detail), ..self }
    }

    /// Returns whether it will be carried as far as known.
    pub(super) fn is_carried(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Continues | Outcome::Begins))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use receiver::Provenance;
    use wire::ids::TopicId;
    use wire::partition::Partition;

    use super::*;

    fn known(target: Place) -> Known {
        let from = Provenance {
            link: "fra-to-sin".to_owned(),
            cluster: "fra".to_owned(),
            topic: "orders".to_owned(),
            topic_id: TopicId([2; 16]),
        };
        Known {
            topic: "orders".to_owned(),
            partition: 0,
            log: Ok(Bounds { start: Position(10), end: Position(100) }),
            end: Position(101),
            returning: Some(Returning { from: Arc::new(from), begins: Position(90), common: Position(70) }),
            stranded: None,
            target,
            target_cluster: Some("fra".to_owned()),
        }
    }

    fn found(id: u8, end: i64) -> Place {
        Place::Found(OfferedTarget {
            partition: Partition::new("orders", 0),
            topic_id: TopicId([id; 16]),
            end: Position(end),
            clusters: Arc::new([]),
        })
    }

    #[test]
    fn a_partition_continues_behind_what_was_never_carried() {
        let row = Row::new(&known(found(2, 75)));
        assert_eq!((row.outcome, row.begins, row.to_carry), (Some(Outcome::Continues), Some(90), Some(10)));
        assert_eq!((row.common, row.never_carried, row.detail), (Some(70), Some(5), None));
        let unseen = Row::new(&known(Place::NotLooked));
        assert_eq!((unseen.outcome, unseen.never_carried), (Some(Outcome::Continues), None), "unknown, not 0");
    }

    #[test]
    fn what_will_not_be_carried_says_why() {
        let told = |known: &Known| {
            let row = Row::new(known);
            assert!(!row.is_carried() && row.to_carry.is_none());
            (row.outcome, row.detail.unwrap())
        };
        let (outcome, detail) = told(&known(found(3, 75)));
        assert!(
            outcome == Some(Outcome::Halts)
                && detail.starts_with("target-replaced")
                && detail.contains("created again")
        );
        assert!(told(&known(Place::Missing)).1.contains("does not exist"));
        let overtaken = Known { log: Ok(Bounds { start: Position(95), end: Position(100) }), ..known(found(2, 75)) };
        assert_eq!(told(&overtaken).1, "retention-overtook: offsets 90 to 94 are deleted");
        let cut = Known { end: Position(89), ..known(found(2, 75)) };
        assert_eq!(told(&cut).1, "truncated: the log ends at 89, before offset 90");
        let stranded = Known { stranded: Some("its map is lost".to_owned()), ..known(found(2, 75)) };
        assert_eq!(told(&stranded), (Some(Outcome::Waits), "its map is lost".to_owned()));
        let silent = Known { log: Err("no leader".to_owned()), ..known(found(2, 75)) };
        assert_eq!(told(&silent), (None, "no leader".to_owned()));
        assert_eq!(told(&known(Place::Unknown("no leader".to_owned()))), (None, "no leader".to_owned()));
    }

    #[test]
    fn what_the_link_did_not_bring_needs_an_empty_target() {
        let new = |target| Known { returning: None, ..known(target) };
        for target in [Place::NotLooked, Place::Missing, found(7, 0)] {
            let row = Row::new(&new(target));
            assert_eq!((row.outcome, row.begins, row.to_carry), (Some(Outcome::Begins), Some(10), Some(90)));
        }
        let row = Row::new(&new(found(7, 1)));
        assert!(row.outcome == Some(Outcome::Halts) && row.detail.unwrap().starts_with("target-not-empty"));
    }
}
