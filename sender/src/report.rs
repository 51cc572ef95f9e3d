//! Everything that is only looked at: the data path does not depend on it.
//!
//! - [`status`], [`metrics`]: the page of `causeway status`, and the same numbers for Prometheus
//! - [`limit`]: what keeps the sender from being faster, by evidence
//! - [`latency`]: delay of records, stage by stage
//! - [`lag`], [`lag_task`]: records that the target lacks, by topic and partition
//! - [`forecast`]: the time until the target has everything
//! - [`retention`]: the time until the source deletes records that were not carried
//! - [`open_transactions`]: transactions at the source that stay open
//! - [`path`], [`sampler`]: the network path and the lanes' time, sampled every second

pub mod forecast;
pub mod lag;
pub mod lag_task;
pub mod latency;
pub mod limit;
pub mod metrics;
pub mod open_transactions;
pub mod path;
pub mod retention;
pub mod sampler;
pub mod status;
