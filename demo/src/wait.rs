//! A wait for a condition, with a deadline.

use std::time::Duration;

use anyhow::{Result, bail};

const BACK: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

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
