//! `causeway send FILE`: runs a sender.

use std::sync::Arc;

use kafka::Properties;
use prometheus_client::registry::Registry;
use sender::config::Config;
use sender::report::status::Board;
use sender::run::{Halted, Parts};
use serde_json::{Value, json};
use service::admin::{Admin, Outcome};
use service::live::Live;
use service::shutdown::Shutdown;
use transport::io_threads::IoThreads;

use crate::exit::Failure;
use crate::process::Process;
use crate::role::Role;

/// A sender as a process.
pub(crate) struct Sender {
    metrics: Registry,
    board: Arc<Board>,
}

impl Process for Sender {
    const ROLE: Role = Role::Sender;
    type Config = Config;

    fn io_threads(config: &Config) -> IoThreads {
        config.io_threads
    }

    fn prepare(
        config: Live<Config>,
        properties: &Properties,
        shutdown: Shutdown,
    ) -> Result<(Self, impl Future<Output = Result<(), Failure>>), Failure> {
        let parts = Parts::kafka(&config.now(), properties)?;
        let board = Arc::new(Board::default());
        let metrics = sender::report::metrics::registry(Arc::clone(&board));
        let work = sender::run::run(config, parts, Arc::clone(&board), shutdown);
        Ok((Self { metrics, board }, async { work.await.map_err(Failure::from) }))
    }
}

impl Admin for Sender {
    fn metrics(&self) -> &Registry {
        &self.metrics
    }

    fn ready(&self) -> Result<(), String> {
        self.board.ready()
    }

    fn status(&self) -> Value {
        json!(self.board.status())
    }

    fn topics(&self) -> Result<Value, String> {
        self.board.topics().map(|topics| json!(topics))
    }

    fn partitions(&self, topic: &str) -> Result<Value, String> {
        self.board.partitions(topic).map(|partitions| json!(partitions))
    }

    fn resume(&self, request: Value) -> Outcome {
        let board = Arc::clone(&self.board);
        Box::pin(async move { board.ask(parsed(request)?).await })
    }

    fn rate(&self, request: Value) -> Result<String, String> {
        self.board.rates().ask(&parsed(request)?, jiff::Timestamp::now())
    }
}

fn parsed<T: serde::de::DeserializeOwned>(request: Value) -> Result<T, String> {
    serde_json::from_value(request).map_err(|error| format!("invalid request: {error}"))
}

impl From<Halted> for Failure {
    fn from(halted: Halted) -> Self {
        match halted {
            Halted::Tls(_) => Self::config(halted),
            Halted::Refused { .. } => Self::Halted(halted.to_string()),
            Halted::Source(error) => error.into(),
            Halted::Broken(_) => Self::failed(halted),
        }
    }
}
