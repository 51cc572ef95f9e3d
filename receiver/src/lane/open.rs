//! Opening a lane: checks first, because a refusal must not have fenced a healthy owner.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::close::CloseCode;
use wire::control::Control;
use wire::ids::Epoch;

use super::claims::Claims;
use super::unwritable::Unwritable;
use super::{Lane, Open};
use crate::inbox::Inbox;
use crate::knowledge::Knowledge;
use crate::state::{self, LaneRecord, LaneState};
use crate::target::{LaneTarget, TargetError};

/// What a session brings to every lane it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The link's name.
    pub link: String,
    /// How many lanes it has.
    pub lanes: u16,
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
#[derive(Debug, thiserror::Error)]
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
        self.read_checked(&terms)?;
        self.target.fence()?;
        let state = self.read_checked(&terms)?;
        let record = terms.lane_record(state.lane.as_ref());
        self.commit_lane_record(&record)?;
        knowledge.handle_lane_read(self.id, state.partitions.keys().map(|key| &key.topic));
        let epoch = record.epoch;
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
            unwritable: Unwritable::default(),
            inbox: Inbox::default(),
            current: None,
            keep_alive: false,
            unknown: None,
        });
        self.replies.push_back(Control::LaneOpen { lane: self.id, epoch });
        Ok(epoch)
    }

    fn read_checked(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
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

    fn commit_lane_record(&mut self, record: &LaneRecord) -> Result<(), TargetError> {
        self.target.begin()?;
        self.target.write_state(&state::lane_key(), Some(&state::encode(record)))?;
        self.target.drain()?;
        self.target.commit()
    }
}

impl Terms {
    fn lane_record(&self, stored: Option<&LaneRecord>) -> LaneRecord {
        LaneRecord {
            link: self.link.clone(),
            lanes: self.lanes,
            lane_hash: self.lane_hash.clone(),
            epoch: stored.map_or(Epoch(0), |stored| stored.epoch).next(),
            source_cluster: self.source_cluster.clone(),
            target_cluster: self.target_cluster.clone(),
            filter_hash: stored.and_then(|stored| stored.filter_hash),
            sender: self.sender.clone(),
            classes: stored
                .map_or_else(|| vec![("default".to_owned(), 0, self.lanes - 1)], |stored| stored.classes.clone()),
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
        if stored.lanes != self.lanes {
            return refuse(CloseCode::LanesChanged, "lane count", &stored.lanes, &self.lanes);
        }
        if stored.lane_hash != self.lane_hash {
            return refuse(CloseCode::LanesChanged, "lane hash", &stored.lane_hash, &self.lane_hash);
        }
        Ok(())
    }
}
