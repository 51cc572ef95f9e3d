//! `causeway receive FILE`: runs a receiver.

use std::sync::Arc;

use kafka::LiveProperties;
use prometheus_client::registry::Registry;
use receiver::config::Config;
use receiver::status::Board;
use receiver::{Parts, StopReason};
use serde_json::{Value, json};
use service::admin::{Admin, Answer, Outcome};
use service::live::Live;
use service::shutdown::Shutdown;
use transport::endpoint::EndpointError;
use transport::io_threads::IoThreads;

use crate::exit::Failure;
use crate::process::{Answers, Process, parsed};

impl Process for Config {
    type Report = Board;
    const METRICS: fn(Arc<Board>) -> Registry = receiver::metrics::registry;

    fn io_threads(&self) -> IoThreads {
        self.io_threads
    }

    fn work(
        config: Live<Self>,
        properties: &LiveProperties,
        board: Arc<Board>,
        shutdown: Shutdown,
    ) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
        let parts = Parts::kafka(&config.now(), properties)?;
        Ok(async { receiver::run(config, parts, board, shutdown).await.map_err(Failure::from) })
    }
}

impl Admin for Answers<Board> {
    fn ready(&self) -> Result<(), String> {
        self.0.ready()
    }

    fn status(&self) -> Value {
        json!(self.0.status())
    }

    fn jumps(&self) -> Result<Value, String> {
        Ok(json!(self.0.jumps()))
    }

    fn groups(&self) -> Result<Value, String> {
        Ok(json!(self.0.groups()))
    }

    fn acls(&self) -> Result<Value, String> {
        Ok(json!(self.0.acls()))
    }

    fn translate(&self, request: Value) -> Answer {
        let board = Arc::clone(&self.0);
        Box::pin(async move { Ok(json!(board.translate(parsed(request)?).await?)) })
    }

    fn failover(&self, request: Value) -> Answer {
        let board = Arc::clone(&self.0);
        Box::pin(async move { Ok(json!(board.failover(parsed(request)?).await?)) })
    }

    fn switch_over(&self, request: Value) -> Answer {
        let board = Arc::clone(&self.0);
        Box::pin(async move { Ok(json!(board.switch_over(parsed(request)?).await?)) })
    }

    fn resume(&self, _request: Value) -> Outcome {
        let holders = self.0.holders();
        let reason = format!("this is a receiver; halts are lifted at the sender of the link: {holders}");
        Box::pin(std::future::ready(Err(reason)))
    }

    fn forget(&self, _topic: String) -> Outcome {
        let reason =
            format!("this is a receiver; topics are forgotten at the sender of the link: {}", self.0.holders());
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
