//! The terms of a session, which every lane that it opens checks against its stored record.

use wire::close::{Close, CloseCode};
use wire::frame::StateBound;
use wire::ids::{Epoch, LaneId};
use wire::lanes::{ClassError, ClassLanes, ClassTable};
use wire::partition::Partition;

use crate::target::TargetError;
use crate::target::state::LaneRecord;

/// Terms of a session: both clusters, the lanes and the topic filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub link: String,
    /// The lanes of every class that the link has ever had.
    pub classes: ClassTable,
    pub lane_hash: String,
    pub source_cluster: String,
    pub target_cluster: String,
    /// Hash of the sender's topic filter.
    pub filter_hash: u64,
    pub sender: String,
    /// Cluster that takes the place of the stored one; an operator accepts it.
    pub accepts: Option<AcceptedCluster>,
    pub map: MapTerms,
    /// Most bytes that a lane remembers of the frames of its epoch; `None` if none refers to others.
    pub state: Option<StateBound>,
}

/// Offset maps of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapTerms {
    /// True if the map topic takes older ranges; without it they are forgotten.
    pub stored: bool,
    /// Bytes of ranges that stay in a partition's record.
    pub recent_bytes: usize,
}

impl MapTerms {
    /// Returns the terms of a link that has a map topic, or has none.
    pub fn new(stored: bool) -> Self {
        // About thirty transactions. More would make each transaction larger, and fewer the blocks smaller.
        Self { stored, recent_bytes: 96 }
    }
}

/// Cluster that an operator accepts in place of the stored source or target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedCluster {
    pub id: String,
    /// Time of the session that accepts it, in ms since the Unix epoch.
    pub at: i64,
}

/// Reasons why a lane could not be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The target failed; try again later. No change is known to be stored.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The stored state does not permit it; no other owner was fenced.
    #[error(transparent)]
    Refused(#[from] Close),
}

impl Terms {
    /// Returns the lane where a partition begins, independent of its class.
    pub fn home(&self, key: &Partition) -> LaneId {
        self.classes.default_class().lane(&key.topic, key.partition)
    }

    pub(super) fn lane_record(&self, stored: Option<&LaneRecord>) -> LaneRecord {
        // A receiver that knows fewer classes must not delete the others.
        let known = stored.and_then(|stored| stored.table().ok()).filter(|stored| self.classes.is_prefix_of(stored));
        let classes = known.as_ref().unwrap_or(&self.classes);
        LaneRecord {
            link: self.link.clone(),
            lanes: self.classes.default_class().count,
            lane_hash: self.lane_hash.clone(),
            epoch: stored.map_or(Epoch(0), |stored| stored.epoch).next(),
            source_cluster: self.source_cluster.clone(),
            target_cluster: self.target_cluster.clone(),
            filter_hash: stored.and_then(|stored| stored.filter_hash),
            sender: self.sender.clone(),
            classes: classes.classes().iter().map(ranged).collect(),
        }
    }

    /// Refuses a target cluster with another id than that of the session.
    pub fn ensure_target(&self, found: &str) -> Result<(), Close> {
        if self.target_cluster == found {
            return Ok(());
        }
        Err(target_changed(&self.target_cluster, found))
    }

    fn accepts(&self, cluster: &str) -> bool {
        self.accepts.as_ref().is_some_and(|accepted| accepted.id == cluster)
    }

    /// Refuses a stored record of another link, another pair of clusters or other lanes.
    pub(super) fn check(&self, stored: &LaneRecord) -> Result<(), Close> {
        let clusters = [
            ("source cluster", &stored.source_cluster, &self.source_cluster),
            ("target cluster", &stored.target_cluster, &self.target_cluster),
        ];
        for (what, stored, ours) in clusters {
            if stored != ours && !self.accepts(ours) {
                let detail = format!(
                    "the stored state is of {what} {stored}, this session's is {ours}; if the cluster was rebuilt, set `links.accept_cluster = \"{ours}\"` in the receiver's file and reload it; use another link name for another pair"
                );
                return Err(Close::new(CloseCode::ClusterChanged, detail));
            }
        }
        let same = [
            (CloseCode::StateRefused, "link", &stored.link, &self.link),
            (CloseCode::LanesChanged, "lane hash", &stored.lane_hash, &self.lane_hash),
        ];
        if let Some((code, what, stored, ours)) = same.into_iter().find(|(_, _, stored, ours)| stored != ours) {
            let detail = format!(
                "the stored state is of {what} {stored}, this session's is {ours}; use another link name for another pair"
            );
            return Err(Close::new(code, detail));
        }
        let ours = self.classes.default_class().count;
        if stored.lanes != ours {
            let detail = format!(
                "the link was made with {} lanes, and the sender's `lanes.count` is {ours}: it is fixed for the life of a link; set it back or use another link name",
                stored.lanes
            );
            return Err(Close::new(CloseCode::LanesChanged, detail));
        }
        match stored.table() {
            Err(error) => Err(Close::new(CloseCode::StateRefused, error.to_string())),
            Ok(table) if table.is_prefix_of(&self.classes) || self.classes.is_prefix_of(&table) => Ok(()),
            // Lane 0 decides about lanes; the next session asks it again.
            Ok(_) => {
                Err(Close::new(CloseCode::Internal, "the link's classes were changed by another session meanwhile"))
            }
        }
    }
}

/// Returns the refusal of a session while the target cluster has another id than expected.
pub(crate) fn target_changed(was: &str, is: &str) -> Close {
    let detail = format!(
        "the target cluster's id was {was}, is {is}: it was rebuilt, or the address leads to another one; to begin in it, set `links.accept_cluster = \"{is}\"` in the receiver's file and reload it"
    );
    Close::new(CloseCode::ClusterChanged, detail)
}

impl LaneRecord {
    /// Returns the lanes of every class, as stored.
    pub fn table(&self) -> Result<ClassTable, ClassError> {
        let damaged = || ClassError::Damaged("a class ends before it begins");
        let class = |(name, first, last): &(String, u16, u16)| {
            let count = last.checked_sub(*first).and_then(|count| count.checked_add(1)).ok_or_else(damaged)?;
            Ok(ClassLanes { name: name.clone(), first: *first, count })
        };
        ClassTable::of(self.classes.iter().map(class).collect::<Result<_, _>>()?)
    }
}

/// Returns the stored form of a class: its name, its first and its last lane.
fn ranged(class: &ClassLanes) -> (String, u16, u16) {
    (class.name.clone(), class.first, class.first + class.count - 1)
}
