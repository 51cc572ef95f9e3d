//! Times since which topics are gone from the source. Lane 0 stores those of all lanes' topics, so that a sender with a
//! policy to forget them counts on after a restart of either end.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::control::{Control, GoneTopic};
use wire::limits::TOPICS_NAMED_MAX;

use super::forget::{ForgetStep, ForgetTopic};

/// Topics that are gone from the source, or not any more.
#[derive(Debug)]
pub struct MarkGone {
    pub topics: Vec<Arc<str>>,
    /// Time of the message in ms since the Unix epoch; `None` if they are not gone.
    pub since: Option<i64>,
}

/// Changes of marks: the new time, or none.
pub(super) type Marks = BTreeMap<Arc<str>, Option<i64>>;

/// Marks of one lane.
#[derive(Debug, Default)]
pub(super) struct GoneSince {
    stored: BTreeMap<Arc<str>, i64>,
    /// Changes that wait for the lane's next transaction.
    waiting: Marks,
}

impl GoneSince {
    pub(super) fn stored(stored: BTreeMap<Arc<str>, i64>) -> Self {
        Self { stored, waiting: Marks::new() }
    }

    pub(super) fn has_any(&self) -> bool {
        !self.stored.is_empty()
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Notes a change. An earlier time stays, and marks beyond the most that a message can name are not kept.
    pub(super) fn handle(&mut self, topic: Arc<str>, since: Option<i64>) {
        let known = self.waiting.get(&topic).copied().unwrap_or_else(|| self.stored.get(&topic).copied());
        let is_full = self.stored.len() + self.waiting.len() >= TOPICS_NAMED_MAX;
        if known.is_some() != since.is_some() && (since.is_none() || !is_full) {
            self.waiting.insert(topic, since);
        }
    }

    /// Drops the mark of a topic that is forgotten.
    pub(super) fn handle_forget(&mut self, request: &ForgetTopic) {
        if request.step == ForgetStep::Positions {
            self.handle(Arc::clone(&request.topic), None);
        }
    }

    pub(super) fn take(&mut self) -> Marks {
        std::mem::take(&mut self.waiting)
    }

    /// Queues changes again after a transaction whose outcome is unknown: storing them twice is harmless.
    pub(super) fn abandon(&mut self, marks: Marks) {
        let newer = std::mem::replace(&mut self.waiting, marks);
        self.waiting.extend(newer);
    }

    pub(super) fn complete(&mut self, marks: Marks) {
        for (topic, since) in marks {
            match since {
                Some(since) => drop(self.stored.insert(topic, since)),
                None => drop(self.stored.remove(&topic)),
            }
        }
    }

    /// Returns the message about all marks. The session states the time.
    pub(super) fn message(&self) -> Control {
        let gone = |(topic, &since): (&Arc<str>, &i64)| GoneTopic { topic: topic.to_string(), since };
        Control::GoneSince { topics: self.stored.iter().map(gone).take(TOPICS_NAMED_MAX).collect(), now: 0 }
    }
}
