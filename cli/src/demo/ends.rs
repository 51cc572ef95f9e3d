//! Both ends of the link, as the demo drives them: started, stopped and started again.

use std::time::Duration;

use anyhow::{Result, bail};

/// How long anything of the demo may take to come back.
const BACK: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(10);

/// A running sender and a running receiver.
pub(crate) trait Ends {
    /// What happens to the sender and later to the receiver, as the screen says it.
    const RESTARTED: &'static str;

    /// Stops the sender and starts another one; returns once it is in session.
    async fn restart_sender(&mut self) -> Result<()>;

    /// Stops the receiver and starts another one; returns once the sender is in session with it.
    async fn restart_receiver(&mut self) -> Result<()>;

    /// How many sessions the present sender has had.
    async fn sessions(&self) -> u64;

    /// The round trip as QUIC measures it; nothing while there is no session.
    async fn round_trip(&self) -> Option<Duration>;

    /// What sender and receiver complain about.
    async fn trouble(&self) -> Vec<String>;

    /// Drains both; what is not committed then never will be.
    async fn stop(self) -> Result<()>;
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until(what: &str, mut yes: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !yes().await? {
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    };
    match tokio::time::timeout(BACK, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{what} took more than {} s", BACK.as_secs()),
    }
}
