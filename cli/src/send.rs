//! `causeway send FILE`: runs a sender.

use std::sync::Arc;

use kafka::LiveProperties;
use prometheus_client::registry::Registry;
use receiver::StoredLinks;
use sender::config::Config;
use sender::{Dependencies, PromotedState, Report, StopReason};
use serde_json::{Value, json};
use service::admin::{Admin, Outcome};
use service::live::Live;
use service::shutdown::Shutdown;
use transport::io_threads::IoThreads;
use wire::ids::Position;
use wire::partition::Partition;
use wire::returning::PromotedLink;

use crate::exit::Failure;
use crate::process::{Answers, Process, parsed};

impl Process for Config {
    type Report = Report;
    const METRICS: fn(Arc<Report>) -> Registry = sender::metrics;

    fn io_threads(&self) -> IoThreads {
        self.io_threads
    }

    fn work(
        config: Live<Self>,
        properties: &LiveProperties,
        report: Arc<Report>,
        shutdown: Shutdown,
    ) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
        let now = config.now();
        let read =
            || StoredLinks::new(properties, &now.link).map(|links| Arc::new(Brought(links)) as Arc<dyn PromotedState>);
        let promoted = now.source.promoted_link.as_ref().map(|_| read()).transpose()?;
        let dependencies = Dependencies { promoted, ..Dependencies::kafka(&now, properties)? };
        Ok(async { sender::run(config, dependencies, report, shutdown).await.map_err(Failure::from) })
    }
}

/// What a promoted link has stored in the source cluster, which was its target.
struct Brought(StoredLinks);

impl PromotedState for Brought {
    fn read(&self, link: &str) -> Result<PromotedLink, String> {
        self.0.promoted(link)
    }

    fn positions_back(&self, link: &str, here: &[(Partition, Position)]) -> Result<Vec<Option<Position>>, String> {
        self.0.positions_back(link, here)
    }
}

impl Admin for Answers<Report> {
    fn ready(&self) -> Result<(), String> {
        self.0.ready()
    }

    fn status(&self) -> Value {
        json!(self.0.status())
    }

    fn topics(&self) -> Result<Value, String> {
        self.0.topics().map(|topics| json!(topics))
    }

    fn partitions(&self, topic: &str) -> Result<Value, String> {
        self.0.partitions(topic).map(|partitions| json!(partitions))
    }

    fn cost(&self) -> Result<Value, String> {
        Ok(json!(self.0.cost()))
    }

    fn groups(&self) -> Result<Value, String> {
        self.0.groups().map(|groups| json!(groups))
    }

    fn resume(&self, request: Value) -> Outcome {
        let report = Arc::clone(&self.0);
        Box::pin(async move { report.board().ask(parsed(request)?).await })
    }

    fn forget(&self, topic: String) -> Outcome {
        let report = Arc::clone(&self.0);
        Box::pin(async move { report.board().forget(topic).await })
    }

    fn rate(&self, request: Value) -> Result<String, String> {
        self.0.board().rates().ask(&parsed(request)?, jiff::Timestamp::now())
    }
}

impl From<StopReason> for Failure {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Tls(_) => Self::config(reason),
            StopReason::Refused(_) | StopReason::SourceChanged(_) | StopReason::TargetChanged(_) => {
                Self::Halted(reason.to_string())
            }
            StopReason::Source(error) => error.into(),
            StopReason::Broken(_) => Self::failed(reason),
        }
    }
}
