//! `causeway send FILE`: runs a sender.

use std::sync::Arc;

use kafka::Properties;
use prometheus_client::registry::Registry;
use sender::config::Config;
use sender::{Dependencies, Report, StopReason};
use serde_json::{Value, json};
use service::admin::{Admin, Outcome};
use service::live::Live;
use service::shutdown::Shutdown;
use transport::io_threads::IoThreads;

use crate::exit::Failure;
use crate::process::Process;
use crate::role::Role;

pub(crate) struct Sender {
    metrics: Registry,
    report: Arc<Report>,
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
        let dependencies = Dependencies::kafka(&config.now(), properties)?;
        let report = Arc::new(Report::default());
        let metrics = sender::metrics(Arc::clone(&report));
        let work = sender::run(config, dependencies, Arc::clone(&report), shutdown);
        Ok((Self { metrics, report }, async { work.await.map_err(Failure::from) }))
    }
}

impl Admin for Sender {
    fn metrics(&self) -> &Registry {
        &self.metrics
    }

    fn ready(&self) -> Result<(), String> {
        self.report.ready()
    }

    fn status(&self) -> Value {
        json!(self.report.status())
    }

    fn topics(&self) -> Result<Value, String> {
        self.report.topics().map(|topics| json!(topics))
    }

    fn partitions(&self, topic: &str) -> Result<Value, String> {
        self.report.partitions(topic).map(|partitions| json!(partitions))
    }

    fn resume(&self, request: Value) -> Outcome {
        let report = Arc::clone(&self.report);
        Box::pin(async move { report.board().ask(parsed(request)?).await })
    }

    fn rate(&self, request: Value) -> Result<String, String> {
        self.report.board().rates().ask(&parsed(request)?, jiff::Timestamp::now())
    }
}

fn parsed<T: serde::de::DeserializeOwned>(request: Value) -> Result<T, String> {
    serde_json::from_value(request).map_err(|error| format!("invalid request: {error}"))
}

impl From<StopReason> for Failure {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Tls(_) => Self::config(reason),
            StopReason::Refused(_) => Self::Halted(reason.to_string()),
            StopReason::Source(error) => error.into(),
            StopReason::Broken(_) => Self::failed(reason),
        }
    }
}
