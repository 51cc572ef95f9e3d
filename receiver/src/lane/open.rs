//! Opening a lane: checks first, because a refusal must not have fenced a healthy owner.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::close::CloseCode;
use wire::control::Control;
use wire::ids::{Epoch, LaneId};
use wire::lanes::{ClassError, ClassLanes, ClassTable};

use super::claims::Claims;
use super::handover::Moves;
use super::unauthorized_partition::Unwritable;
use super::{Lane, Open};
use crate::join::carried_topics::Knowledge;
use crate::lane::inbox::Inbox;
use crate::target::state::{self, LaneRecord, LaneState};
use crate::target::{LaneTarget, TargetError};
use wire::partition::Partition;

/// What a session brings to every lane it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The link's name.
    pub link: String,
    /// The lanes of every class that it has ever had.
    pub classes: ClassTable,
    /// The hash that maps topics to lanes.
    pub lane_hash: String,
    /// Kafka's id of the source cluster.
    pub source_cluster: String,
    /// Kafka's id of the target cluster.
    pub target_cluster: String,
    /// The sender's topic filter.
    pub filter_hash: u64,
    /// The sender's instance name.
    pub sender: String,
}

/// Why a lane could not be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The target failed; try again later. Nothing is known to have changed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What is stored forbids it; nobody was fenced.
    #[error("{detail}")]
    Refused {
        /// Which rule.
        code: CloseCode,
        /// The values and the remedy.
        detail: String,
    },
}

impl<T: LaneTarget> Lane<T> {
    /// Takes the lane over: reads and checks its state, fences every earlier owner, reads again what they
    /// may have committed meanwhile, and commits the lane record with the next epoch.
    pub fn open(&mut self, terms: Arc<Terms>, knowledge: Arc<Knowledge>) -> Result<Epoch, OpenError> {
        self.open = None;
        self.target.discard();
        let result = self.take_over(terms, knowledge);
        if result.is_err() {
            self.target.discard();
        }
        result
    }

    fn take_over(&mut self, terms: Arc<Terms>, knowledge: Arc<Knowledge>) -> Result<Epoch, OpenError> {
        let before = self.read_checked(&terms)?;
        self.target.fence()?;
        let state = self.read_checked(&terms)?;
        state.ensure_no_older_than(self.id, before.epoch())?;
        let record = terms.lane_record(state.lane.as_ref());
        self.commit_lane_record(&record)?;
        let known = state.partitions.keys().chain(state.moved.keys());
        knowledge.handle_lane_read(self.id, known.map(|key| &key.topic));
        let epoch = record.epoch;
        let filter_before = record.filter_hash;
        self.errands.clear();
        self.open = Some(Open {
            epoch,
            terms,
            knowledge,
            record,
            not_offered: state.partitions.keys().cloned().collect(),
            all_offered: false,
            partitions: state.partitions,
            jumps: Arc::new(state.jumps),
            slots: HashMap::new(),
            joined: HashMap::new(),
            offers: VecDeque::new(),
            claims: Claims::stored(state.origins),
            moves: Moves::stored(state.moved, filter_before),
            unwritable: Unwritable::default(),
            inbox: Inbox::default(),
            current: None,
            keep_alive: false,
            unknown: None,
        });
        self.replies.push_back(Control::LaneOpen { lane: self.id, epoch });
        Ok(epoch)
    }

    pub(super) fn read_checked(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
        let entries = self.target.read_state().map_err(|error| match error {
            gone @ TargetError::StateGone(_) => {
                OpenError::Refused { code: CloseCode::StateRefused, detail: gone.to_string() }
            }
            other => other.into(),
        })?;
        let refused =
            |error: TargetError| OpenError::Refused { code: CloseCode::StateRefused, detail: error.to_string() };
        // Before its partitions: that they are another cluster's follows from whose the lane is.
        if let Some(lane) = LaneState::lane_record(self.id, &entries).map_err(refused)? {
            terms.check(&lane)?;
        }
        LaneState::fold(self.id, &terms.source_cluster, &entries).map_err(refused)
    }

    pub(super) fn commit_lane_record(&mut self, record: &LaneRecord) -> Result<(), TargetError> {
        self.target.begin()?;
        self.target.write_state(&state::lane_key(), Some(&state::encode(record)))?;
        self.target.drain()?;
        self.target.commit()
    }
}

impl Terms {
    /// The lane where a partition begins, whatever its class.
    pub fn home(&self, key: &Partition) -> LaneId {
        self.classes.default_class().lane(&key.topic, key.partition)
    }

    pub(super) fn lane_record(&self, stored: Option<&LaneRecord>) -> LaneRecord {
        // A receiver that knows of fewer classes must not forget the others'.
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

    fn check(&self, stored: &LaneRecord) -> Result<(), OpenError> {
        let refuse = |code, what: &str, stored: &dyn std::fmt::Display, ours: &dyn std::fmt::Display| {
            let detail = format!(
                "the stored state is of {what} {stored}, this session's is {ours}; use another link name for another pair"
            );
            Err(OpenError::Refused { code, detail })
        };
        if stored.link != self.link {
            return refuse(CloseCode::StateRefused, "link", &stored.link, &self.link);
        }
        if stored.source_cluster != self.source_cluster {
            return refuse(CloseCode::ClusterChanged, "source cluster", &stored.source_cluster, &self.source_cluster);
        }
        if stored.target_cluster != self.target_cluster {
            return refuse(CloseCode::ClusterChanged, "target cluster", &stored.target_cluster, &self.target_cluster);
        }
        let ours = self.classes.default_class().count;
        if stored.lanes != ours {
            let detail = format!(
                "the link was made with {} lanes, and the sender's `lanes.count` is {ours}: it is fixed for the life of a link; set it back or use another link name",
                stored.lanes
            );
            return Err(OpenError::Refused { code: CloseCode::LanesChanged, detail });
        }
        if stored.lane_hash != self.lane_hash {
            return refuse(CloseCode::LanesChanged, "lane hash", &stored.lane_hash, &self.lane_hash);
        }
        let refuse = |code, detail: String| Err(OpenError::Refused { code, detail });
        match stored.table() {
            Err(error) => refuse(CloseCode::StateRefused, error.to_string()),
            Ok(table) if table.is_prefix_of(&self.classes) || self.classes.is_prefix_of(&table) => Ok(()),
            // Lane 0 has the last word, and is asked again.
            Ok(_) => refuse(CloseCode::Internal, "its classes were changed by another session meanwhile".to_owned()),
        }
    }
}

impl LaneRecord {
    /// The lanes of every class, as stored.
    ///
    /// # Errors
    /// Where they cannot have been stored by this program.
    pub fn table(&self) -> Result<ClassTable, ClassError> {
        let damaged = || ClassError::Damaged("a class ends before it begins");
        let class = |(name, first, last): &(String, u16, u16)| {
            let count = last.checked_sub(*first).and_then(|count| count.checked_add(1)).ok_or_else(damaged)?;
            Ok(ClassLanes { name: name.clone(), first: *first, count })
        };
        ClassTable::of(self.classes.iter().map(class).collect::<Result<_, _>>()?)
    }
}

/// A class as it is stored: its name, its first and its last lane.
fn ranged(class: &ClassLanes) -> (String, u16, u16) {
    (class.name.clone(), class.first, class.first + class.count - 1)
}
