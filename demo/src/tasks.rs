//! Sender and receiver as tasks of this process, between two embedded clusters: the product's own code and configuration
//! files, with a catalog that the embedded clusters can answer.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use kafka::properties::forbidden;
use service::lock::Lock;
use service::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::task::JoinHandle;

use super::embedded::{Embedded, EmbeddedCatalog};
use super::files::Files;
use super::wan::Wan;

type SenderBoard = sender::Report;
type ReceiverBoard = receiver::status::Board;

/// The longest drain, as in `causeway send` and `receive`; a longer one is cut off.
const DRAIN_MAX: Duration = Duration::from_secs(9);
/// Time limit of every wait of the demo.
const BACK: Duration = Duration::from_secs(60);
/// Time between two checks of a wait.
const STEP: Duration = Duration::from_millis(10);

/// Bytes on the wire, over all senders of the demo.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Lock<Vec<Arc<SenderBoard>>>>);

impl Wire {
    /// UDP payload bytes that all senders have sent.
    pub(crate) fn bytes(&self) -> u64 {
        let boards = self.0.lock();
        boards.iter().map(|board| board.status().wire.sent_bytes).sum()
    }

    fn add(&self, board: &Arc<SenderBoard>) {
        self.0.lock().push(Arc::clone(board));
    }
}

pub(crate) struct Tasks {
    files: Files,
    source: Arc<Embedded>,
    target: Arc<Embedded>,
    wire: Wire,
    sender: Running<SenderBoard>,
    receiver: Running<ReceiverBoard>,
}

impl Tasks {
    /// Starts both ends; returns once the sender is in session.
    pub(crate) async fn start(source: Arc<Embedded>, target: Arc<Embedded>, wire: Wire, wan: &Wan) -> Result<Self> {
        let files = Files::write(&source.address, &target.address, wan)?;
        let receiver = start_receiver(&files, &target).await?;
        let sender = start_sender(&files, &source, &wire)?;
        let mut tasks = Self { files, source, target, wire, sender, receiver };
        tasks.until_in_session(0).await?;
        Ok(tasks)
    }

    /// Waits for a session of this sender beyond the first `before`.
    async fn until_in_session(&mut self, before: u64) -> Result<()> {
        until("the session", async || {
            self.sender.ensure_running().await?;
            self.receiver.ensure_running().await?;
            Ok(self.sender.board.status().sessions > before && self.sender.board.ready().is_ok())
        })
        .await
    }

    /// Stops the sender and starts another one; returns once it is in session.
    pub(crate) async fn restart_sender(&mut self) -> Result<()> {
        self.sender.drain().await?;
        self.sender = start_sender(&self.files, &self.source, &self.wire)?;
        self.until_in_session(0).await
    }

    /// Stops the receiver and starts another one; returns once the sender is in session with it.
    pub(crate) async fn restart_receiver(&mut self) -> Result<()> {
        let before = self.sessions();
        self.receiver.drain().await?;
        self.receiver = start_receiver(&self.files, &self.target).await?;
        self.until_in_session(before).await
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.sender.board.status().sessions
    }

    /// Round trip as QUIC measures it; `None` while no session is open.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.sender.board.status().rtt_seconds.map(Duration::from_secs_f64)
    }

    pub(crate) fn trouble(&self) -> Vec<String> {
        let halted = self.sender.board.status().halted.into_iter();
        let halted = halted.map(|halted| {
            format!("{}-{} halted: {} ({})", halted.topic, halted.partition, halted.reason, halted.detail)
        });
        let links = self.receiver.board.status().links;
        halted.chain(links.into_iter().flat_map(|link| link.trouble)).collect()
    }

    /// Drains both ends. A record that is not committed afterwards is lost.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.sender.drain().await?;
        self.receiver.drain().await
    }
}

struct Running<B> {
    board: Arc<B>,
    trigger: Trigger,
    task: Option<JoinHandle<Result<(), String>>>,
}

impl<B> Running<B> {
    fn spawn<F>(board: Arc<B>, work: impl FnOnce(Arc<B>, Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(work(Arc::clone(&board), shutdown));
        Self { board, trigger, task: Some(task) }
    }

    /// Fails if the task has ended, with its reason.
    async fn ensure_running(&mut self) -> Result<()> {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        self.drain().await?;
        bail!("an end of the link stopped without a request")
    }

    /// Drains the task, and stops it immediately if that takes too long: like two signals to a process.
    async fn drain(&mut self) -> Result<()> {
        let Some(mut task) = self.task.take() else { return Ok(()) };
        self.trigger.advance(Phase::Drain);
        let ended = match tokio::time::timeout(DRAIN_MAX, &mut task).await {
            Ok(ended) => ended,
            Err(_) => {
                self.trigger.advance(Phase::Now);
                task.await
            }
        };
        ended?.map_err(|error| anyhow!(error))
    }
}

fn start_sender(files: &Files, source: &Arc<Embedded>, wire: &Wire) -> Result<Running<SenderBoard>> {
    let config = service::config::load::<sender::config::Config>(&files.sender, forbidden)?;
    let parts = sender::Dependencies::kafka(&config, source.properties())?;
    let parts = sender::Dependencies { catalog: Arc::new(EmbeddedCatalog::over(source)?), ..parts };
    let board = Arc::new(SenderBoard::default());
    wire.add(&board);
    Ok(Running::spawn(board, |board, shutdown| async move {
        sender::run(config, parts, board, shutdown).await.map_err(|error| format!("sender: {error}"))
    }))
}

async fn start_receiver(files: &Files, target: &Arc<Embedded>) -> Result<Running<ReceiverBoard>> {
    let config = service::config::load::<receiver::config::Config>(&files.receiver, forbidden)?;
    let parts = receiver::Parts::kafka(&config, target.properties())?;
    let parts = receiver::Parts { catalog: Arc::new(EmbeddedCatalog::over(target)?), ..parts };
    // The previous receiver frees its port only after its last connection has timed out.
    until("the receiver's port", async || Ok(UdpSocket::bind(files.listen).is_ok())).await?;
    let mut running = Running::spawn(Arc::new(ReceiverBoard::default()), |board, shutdown| async move {
        receiver::run(config, parts, board, shutdown).await.map_err(|error| format!("receiver: {error}"))
    });
    until("the receiver", async || {
        running.ensure_running().await?;
        Ok(running.board.ready().is_ok())
    })
    .await?;
    Ok(running)
}

/// Waits until `condition` is true; `what` names it in the error.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !condition().await? {
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    };
    match tokio::time::timeout(BACK, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{what} took more than {} s", BACK.as_secs()),
    }
}
