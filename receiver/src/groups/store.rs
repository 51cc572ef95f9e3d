//! Topic that keeps the ledger of a link: `__causeway.<link>.groups`. Its loss costs nothing but that present offsets look
//! like those of another client.

use service::log_limit::LogLimit;
use wire::origin;

use super::ledger::{GroupKey, Ledger};
use crate::link::own_store::{OwnStore, OwnStores};
use crate::target::{StateEntry, TargetError};

/// Returns the topic of a link's groups.
pub fn topic(link: &str) -> String {
    format!("__causeway.{link}.groups")
}

/// Fences every earlier store of the link, and reads its ledger.
pub(crate) fn open(stores: &dyn OwnStores, link: &str) -> Result<(Box<dyn OwnStore>, Ledger), TargetError> {
    let topic = topic(link);
    let barrier = StateEntry::new(origin::encode(&GroupKey::Barrier), None);
    let (store, stored) = stores.open(&topic, &barrier)?;
    let ledger = Ledger::fold(&stored);
    let refused = |error| TargetError::OwnTopic { topic, reason: format!("a record of groups {error}") };
    Ok((store, ledger.map_err(refused)?))
}

/// Log of problems with groups: some lines of each kind.
#[derive(Default)]
pub(crate) struct GroupLog {
    lines: LogLimit,
    last: Option<String>,
}

impl GroupLog {
    /// Logs a problem, unless it is the last one again.
    pub(crate) fn warn(&mut self, link: &str, problem: &str) {
        if self.last.as_deref() == Some(problem) {
            return;
        }
        self.last = Some(problem.to_owned());
        if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
            tracing::warn!(link, problem, left_out, "offsets of consumer groups cannot be committed now");
        }
    }

    pub(crate) fn clear(&mut self) {
        self.last = None;
    }
}
