//! A wait with a deadline.

use std::time::Duration;

use anyhow::{Result, bail};

/// How long anything of the demo may take to come back.
const BACK: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(10);

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
