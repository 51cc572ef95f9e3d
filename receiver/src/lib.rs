//! Commits a link's records to the target cluster, exactly once. In the order a record meets them:
//!
//! - [`config`]: what it is told
//! - [`derived`]: what follows from that
//! - [`run`]: find the target, listen, serve, drain, leave
//! - [`server`]: accepts channels and gives each a session
//! - [`session`]: who is it, may it; then messages and frames until it ends
//! - [`arbiter`]: who may send on a link
//! - [`peers`]: how many connections each peer has
//! - [`joinable`]: the sessions that further channels may join
//! - [`served_links`]: the links, as the configuration has them
//! - [`served_link`]: one link: its lanes, which outlive sessions
//! - [`ledger`]: frames held against the sender's credit
//! - [`targets`]: the target topics of offered partitions
//! - [`state_topic`], [`state`]: what is remembered in the target
//! - [`lane_thread`], [`lane`]: frames in, transactions out
//! - [`inbox`]: frames by sequence, held until committed
//! - [`timings`]: how long its frames take, for the sender to show
//! - [`memory`]: decoded bytes that all lanes may hold
//! - [`join`]: whether an offered partition may join, and from where
//! - [`knowledge`]: which topics the link carries in any lane
//! - [`size`]: how large a transaction may be
//! - [`pace`]: how often all lanes together may commit
//! - [`standing`]: what waits for somebody to act
//! - [`status`]: what it is doing
//! - [`closes`]: how its sessions ended
//! - [`metrics`]: the same in numbers, under published names
//! - [`target`]: the target cluster as a lane sees it

pub mod arbiter;
pub mod closes;
pub mod config;
pub mod derived;
pub mod inbox;
pub mod join;
pub mod joinable;
pub mod knowledge;
pub mod lane;
pub mod lane_thread;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod peers;
pub mod run;
pub mod served_link;
pub mod served_links;
pub mod server;
pub mod session;
pub mod size;
pub mod standing;
pub mod state;
pub mod state_topic;
pub mod status;
pub mod target;
pub mod targets;
pub mod timings;
