//! Topics with stored positions that are not offered: reports of them to the sender, and its requests to forget them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use wire::close::{Close, CloseCode};
use wire::control::{Control, OrphanedTopic};
use wire::limits::TOPICS_NAMED_MAX;

use crate::join::carried_topics::CarriedTopics;
use crate::lane::handle::{Command, LaneHandle};
use crate::lane::{ForgetStep, ForgetTopic};
use crate::link::arbiter::SessionId;

/// Requests that may be in progress.
const REQUESTS_MAX: usize = 32;
/// Attempts on a lane that still closes a partition of the topic, and the wait between two of them.
const ATTEMPTS: u32 = 10;
const ATTEMPT_STEP: Duration = Duration::from_millis(500);
/// Time for which the sender waits for the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// Forgetting of topics in one session.
pub(super) struct Forgetting {
    lanes: Lanes,
    outgoing: mpsc::Sender<Control>,
    tasks: JoinSet<()>,
    /// Orphaned topics as the sender knows them.
    reported: BTreeMap<Arc<str>, u32>,
}

#[derive(Clone)]
struct Lanes {
    session: SessionId,
    handles: Vec<LaneHandle>,
    carried_topics: Arc<CarriedTopics>,
}

/// Request of an operator at the sender.
#[derive(Clone)]
struct Request {
    topic: Arc<str>,
    asked: i64,
    reason: String,
}

impl Forgetting {
    pub(super) fn new(
        session: SessionId,
        lanes: &[LaneHandle],
        carried_topics: &Arc<CarriedTopics>,
        outgoing: &mpsc::Sender<Control>,
    ) -> Self {
        let lanes = Lanes { session, handles: lanes.to_vec(), carried_topics: Arc::clone(carried_topics) };
        Self { lanes, outgoing: outgoing.clone(), tasks: JoinSet::new(), reported: BTreeMap::new() }
    }

    /// Begins to forget a topic. The sender gets the answer when every lane has stored it.
    pub(super) fn handle_request(&mut self, topic: String, asked: i64, reason: String) -> Result<(), Close> {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= 2 * REQUESTS_MAX {
            return Err(Close::new(
                CloseCode::Busy,
                "the sender does not read the answers to its requests to forget topics",
            ));
        }
        let topic: Arc<str> = topic.into();
        let outgoing = self.outgoing.clone();
        let lanes = self.lanes.clone();
        let is_full = self.tasks.len() >= REQUESTS_MAX;
        self.tasks.spawn(async move {
            let request = Request { topic: Arc::clone(&topic), asked, reason };
            let result = match is_full {
                true => Err(format!("{REQUESTS_MAX} requests to forget topics are in progress; try again")),
                false => lanes.forget(request).await,
            };
            let positions = *result.as_ref().unwrap_or(&0);
            let refused = result.err().unwrap_or_default();
            if !is_full {
                tracing::info!(%topic, positions, refused, "request to forget a topic");
            }
            let _ = outgoing.send(Control::Forgotten { topic: topic.to_string(), positions, refused }).await;
        });
        Ok(())
    }

    /// Returns the report on the orphaned topics, if it has changed.
    pub(super) fn poll_report(&mut self) -> Option<Control> {
        let mut topics: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for lane in &self.lanes.handles {
            let needs_action = Arc::clone(&lane.view.lock().needs_action);
            for (topic, positions) in &needs_action.orphaned_topics {
                *topics.entry(Arc::clone(topic)).or_default() += positions;
            }
        }
        if topics == self.reported {
            return None;
        }
        let others = topics.len().saturating_sub(TOPICS_NAMED_MAX) as u32;
        let named = topics.iter().take(TOPICS_NAMED_MAX);
        let named = named.map(|(topic, &positions)| OrphanedTopic { topic: topic.to_string(), positions });
        let report = Control::Orphaned { topics: named.collect(), others };
        self.reported = topics;
        Some(report)
    }
}

impl Lanes {
    /// Drops everything that the lanes have stored of a topic, except the record that the link brought it. Returns the
    /// number of positions.
    async fn forget(&self, request: Request) -> Result<u32, String> {
        let late = |_| Err(format!("not all lanes have answered within {} s; try again", ANSWER_WITHIN.as_secs()));
        tokio::time::timeout(ANSWER_WITHIN, self.perform(&request)).await.unwrap_or_else(late)
    }

    async fn perform(&self, request: &Request) -> Result<u32, String> {
        self.step(request, ForgetStep::Handovers).await?;
        let positions = self.step(request, ForgetStep::Positions).await?;
        self.carried_topics.forget(&request.topic);
        Ok(positions)
    }

    async fn step(&self, request: &Request, step: ForgetStep) -> Result<u32, String> {
        let mut dropped = 0;
        let mut result = Ok(0);
        for _ in 0..ATTEMPTS {
            result = self.attempt(request, step, &mut dropped).await.map(|()| dropped);
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(ATTEMPT_STEP).await;
        }
        result
    }

    async fn attempt(&self, request: &Request, step: ForgetStep, dropped: &mut u32) -> Result<(), String> {
        let mut answers = Vec::new();
        for lane in &self.handles {
            let (done, answer) = oneshot::channel();
            let Request { topic, asked, reason } = request.clone();
            let forget = ForgetTopic { topic, step, asked, reason, done };
            let pushed = lane.mailbox.push(Command::Forget(self.session, forget));
            answers.push(pushed.map(|()| answer));
        }
        let mut refused = None;
        for answer in answers {
            let Ok(answer) = answer else { return Err("a lane has too many messages waiting".to_owned()) };
            match answer.await {
                Ok(Ok(count)) => *dropped += count,
                Ok(Err(reason)) => refused = Some(reason),
                Err(_) => refused = Some("a lane was closed".to_owned()),
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
