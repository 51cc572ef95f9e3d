//! The tasks of a session that watch the source, and tell the receiver what they find.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::control::{Control, Welcome};

use super::settings::SettingsWatch;
use super::{Offering, Session, acls, groups, source_ends};

impl Session<'_> {
    /// Starts the tasks. They end when they are aborted.
    pub(super) fn watch_source(&self, welcome: &Welcome, outgoing: &mpsc::Sender<Control>) -> [JoinHandle<()>; 4] {
        let Offering { catalog, deletions, .. } = &self.offering;
        let settings = SettingsWatch::new(catalog, deletions, &welcome.cluster_id, welcome.features, outgoing);
        [
            tokio::spawn(settings.run(self.topics.clone())),
            groups::start(self, welcome, outgoing),
            acls::start(self, welcome, outgoing),
            source_ends::start(self, welcome, outgoing),
        ]
    }
}
