//! Reads a source cluster and sends its records over a link. In the order a record meets them:
//!
//! - [`config`]: what it is told
//! - [`derived`]: what follows from that
//! - [`rate`], [`schedule`]: which rate holds now, and why
//! - [`run`]: find the source, dial, run sessions, drain, leave
//! - [`discovery`]: what the source has, looked up again every few seconds
//! - [`origins`]: which topics links brought to the source, so that none goes round in circles
//! - [`classes`]: classes of topics, and what part of the rate each has
//! - [`router`]: which lane carries a partition
//! - [`roster`]: which partitions have joined, and which are to be offered
//! - [`resume`]: what it takes to lift a halt
//! - [`policy`]: what is done about a halt without asking anybody
//! - [`offers`]: the messages that offer them
//! - [`source`]: the source cluster as a lane sees it
//! - [`credit`], [`bank`]: how many bytes may be unacknowledged
//! - [`lane`], [`lane_thread`], `lane_threads`: records in, frames out
//! - [`session`]: one handshake, then messages and frames until it ends
//! - [`scheduler`], [`gate`]: whose frame is next
//! - [`transport`]: frames onto the session's channels
//! - [`undecided`]: transactions at the source that stay open
//! - [`latency`]: how long records take, stage by stage
//! - [`activity`], [`path`], [`pulse`]: lanes' time and the path, from second to second
//! - [`progress`], [`status`]: what a lane has done, what the sender is doing
//! - [`behind`]: how far the target is behind, by topic and partition
//! - [`limit`]: what keeps it from being faster
//! - [`measuring`]: how far the target is behind
//! - [`forecast`]: when the target has everything
//! - [`retention`]: when the source forgets what is not carried yet
//! - [`metrics`]: the same in numbers, under published names

pub mod activity;
pub mod bank;
pub mod behind;
pub mod classes;
pub mod config;
pub mod credit;
pub mod derived;
pub mod discovery;
pub mod forecast;
pub mod gate;
pub mod lane;
pub mod lane_thread;
mod lane_threads;
pub mod latency;
pub mod limit;
pub mod measuring;
pub mod metrics;
pub mod offers;
pub mod origins;
pub mod path;
pub mod policy;
pub mod progress;
pub mod pulse;
pub mod rate;
pub mod resume;
pub mod retention;
pub mod roster;
pub mod router;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod session;
pub mod source;
pub mod status;
pub mod transport;
pub mod undecided;
