//! Reports of a sender: status, metrics, lag and forecasts. The data path does not depend on them.
//!
//! - [`view`]: the report of one sender, read from its board
//! - [`status`], [`metrics`]: the page of `causeway status`, and the same numbers for Prometheus
//! - [`limit`]: the reason why the sender is not faster, by evidence
//! - [`latency`]: latencies of records, stage by stage
//! - [`lag`], [`lag_task`]: records that the target lacks, by topic and partition
//! - [`forecast`]: the time until the target has everything
//! - [`retention`]: the time until the source deletes records that were not carried
//! - [`open_transactions`]: transactions at the source that stay open
//! - [`path`], [`sampler`]: the network path and the lanes' time, sampled every second

pub(crate) mod forecast;
pub(crate) mod lag;
mod lag_task;
pub(crate) mod latency;
pub(crate) mod limit;
pub(crate) mod metrics;
pub(crate) mod open_transactions;
pub(crate) mod path;
pub(crate) mod retention;
pub(crate) mod sampler;
pub(crate) mod status;
pub(crate) mod view;

use std::sync::Arc;
use std::time::Duration;

use service::live::Live;
use service::shutdown::Shutdown;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::run::{self, Dependencies};
use crate::source::Source;
use crate::stop_reason::StopReason;

use sampler::Sampler;
use view::Report;

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a sender and keeps its report up to date, until `shutdown`, or until the sender stops by itself.
///
/// # Errors
/// The reason why it stopped by itself.
pub async fn run<S: Source>(
    config: impl Into<Live<Config>>,
    dependencies: Dependencies<S>,
    report: Arc<Report>,
    shutdown: Shutdown,
) -> Result<(), StopReason> {
    let mut tasks = JoinSet::new();
    tasks.spawn(sample_every_second(Arc::clone(&report)));
    tasks.spawn(lag_task::measure(Arc::clone(&dependencies.catalog), Arc::clone(&report)));
    run::run(config.into(), dependencies, report.board(), shutdown).await
}

/// Takes a sample once a second, for as long as the sender lives.
async fn sample_every_second(report: Arc<Report>) {
    let mut sampler = Sampler::default();
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    // Ticks that were missed would all see the same values, at times that are wrong.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await.into_std();
        report.set_trend(sampler.handle(now, report.sample()));
    }
}
