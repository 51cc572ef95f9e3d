//! Reports of a sender: status, metrics, lag and forecasts. The data path does not depend on them.

mod adapting;
pub(crate) mod cost;
pub(crate) mod forecast;
pub(crate) mod lag;
mod lag_task;
pub(crate) mod latency;
pub(crate) mod limit;
mod measured;
pub(crate) mod metrics;
mod moment;
pub(crate) mod open_transactions;
pub(crate) mod path;
mod readiness;
pub(crate) mod retention;
pub(crate) mod sampler;
pub(crate) mod status;
pub(crate) mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::live::Live;
use service::processor::IdleMeter;
use service::shutdown::Shutdown;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::lane::compression::Compression;
use crate::run::{self, Dependencies};
use crate::source::{FetchedBytes, Source};
use crate::stop_reason::StopReason;

use adapting::Adapting;
use sampler::Sampler;
use view::Report;

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a sender and keeps its report up to date, until `shutdown`, or until it stops for the reason returned.
pub async fn run<S: Source>(
    config: impl Into<Live<Config>>,
    dependencies: Dependencies<S>,
    report: Arc<Report>,
    shutdown: Shutdown,
) -> Result<(), StopReason> {
    let config = config.into();
    let start = config.now().source.start;
    let cap = config.now().wan.compression_cpu;
    // No one asks what idles while a codec is configured.
    let idle = (config.now().wan.compression == Compression::Auto).then(IdleMeter::default);
    let mut tasks = JoinSet::new();
    let work = EverySecond { fetched: dependencies.source.fetched(), ..EverySecond::new(cap) };
    tasks.spawn(sample_every_second(Arc::clone(&report), work, config.clone(), idle));
    tasks.spawn(lag_task::measure(Arc::clone(&dependencies.catalog), start, Arc::clone(&report)));
    run::run(config, dependencies, report.board(), shutdown).await
}

/// Takes a sample once a second, and tells sessions of problems, for as long as the sender lives.
async fn sample_every_second(
    report: Arc<Report>,
    mut work: EverySecond,
    config: Live<Config>,
    mut idle: Option<IdleMeter>,
) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    // Ticks that were missed would all see the same values, at times that are wrong.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // The lanes use the machine's clock, even where the time of this task is virtual.
        let now = Instant::now();
        let idle = idle.as_mut().and_then(|meter| meter.poll(now));
        report.set_prices(config.now().cost.clone());
        work.tick(now, idle, &report);
    }
}

/// Work of a report once a second.
#[derive(Debug)]
pub struct EverySecond {
    sampler: Sampler,
    adapting: Adapting,
    /// Count of the bytes that the source sends; `None` if it does not count them.
    fetched: Option<FetchedBytes>,
}

impl EverySecond {
    /// `cap` is the number of processors that `auto` may keep busy with compression; `None` for those that idle.
    pub fn new(cap: Option<f64>) -> Self {
        Self { sampler: Sampler::default(), adapting: Adapting::new(cap), fetched: None }
    }

    /// Takes a sample, moves the compression, and tells the session of problems. `idle` is the number of idle
    /// processors, if it is known.
    pub fn tick(&mut self, now: Instant, idle: Option<f64>, report: &Report) {
        let trend = self.sampler.handle(now, report.sample(now));
        report.measure(|measured| measured.trend = trend);
        report.count_cost(now, self.fetched.as_ref());
        // Not after a measurement: the source may leave one without an answer for half a minute.
        let moment = report.moment();
        self.adapting.handle(now, idle, &moment);
        report.tell(moment.condition());
    }
}
