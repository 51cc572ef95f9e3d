//! Polling with a deadline: how a test waits for another process without guessing how long it takes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long between two looks. Small beside anything worth waiting for, large beside what a look costs.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `look` until it finds something; an error that names `what` once `timeout` has passed.
pub fn until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    until_ok(what, timeout, || Ok(look()))
}

/// As [`until`], for a look that may find that waiting is pointless.
pub fn until_ok<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain for {what}");
        }
        thread::sleep(INTERVAL);
    }
}

/// Looks again and again for `stretch`: for what is measured over a time, not waited for.
pub fn through(stretch: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + stretch;
    while Instant::now() < end {
        look()?;
        thread::sleep(INTERVAL);
    }
    Ok(())
}
