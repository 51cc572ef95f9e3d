//! Access control lists: makes the rules of the source in the target, for the topics and groups that a link carries.
//!
//! - `plan`: what each rule of the source becomes, and why not; sans-IO
//! - `steps`: what has to be made and taken away; sans-IO
//! - `ledger`: what the link has made, which survives restarts
//! - `snapshot`: the rules as the sender sends them
//! - `follower`: asks the target and changes it, round after round
//! - `task`: runs rounds in a session
//! - `board`: what status, metrics and `causeway acls` show

pub(crate) mod board;
pub(crate) mod follower;
pub(crate) mod ledger;
pub(crate) mod plan;
pub(crate) mod snapshot;
pub(crate) mod steps;
pub(crate) mod task;
#[cfg(test)]
mod tests;
