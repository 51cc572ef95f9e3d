//! A client of the admin port of a running `causeway`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::wait::until;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of one admin port.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    address: SocketAddr,
}

/// Returns the number of records that a receiver has committed for its first link since it started, by its status.
pub fn committed(status: &Value) -> u64 {
    status["links"][0]["counts"]["records"].as_u64().unwrap_or_default()
}

impl Admin {
    /// Makes a client of the port at `address`. Sends nothing yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Address of the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the body of a successful response to `GET path`.
    pub fn get(&self, path: &str) -> Result<String> {
        let request = ureq::get(format!("http://{}{path}", self.address));
        let mut answer = request.config().timeout_global(Some(ASK_TIMEOUT)).build().call()?;
        Ok(answer.body_mut().read_to_string()?)
    }

    /// Returns the JSON of `/status`.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.get("/status")?).context("/status is not JSON")
    }

    /// Waits until `/status` satisfies `is_right` and returns that status. A process that does not respond yet counts
    /// as one whose status is not right yet; an error shows the last status.
    pub fn wait_for(&self, what: &str, timeout: Duration, is_right: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(what, timeout, || {
            last = self.status().ok()?;
            is_right(&last).then(|| last.clone())
        });
        found.with_context(|| format!("the last /status of {} was {last:#}", self.address))
    }

    /// Waits until `/ready` is 503 with a reason that contains `reason`.
    pub fn wait_until_unready(&self, reason: &str, timeout: Duration) -> Result<()> {
        let mut last = String::new();
        let found = until(&format!("{} not to be ready: {reason}", self.address), timeout, || {
            let request = ureq::get(format!("http://{}/ready", self.address));
            let config = request.config().timeout_global(Some(ASK_TIMEOUT)).http_status_as_error(false);
            let mut answer = config.build().call().ok()?;
            last = answer.body_mut().read_to_string().ok()?;
            (answer.status().as_u16() == 503 && last.contains(reason)).then_some(())
        });
        found.with_context(|| format!("the last /ready of {} was {last}", self.address))
    }

    /// Waits until `/ready` succeeds.
    pub fn wait_until_ready(&self, timeout: Duration) -> Result<()> {
        until(&format!("{} to be ready", self.address), timeout, || self.get("/ready").ok()).map(drop)
    }

    /// Returns the value of a metric, by its full name with its labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .with_context(|| format!("no metric {name}"))?
            .trim()
            .parse()
            .context("the value of a metric is not a number")
    }
}
