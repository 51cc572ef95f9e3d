//! Offers on their way to their lanes: the target of each partition is looked up first, in order, beside
//! the lanes so that none is held up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::close::CloseCode;
use wire::control::{Control, OfferedPartition};
use wire::ids::{Epoch, LaneId};

use super::{Ending, RETRY};
use crate::arbiter::SessionId;
use crate::join::Offered;
use crate::knowledge::Knowledge;
use crate::lane_thread::{Command, LaneHandle};
use crate::served_link::ServedLink;
use crate::targets::Targets;

/// Announcements and offers that may wait: an announcement per topic and an offer per 256 partitions.
const QUEUE: usize = 16 * 1024;

/// How long offers wait for the other lanes' state.
const KNOWLEDGE: Duration = Duration::from_secs(10);
const KNOWLEDGE_STEP: Duration = Duration::from_millis(20);

/// The queue of announcements and offers of one session.
pub(super) struct Joining(mpsc::Sender<Control>);

impl Joining {
    pub(super) fn start(
        link: &ServedLink,
        session: SessionId,
        lanes: &[LaneHandle],
        knowledge: Arc<Knowledge>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (queue_in, queue) = mpsc::channel(QUEUE);
        tasks.spawn(
            Work { targets: Arc::new(Targets::new(link)), session, lanes: lanes.to_vec(), knowledge }.run(queue),
        );
        Self(queue_in)
    }

    /// Queues a `Topic` or an `Offer`.
    pub(super) fn handle(&self, message: Control) -> Result<(), Ending> {
        let queued = self.0.try_send(message);
        queued.map_err(|_| Ending::new(CloseCode::Busy, format!("more than {QUEUE} offers are waiting for the target")))
    }
}

struct Work {
    targets: Arc<Targets>,
    session: SessionId,
    lanes: Vec<LaneHandle>,
    knowledge: Arc<Knowledge>,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Control>) {
        while let Some(message) = queue.recv().await {
            match message {
                Control::Topic { topic, configs, .. } => {
                    // No look-up is under way: this is its only other holder.
                    if let Some(targets) = Arc::get_mut(&mut self.targets) {
                        targets.handle_topic(topic, configs);
                    }
                }
                Control::Offer { lane, epoch, partitions, last } => self.offer(lane, epoch, partitions, last).await,
                _ => {}
            }
        }
    }

    async fn offer(&self, lane: LaneId, epoch: Epoch, partitions: Vec<OfferedPartition>, last: bool) {
        let Some(handle) = self.lanes.get(usize::from(lane.0)) else { return };
        self.wait_for_knowledge().await;
        for offered in self.look_up(partitions).await {
            self.push(handle, Command::Offer(self.session, epoch, Box::new(offered)));
        }
        if last {
            self.push(handle, Command::LastOffer(self.session, epoch));
        }
    }

    /// Whether a missing topic is new or was lost is known once every lane was read; lanes open together, so
    /// that this is soon. A lane that does not open must not hold the others up for long.
    async fn wait_for_knowledge(&self) {
        let mut waited = Duration::ZERO;
        while !self.knowledge.is_complete() && waited < KNOWLEDGE {
            tokio::time::sleep(KNOWLEDGE_STEP).await;
            waited += KNOWLEDGE_STEP;
        }
    }

    fn push(&self, handle: &LaneHandle, command: Command) {
        if handle.mailbox.push(command).is_err() {
            tracing::error!("a lane's mailbox is full; an offer is lost until the lane is opened again");
        }
    }

    /// Asks until the target answers.
    async fn look_up(&self, partitions: Vec<OfferedPartition>) -> Vec<Offered> {
        let partitions = Arc::new(partitions);
        let mut failing = false;
        loop {
            let (targets, asked) = (Arc::clone(&self.targets), Arc::clone(&partitions));
            let knowledge = Arc::clone(&self.knowledge);
            match tokio::task::spawn_blocking(move || targets.look_up(&asked, &knowledge)).await {
                Ok(Ok(offered)) => return offered,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "could not look up target topics; trying again");
                }
                Ok(Err(_)) => {}
                Err(_) => return Vec::new(),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
