//! Asks a running `causeway` how it is, over its admin port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::wait::until;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// An admin port.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// The port at `address`; nothing is asked yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of a successful answer to `GET path`.
    pub fn get(&self, path: &str) -> Result<String> {
        let request = ureq::get(format!("http://{}{path}", self.address));
        let mut answer = request.config().timeout_global(Some(ASK_TIMEOUT)).build().call()?;
        Ok(answer.body_mut().read_to_string()?)
    }

    /// What `/status` says.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.get("/status")?).context("/status is not JSON")
    }

    /// Waits until `/status` satisfies `holds` and returns that status. A process that does not answer yet
    /// is waited for; on failure the last answer is part of the error.
    pub fn wait_for(&self, what: &str, timeout: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(what, timeout, || {
            last = self.status().ok()?;
            holds(&last).then(|| last.clone())
        });
        found.with_context(|| format!("the last /status of {} was {last:#}", self.address))
    }

    /// Waits until `/ready` says yes.
    pub fn wait_until_ready(&self, timeout: Duration) -> Result<()> {
        until(&format!("{} to be ready", self.address), timeout, || self.get("/ready").ok()).map(drop)
    }

    /// The value of a metric that appears once, by its full name with labels if it has any.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no metric {name}"))?.trim().parse().context("not a number")
    }
}
