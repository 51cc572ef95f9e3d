//! The receiver's side of a session: authenticates the sender, waits for the link, then takes messages and frames
//! until the session ends.
//!
//! Decisions are made elsewhere: the arbiter decides which sender may send, the ledger how many bytes it may have
//! unacknowledged, the lanes which records are appended.
//!
//! - `server`, `handshakes`: accepts channels
//! - `greeting`, `peers`, `refusal`: the first message of a channel, and its checks
//! - `refusals`: counts of peers that got no session
//! - `pending`: a session that waits for its link
//! - `active`: a session that has the link
//! - `channels`, `joinable`: the extra channels of a session
//! - `frames`, `assembly`, `ledger`: frames and the credit that they use
//! - `metering`: the rate of a link's senders
//! - `forgetting`: topics whose positions are stored and not offered
//! - `joining`: offers on their way to their lanes
//! - `settings`: comparison of the settings of topics at both ends

mod active;
mod assembly;
mod channels;
mod following;
mod forgetting;
mod frames;
mod greeting;
mod handshakes;
mod joinable;
mod joining;
pub(crate) mod ledger;
mod metering;
pub(crate) mod peers;
mod pending;
mod probe;
mod refusal;
mod refusals;
pub(crate) mod server;
mod settings;
mod waiting;

pub use greeting::Host;
pub(crate) use refusals::Refusals;
