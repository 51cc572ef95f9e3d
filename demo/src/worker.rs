//! A thread that works until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

pub(crate) struct Worker {
    name: &'static str,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Worker {
    /// Starts `work`, which should end soon after the flag that it gets is true.
    pub(crate) fn start(
        name: &'static str,
        work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&stopped))?;
        Ok(Self { name, stop, thread })
    }

    /// Tells the thread to stop; returns its result when it has ended.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let died = move || anyhow!("the {} died", self.name);
        tokio::task::spawn_blocking(|| self.thread.join()).await?.map_err(|_| died())?
    }
}
