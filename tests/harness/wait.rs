//! Polling with a deadline, to wait for another process.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two checks. It is short compared with what tests wait for, and long compared with one check.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `check` until it returns something. Fails with an error that names `what` after `timeout`.
pub fn until<T>(what: &str, timeout: Duration, mut check: impl FnMut() -> Option<T>) -> Result<T> {
    until_ok(what, timeout, || Ok(check()))
}

/// Waits as [`until`], and fails immediately if `check` does.
pub fn until_ok<T>(what: &str, timeout: Duration, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = check()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} for {what}");
        }
        thread::sleep(INTERVAL);
    }
}

/// Calls `check` repeatedly for `stretch`, for measurements over a time.
pub fn through(stretch: Duration, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + stretch;
    while Instant::now() < end {
        check()?;
        thread::sleep(INTERVAL);
    }
    Ok(())
}
