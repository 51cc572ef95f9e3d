//! Sender and receiver as processes of this very binary, between real brokers: killed, not drained.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::child::Guarded;
use super::ends::{Ends, until};
use super::files::Files;
use super::wan::Wan;

/// A longer drain is cut off; the processes themselves take at most 10 s.
const DRAIN_MAX: Duration = Duration::from_secs(12);

/// How long a process may take to answer on its admin port.
const ANSWER: Duration = Duration::from_secs(2);

/// How often the sender is asked for what it has sent.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Bytes on the wire: of the senders killed so far, as of just before, and of the one that runs.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<(u64, u64)>>);

impl Wire {
    /// UDP payload bytes that senders have sent, as last heard of.
    pub(crate) fn bytes(&self) -> u64 {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.0 + heard.1
    }

    async fn ask(&self, sender: SocketAddr) {
        let status = status(sender).await;
        if let Some(bytes) = status.as_ref().and_then(|status| status["wire"]["sent_bytes"].as_u64()) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = bytes;
        }
    }

    fn end_sender(&self) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = (heard.0 + heard.1, 0);
    }
}

/// Both ends.
pub(crate) struct Processes {
    // First, so that they are gone before their files are.
    sender: Guarded,
    receiver: Guarded,
    files: Files,
    wire: Wire,
}

impl Processes {
    /// Starts both between the clusters at these addresses; returns once the sender is in session. Asks the
    /// sender for its bytes for as long as the runtime lives.
    pub(crate) async fn start(source: &str, target: &str, wire: Wire, wan: &Wan) -> Result<Self> {
        let files = Files::write(source, target, wan)?;
        let (sender, receiver) = (start_sender(&files)?, start_receiver(&files)?);
        let (asking, address) = (wire.clone(), files.sender_admin);
        tokio::spawn(async move {
            loop {
                asking.ask(address).await;
                tokio::time::sleep(ASK_EVERY).await;
            }
        });
        let mut processes = Self { sender, receiver, files, wire };
        processes.until_in_session(0).await?;
        Ok(processes)
    }

    /// Waits for a session of this sender beyond the first `before`.
    async fn until_in_session(&mut self, before: u64) -> Result<()> {
        let (sender, receiver, address) = (&mut self.sender, &mut self.receiver, self.files.sender_admin);
        until("the session", async || {
            sender.ensure_running()?;
            receiver.ensure_running()?;
            let status = status(address).await;
            Ok(status.is_some_and(|status| status["state"] == "active" && sessions(&status) > before))
        })
        .await
    }
}

impl Ends for Processes {
    const RESTARTED: &'static str = "killed with SIGKILL, started again";

    async fn restart_sender(&mut self) -> Result<()> {
        self.wire.ask(self.files.sender_admin).await;
        self.sender.kill();
        self.wire.end_sender();
        self.sender = start_sender(&self.files)?;
        self.until_in_session(0).await
    }

    async fn restart_receiver(&mut self) -> Result<()> {
        let before = self.sessions().await;
        self.receiver.kill();
        self.receiver = start_receiver(&self.files)?;
        self.until_in_session(before).await
    }

    async fn sessions(&self) -> u64 {
        status(self.files.sender_admin).await.map_or(0, |status| sessions(&status))
    }

    async fn round_trip(&self) -> Option<Duration> {
        let status = status(self.files.sender_admin).await?;
        status["rtt_seconds"].as_f64().map(Duration::from_secs_f64)
    }

    async fn trouble(&self) -> Vec<String> {
        let (sender, receiver) = (status(self.files.sender_admin).await, status(self.files.receiver_admin).await);
        let halted = sender.map_or(Value::Null, |status| status["halted"].clone());
        let trouble = receiver.map_or(Value::Null, |status| status["links"][0]["trouble"].clone());
        let lists = [halted, trouble].into_iter().filter_map(|list| list.as_array().cloned());
        lists.flatten().map(|entry| entry.to_string()).collect()
    }

    async fn stop(mut self) -> Result<()> {
        self.wire.ask(self.files.sender_admin).await;
        tokio::task::spawn_blocking(move || {
            self.sender.terminate(DRAIN_MAX);
            self.receiver.terminate(DRAIN_MAX);
        })
        .await?;
        Ok(())
    }
}

fn start_sender(files: &Files) -> Result<Guarded> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("send").arg(&files.sender);
    Guarded::spawn(&command, &files.sender.with_extension("log"))
}

fn start_receiver(files: &Files) -> Result<Guarded> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("receive").arg(&files.receiver);
    Guarded::spawn(&command, &files.receiver.with_extension("log"))
}

fn sessions(status: &Value) -> u64 {
    status["sessions"].as_u64().unwrap_or(0)
}

/// What a process says of itself; nothing while it does not answer.
async fn status(address: SocketAddr) -> Option<Value> {
    let ask = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ANSWER)).build().into();
        let text = agent.get(format!("http://{address}/status")).call().ok()?.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    };
    tokio::task::spawn_blocking(ask).await.ok().flatten()
}
