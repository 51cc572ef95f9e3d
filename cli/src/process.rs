//! A running sender or receiver: its configuration, its admin port, signals, and the end of the process.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kafka::LiveProperties;
use prometheus_client::registry::Registry;
use service::admin::{Access, Admin, Reload, Views};
use service::config::Configuration;
use service::live::Live;
use service::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::signal::unix::{SignalKind, signal};
use transport::io_threads::IoThreads;

use crate::credentials::CredentialFiles;
use crate::exit::Failure;
use crate::page::{Page, Shown};
use crate::reload::Reloader;
use crate::role;

pub(crate) use crate::answers::Answers;
pub(crate) use crate::reload::properties;

/// The longest drain. A longer one is cut off: that costs time, never data.
const DRAIN_MAX: Duration = Duration::from_secs(9);
/// The rest of the ten seconds, for tasks to end after a drain was cut off. Tasks that still block then are abandoned.
const EXIT_TIME: Duration = Duration::from_millis(500);

/// A role of a link as a process runs it, by its configuration.
pub(crate) trait Process: Configuration {
    /// The report of the process, from which its admin port answers.
    type Report: Default + Send + Sync + 'static;
    /// Makes the metrics of a report.
    const METRICS: fn(Arc<Self::Report>) -> Registry;

    fn io_threads(&self) -> IoThreads;

    /// Makes the Kafka clients, and returns the work of the process, which ends after a shutdown or with a failure.
    fn work(
        config: Live<Self>,
        properties: &LiveProperties,
        report: Arc<Self::Report>,
        shutdown: Shutdown,
    ) -> Result<impl Future<Output = Result<(), Failure>>, Failure>;
}

pub(crate) fn run<P: Process>(file: &Path) -> Result<(), Failure>
where
    Answers<P::Report>: Admin + Shown,
{
    let config: P = role::load(file)?;
    let logging = config.process().log.start().map_err(Failure::config)?;
    let (reloader, live) = Reloader::new(file, config, logging)?;
    let config = live.now();
    // Before any work, so that a port that is in use ends the process.
    let listener = config.process().admin.listen.0.map(bind).transpose()?;
    let runtime = config.io_threads().runtime().map_err(Failure::failed)?;
    let (trigger, shutdown) = shutdown::channel();
    let access = Arc::clone(&reloader.access);
    let reloader = Arc::new(reloader);
    let reads = Arc::clone(&reloader);
    let reload: Reload = Arc::new(move || reads.reload().map(|reloaded| serde_json::json!(reloaded)));
    runtime.spawn(obey_signals(trigger));
    runtime.spawn(obey_hangups(Arc::clone(&reload)));
    let files = CredentialFiles::new(Arc::clone(&reloader));
    let properties = LiveProperties::from(properties(&*config)?);
    files.watch(properties.clone())?;
    let report = Arc::new(P::Report::default());
    let metrics = Arc::new(P::METRICS(Arc::clone(&report)));
    let work = P::work(live, &properties, Arc::clone(&report), shutdown.clone())?;
    if let Some(listener) = listener {
        let page = Arc::new(Page::new(Arc::clone(&report), file));
        let history = Arc::clone(&page).keep_history();
        let views = Views { admin: Arc::new(Answers(report)), page, metrics, reload };
        answer(listener, history, views, access, shutdown)?;
    }
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let remedy = "stop the process that holds it, or set another `listen` in [admin]";
        Failure::Failed(format!("admin port {address} cannot be used: {error}; {remedy}"))
    })
}

/// Serves the admin port on its own thread: packets do not wait while the status of 2,000 partitions is written.
/// `history` samples what the page shows.
fn answer(
    listener: TcpListener,
    history: impl Future<Output = ()> + Send + 'static,
    views: Views,
    access: Arc<Access>,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    listener.set_nonblocking(true).map_err(Failure::failed)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(Failure::failed)?
    };
    runtime.spawn(history);
    let serve = move || runtime.block_on(service::admin::serve(listener, views, access, shutdown.reached(Phase::Now)));
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map(drop).map_err(Failure::failed)
}

/// Reads the configuration again on SIGHUP. Several signals at the same time count as one.
async fn obey_hangups(reload: Reload) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return tracing::warn!("the system refuses signal handlers");
    };
    while hangup.recv().await.is_some() {
        let reload = Arc::clone(&reload);
        // The result is in the log.
        let _ = tokio::task::spawn_blocking(move || reload()).await;
    }
}

/// Drains on the first signal, and exits immediately on the second one or when the drain takes too long.
async fn obey_signals(trigger: Trigger) {
    let handlers =
        signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let Ok((mut terminate, mut interrupt)) = handlers else {
        return tracing::warn!("the system refuses signal handlers");
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("draining; another signal exits immediately");
    trigger.advance(Phase::Drain);
    if tokio::time::timeout(DRAIN_MAX, next()).await.is_err() {
        tracing::warn!(seconds = DRAIN_MAX.as_secs(), "the drain took too long; exiting immediately");
    }
    trigger.advance(Phase::Now);
    tokio::time::sleep(EXIT_TIME).await;
    kafka::leave(0);
}

/// Reads the body of a request to the admin port.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(request: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(request).map_err(|error| format!("invalid request: {error}"))
}
