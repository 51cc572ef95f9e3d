//! A receiver inside this command, for a target cluster where none runs. No sender reaches it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use receiver::config::Config;
use receiver::status::Board;
use receiver::{FailoverAnswer, FailoverRequest, Parts};
use service::shutdown::{self, Phase, Trigger};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::exit::Failure;
use crate::process::properties;
use crate::role;

/// Time for the target cluster to answer at first.
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_STEP: Duration = Duration::from_millis(50);
/// Time for its lanes to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A receiver that runs until this is dropped.
pub(super) struct OwnReceiver {
    runtime: Runtime,
    board: Arc<Board>,
    trigger: Trigger,
    work: Option<JoinHandle<Result<(), Failure>>>,
}

impl OwnReceiver {
    /// Starts it with the configuration of a receiver, and waits until its target answers.
    pub(super) fn start(file: &Path) -> Result<Self, Failure> {
        let mut config: Config = role::load(file)?;
        config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let properties = properties(&config)?;
        let runtime = config.io_threads.runtime().map_err(Failure::failed)?;
        let (trigger, shutdown) = shutdown::channel();
        let board = Arc::new(Board::default());
        let parts = Parts::kafka(&config, &properties)?;
        let reported = Arc::clone(&board);
        let work = async { receiver::run(config, parts, reported, shutdown).await.map_err(Failure::from) };
        let work = Some(runtime.spawn(work));
        let mut own = Self { runtime, board, trigger, work };
        own.wait_until_ready()?;
        Ok(own)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            if let Some(work) = self.work.take_if(|work| work.is_finished()) {
                let ended = self.runtime.block_on(work).map_err(Failure::failed)?;
                return ended.and_then(|()| Err(Failure::Failed("the receiver has ended".to_owned())));
            }
            match self.board.ready() {
                Ok(()) => return Ok(()),
                Err(reason) if began.elapsed() > READY_WITHIN => return Err(Failure::Failed(reason)),
                Err(_) => thread::sleep(READY_STEP),
            }
        }
    }

    pub(super) fn ask(&self, request: &FailoverRequest) -> Result<FailoverAnswer, Failure> {
        self.runtime.block_on(self.board.failover(request.clone())).map_err(Failure::Failed)
    }
}

impl Drop for OwnReceiver {
    fn drop(&mut self) {
        self.trigger.advance(Phase::Drain);
        self.trigger.advance(Phase::Now);
        if let Some(work) = self.work.take() {
            let ends = async { tokio::time::timeout(END_WITHIN, work).await };
            // What it has stored is complete without its end.
            let _ = self.runtime.block_on(ends);
        }
    }
}
