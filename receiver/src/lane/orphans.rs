//! Positions of partitions that no one offers: which they are, and how a request drops them.

use std::collections::HashSet;
use std::sync::Arc;

use wire::partition::Partition;

use super::draft::Draft;
use super::forget::{ForgetDraft, ForgetStep, ForgetTopic};
use super::open_lane::{Lane, Open, OpenLane};
use crate::target::state::{self, JumpRecord};
use crate::target::{LaneTarget, TargetError};

impl<T: LaneTarget> Lane<T> {
    /// Takes a request to forget a topic. A lane that is not open cannot perform it.
    pub fn handle_forget(&mut self, request: ForgetTopic) {
        match &mut self.open {
            Some(open) => open.forgets.push(request),
            None => request.refuse(format!("lane {} is not open", self.parts.id)),
        }
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Notes that these topics no longer exist at the source: their positions are orphaned.
    pub fn handle_topics_gone(&mut self, topics: &HashSet<Arc<str>>) {
        let open = &mut *self.open;
        let keys = open.stored.partitions.keys().filter(|key| topics.contains(&key.topic));
        open.gone.extend(keys.cloned());
        open.orphan_changes += 1;
    }

    /// Performs the requests that wait, with the lane's next transaction.
    pub(super) fn take_forgets(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        for request in self.open.forgets.take() {
            let open = &mut *self.open;
            if open.is_busy_with(&request.topic) {
                let sentence = format!("lane {} still carries {}", open.stored.lane, request.topic);
                request.refuse(sentence);
                continue;
            }
            open.gone_since.handle_forget(&request);
            let keys = open.keys_to_forget(&request);
            if keys.is_empty() {
                open.answer_forgotten(request, 0);
                continue;
            }
            if request.step == ForgetStep::Positions {
                for key in &keys {
                    draft.jumps.extend(open.jump_of_forgotten(&request, key, draft.jumps.len()));
                }
            }
            // The rest of its run, if it is being appended, is of a closed slot.
            if let Some(current) = &mut open.current {
                current.destination.take_if(|destination| keys.contains(&destination.key));
            }
            draft.forgotten.0.push((request, keys));
        }
        if draft.forgotten.0.is_empty() { Ok(()) } else { self.ensure_begun(draft) }
    }

    pub(super) fn write_forgotten(&mut self, draft: &Draft) -> Result<(), TargetError> {
        let source = &self.open.stored.terms.source_cluster;
        for key in draft.forgotten.keys() {
            // An older record of the other kind must not count again.
            self.parts.target.write_state(&state::partition_key(source, key), None)?;
            self.parts.target.write_state(&state::moved_key(source, key), None)?;
        }
        Ok(())
    }
}

impl Open {
    /// Positions that the sender does not offer: their topics left the source or the filter.
    pub(super) fn orphaned(&self) -> impl Iterator<Item = &Partition> {
        let not_offered = self.not_offered.iter().filter(|key| self.all_offered && !self.gone.contains(*key));
        self.gone.iter().chain(not_offered)
    }

    pub(super) fn is_orphaned(&self, key: &Partition) -> bool {
        self.gone.contains(key) || (self.all_offered && self.not_offered.contains(key))
    }

    /// Notes that a partition is offered.
    pub(super) fn handle_offered(&mut self, key: &Partition) {
        if self.gone.remove(key) | (self.not_offered.remove(key) && self.all_offered) {
            self.orphan_changes += 1;
        }
        self.stored.carried_topics.handle_offered(key.clone());
    }

    /// Drops orphans that are not stored in this lane any more.
    pub(super) fn keep_stored_orphans(&mut self) {
        let Self { stored, not_offered, gone, .. } = self;
        not_offered.retain(|key| stored.partitions.contains_key(key));
        gone.retain(|key| stored.partitions.contains_key(key));
        self.orphan_changes += 1;
    }

    /// Returns whether a partition of the topic is carried, or asks for it.
    fn is_busy_with(&self, topic: &str) -> bool {
        self.slots.has_open(topic) || self.offers.concern(topic, &self.slots) || self.handovers.concern(topic)
    }

    fn keys_to_forget(&self, request: &ForgetTopic) -> Vec<Partition> {
        let is_of_topic = |key: &&Partition| key.topic == request.topic;
        match request.step {
            ForgetStep::Handovers => self.handovers.handed_over.keys().filter(is_of_topic).cloned().collect(),
            ForgetStep::Positions => self.stored.partitions.keys().filter(is_of_topic).cloned().collect(),
        }
    }

    /// Applies the committed requests to forget topics, and answers them.
    pub(super) fn complete_forgotten(&mut self, draft: ForgetDraft) {
        for (request, keys) in draft.0 {
            for key in &keys {
                self.stored.partitions.remove(key);
                self.handovers.handed_over.remove(key);
            }
            self.answer_forgotten(request, keys.len());
        }
    }

    fn answer_forgotten(&mut self, request: ForgetTopic, dropped: usize) {
        self.keep_stored_orphans();
        request.answer(dropped);
    }

    fn jump_of_forgotten(&self, request: &ForgetTopic, key: &Partition, earlier: usize) -> Option<JumpRecord> {
        let stored = self.stored.partitions.get(key)?;
        Some(JumpRecord {
            number: self.stored.next_jump() + earlier as u64,
            asked: request.asked,
            sender: self.stored.terms.sender.clone(),
            topic: key.topic.to_string(),
            partition: key.partition,
            from: stored.position.0,
            to: -1,
            accepted: String::new(),
            reason: request.reason.clone(),
            halt: stored.halt.clone(),
        })
    }
}
