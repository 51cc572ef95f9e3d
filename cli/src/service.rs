//! What `send` and `receive` share: signals, the admin port, and how a process ends.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use link::admin::{Listen, Views};
use link::config::Problems;
use link::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A drain that takes longer is cut off: what is lost is time, never data.
const DRAIN_MAX: Duration = Duration::from_secs(9);

/// Why a command ended without success; the exit codes are documented in `--help`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration, all of its problems: exit code 2.
    Config(Problems),
    /// A human must act before trying again: exit code 3.
    Halted(String),
    /// Anything else: exit code 1.
    Other(String),
}

impl Failure {
    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Other(_) => ExitCode::from(1),
            Self::Config(_) => ExitCode::from(2),
            Self::Halted(_) => ExitCode::from(3),
        }
    }

    /// Anything that is nobody's configuration.
    pub(crate) fn other(error: impl fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => write!(f, "the configuration cannot be used:\n{problems}"),
            Self::Halted(reason) => write!(f, "halted: {reason}"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Runs `work` with its shutdown and admin port until it ends.
pub(crate) fn run<E: fmt::Display>(
    admin: Listen,
    views: Views,
    work: impl Future<Output = Result<(), E>>,
    trigger: Trigger,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::other)?;
    let result = runtime.block_on(async {
        tokio::spawn(obey_signals(trigger));
        if let Some(address) = admin.0 {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| Failure::Other(format!("admin port {address}: {error}")))?;
            let leave = shutdown.clone();
            tokio::spawn(async move { link::admin::serve(listener, views, leave.reached(Phase::Now)).await });
        }
        work.await.map_err(|error| Failure::Halted(error.to_string()))
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// A trigger and the shutdown that goes with it.
pub(crate) fn shutdown() -> (Trigger, Shutdown) {
    shutdown::channel()
}

/// The first signal drains, the second one leaves at once; so does a drain that takes too long.
async fn obey_signals(trigger: Trigger) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::warn!("the system refuses signal handlers");
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("draining; another signal leaves at once");
    trigger.advance(Phase::Drain);
    let _ = tokio::time::timeout(DRAIN_MAX, next()).await;
    trigger.advance(Phase::Now);
    // Kept until the process is gone: a dropped trigger means the same.
    std::future::pending::<()>().await;
    drop(trigger);
}

/// The views of a board.
pub(crate) fn views(
    metrics: prometheus_client::registry::Registry,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
) -> Views {
    Views { metrics: Arc::new(metrics), ready: Arc::new(ready), status: Arc::new(status) }
}
