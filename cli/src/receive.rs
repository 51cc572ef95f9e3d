//! `causeway receive FILE`: runs a receiver.

use std::sync::Arc;

use kafka::Properties;
use prometheus_client::registry::Registry;
use receiver::config::Config;
use receiver::status::Board;
use receiver::{Parts, StopReason};
use serde_json::{Value, json};
use service::admin::{Admin, Outcome};
use service::live::Live;
use service::shutdown::Shutdown;
use transport::endpoint::EndpointError;
use transport::io_threads::IoThreads;

use crate::exit::Failure;
use crate::process::Process;
use crate::role::Role;

pub(crate) struct Receiver {
    metrics: Registry,
    board: Arc<Board>,
}

impl Process for Receiver {
    const ROLE: Role = Role::Receiver;
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
        let metrics = receiver::metrics::registry(Arc::clone(&board));
        let work = receiver::run(config, parts, Arc::clone(&board), shutdown);
        Ok((Self { metrics, board }, async { work.await.map_err(Failure::from) }))
    }
}

impl Admin for Receiver {
    fn metrics(&self) -> &Registry {
        &self.metrics
    }

    fn ready(&self) -> Result<(), String> {
        self.board.ready()
    }

    fn status(&self) -> Value {
        json!(self.board.status())
    }

    fn jumps(&self) -> Result<Value, String> {
        Ok(json!(self.board.jumps()))
    }

    fn resume(&self, _request: Value) -> Outcome {
        let holders = self.board.holders();
        let reason = format!("this is a receiver; halts are lifted at the sender of the link: {holders}");
        Box::pin(std::future::ready(Err(reason)))
    }

    fn rate(&self, _request: Value) -> Result<String, String> {
        let reason = "this is a receiver; set the rate on the sender: --admin SENDER:7401. The acks that a receiver \
                      sends are limited by `rate` in its file";
        Err(reason.to_owned())
    }
}

impl From<StopReason> for Failure {
    fn from(halted: StopReason) -> Self {
        match halted {
            StopReason::Tls(_) | StopReason::Listen(EndpointError::Tls(_)) => Self::config(halted),
            StopReason::Listen(_) => Self::failed(halted),
            StopReason::Target(error) => error.into(),
        }
    }
}
