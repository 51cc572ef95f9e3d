//! Commits a link's records to the target cluster, exactly once. In the order a record meets them:
//!
//! - [`target`]: the target cluster as a lane sees it
//! - [`inbox`]: frames by sequence, held until committed
//! - [`memory`]: decoded bytes that all lanes may hold
//! - [`lane`]: frames in, transactions out
//! - [`join`]: whether an offered partition may join, and from where
//! - [`knowledge`]: which topics the link carries in any lane
//! - [`size`]: how large a transaction may be
//! - [`pace`]: how often all lanes together may commit
//! - [`state`]: what is remembered in the target

pub mod inbox;
pub mod join;
pub mod knowledge;
pub mod lane;
pub mod memory;
pub mod pace;
pub mod size;
pub mod state;
pub mod target;
