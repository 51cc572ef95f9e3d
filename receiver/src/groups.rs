//! Consumer groups: commits the offsets of the source's groups, translated, for the groups of the same names in the target.
//!
//! - `sync`: decides what is committed; sans-IO
//! - `ledger`: what the link itself has committed, which survives restarts
//! - `store`: the topic that keeps the ledger
//! - `task`: asks the target and commits, round after round
//! - `board`: what status and metrics show

pub(crate) mod board;
pub(crate) mod ledger;
pub(crate) mod store;
pub(crate) mod sync;
pub(crate) mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::link::own_store::OwnStores;
use crate::translate::Translator;

/// Services of a receiver that carry groups, and access control lists.
pub struct GroupServices {
    pub(crate) translator: Arc<Translator>,
    pub(crate) stores: Arc<dyn OwnStores>,
}
