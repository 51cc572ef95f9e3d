//! What tasks of a session need that read the source at intervals and send what they find: consumer groups, and access
//! control lists.

use std::sync::Arc;

use kafka::catalog::Catalog;
use service::live::Live;
use tokio::sync::{mpsc, watch};
use wire::control::{Control, Welcome};

use super::Session;
use crate::board::Board;
use crate::config::Config;
use crate::partitions::lane_partitions::SourceTopic;
use crate::source::discovery::Discovered;
use crate::source::promotion::Promotion;

/// The source, and the way to the receiver.
pub(super) struct SourceWatch {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) config: Live<Config>,
    pub(super) topics: watch::Receiver<Discovered>,
    pub(super) board: Arc<Board>,
    /// Promoted link whose topics go back, if any do.
    pub(super) promotion: Option<Promotion>,
    /// Target cluster, which no topic returns to.
    target: String,
    /// Control stream to the receiver; `None` if it does not know the message.
    pub(super) control: Option<mpsc::Sender<Control>>,
}

impl SourceWatch {
    /// Starts in a session whose receiver knows the message if it knows `feature`.
    pub(super) fn new(session: &Session<'_>, welcome: &Welcome, control: &mpsc::Sender<Control>, feature: u64) -> Self {
        Self {
            catalog: Arc::clone(&session.offering.catalog),
            config: session.config.clone(),
            topics: session.topics.clone(),
            board: Arc::clone(&session.board),
            promotion: session.offering.promotion.clone().map(|promotion| promotion.in_session(welcome.features)),
            target: welcome.cluster_id.clone(),
            control: (welcome.features & feature != 0).then(|| control.clone()),
        }
    }

    /// Returns whether the link carries the topic, as far as its origin says.
    pub(super) fn is_carried(&self, topic: &SourceTopic) -> bool {
        topic.origin.not_carried_reason(Some(&self.target)).is_none()
    }
}
