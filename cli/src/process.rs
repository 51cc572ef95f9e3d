//! What `send` and `receive` share: signals, the admin port, and how the process ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use service::admin::{Access, Ask, Listen, Views};
use service::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use transport::io_threads::IoThreads;

use crate::exit::Failure;
use crate::reload::{Configuration, Reload};

/// A drain that takes longer is cut off: what is lost is time, never data.
const DRAIN_MAX: Duration = Duration::from_secs(9);

/// What is left of the ten seconds once everybody was told to leave at once: whoever still blocks then is
/// left behind.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A process about to do its work: signals are obeyed and the admin port is bound.
pub(crate) struct Service {
    runtime: Runtime,
    listener: Option<TcpListener>,
    shutdown: Shutdown,
    reload: Ask<Result<serde_json::Value, String>>,
    access: Arc<Access>,
}

impl Service {
    /// Binds the admin port and starts to obey signals, before any work begins.
    pub(crate) fn open<C: Configuration>(
        admin: Listen,
        io_threads: IoThreads,
        reload: Reload<C>,
    ) -> Result<Self, Failure> {
        let listener = admin.0.map(|address| {
            let remedy = "stop what holds it, or set another `listen` in [admin]";
            TcpListener::bind(address)
                .map_err(|error| Failure::Failed(format!("admin port {address} cannot be used: {error}; {remedy}")))
        });
        let runtime = io_threads.runtime().map_err(Failure::failed)?;
        let (trigger, shutdown) = shutdown::channel();
        let access = reload.access();
        let reload: Ask<_> = Arc::new(move || reload.reload().map(|reloaded| serde_json::json!(reloaded)));
        runtime.spawn(obey_signals(trigger));
        runtime.spawn(obey_hangups(Arc::clone(&reload)));
        Ok(Self { runtime, listener: listener.transpose()?, shutdown, reload, access })
    }

    /// Reads the configuration again.
    pub(crate) fn reload(&self) -> Ask<Result<serde_json::Value, String>> {
        Arc::clone(&self.reload)
    }

    /// What the work is to obey.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Runs `work` and answers on the admin port until the work ends.
    pub(crate) fn run<E: Into<Failure>>(
        self,
        views: Views,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), Failure> {
        if let Some(listener) = self.listener {
            answer(listener, views, self.access, self.shutdown)?;
        }
        let result = self.runtime.block_on(work).map_err(Into::into);
        self.runtime.shutdown_background();
        result
    }
}

/// Answers on the admin port, on a thread of its own: packets do not wait until 2,000 partitions are written out.
fn answer(listener: TcpListener, views: Views, access: Arc<Access>, shutdown: Shutdown) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    listener.set_nonblocking(true).map_err(Failure::failed)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(Failure::failed)?
    };
    let answering =
        move || runtime.block_on(service::admin::serve(listener, views, access, shutdown.reached(Phase::Now)));
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread.spawn(answering).map(drop).map_err(Failure::failed)
}

/// SIGHUP reads the configuration again. Several that come at once are one.
async fn obey_hangups(reload: Ask<Result<serde_json::Value, String>>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return tracing::warn!("the system refuses signal handlers");
    };
    while hangup.recv().await.is_some() {
        let reload = Arc::clone(&reload);
        // It logs what became of it.
        let _ = tokio::task::spawn_blocking(move || reload()).await;
    }
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
    if tokio::time::timeout(DRAIN_MAX, next()).await.is_err() {
        tracing::warn!("the drain took too long; leaving at once");
    }
    trigger.advance(Phase::Now);
    tokio::time::sleep(LAST_WORDS).await;
    kafka::leave(0);
}
