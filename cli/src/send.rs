//! `causeway send FILE`

use std::path::Path;
use std::sync::Arc;

use kafka::properties::forbidden;
use kafka::{KafkaError, KafkaFault, Properties};
use sender::config::Config;
use sender::report::status::Board;
use sender::run::{Halted, Parts};
use service::admin::{AdminSettings, Views};
use service::config::Change;
use service::logging::LogSettings;
use service::tls::{End, TlsFiles};

use crate::exit::Failure;
use crate::process::Service;
use crate::reload::{Configuration, Reload};
use crate::role;

/// Runs a sender until it is told to leave.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    let logging = config.log.start().map_err(Failure::config)?;
    let (reload, live) = Reload::new(file, config, logging)?;
    let config = live.now();
    let service = Service::open(config.admin.listen, config.io_threads, reload)?;
    let parts = Parts::kafka(&config, &properties(&config)?).map_err(kafka)?;
    let board = Arc::new(Board::default());
    let (ready, status, asked) = (Arc::clone(&board), Arc::clone(&board), Arc::clone(&board));
    let (topics, partitions) = (Arc::clone(&board), Arc::clone(&board));
    let rates = board.rates();
    let views = Views {
        metrics: Arc::new(sender::report::metrics::registry(Arc::clone(&board))),
        ready: Arc::new(move || ready.ready()),
        status: Arc::new(move || serde_json::json!(status.status())),
        reload: service.reload(),
        topics: Arc::new(move || topics.topics().map(|topics| serde_json::json!(topics))),
        partitions: Arc::new(move |topic| partitions.partitions(topic).map(|all| serde_json::json!(all))),
        jumps: Arc::new(|| Err("this is a sender; the receiver of the link keeps the log of jumps: ask it".to_owned())),
        resume: Arc::new(move |request| {
            let board = Arc::clone(&asked);
            Box::pin(async move {
                let request = serde_json::from_value(request).map_err(|error| format!("no request: {error}"))?;
                board.ask(request).await
            })
        }),
        rate: Arc::new(move |request| {
            let request = serde_json::from_value(request).map_err(|error| format!("no request: {error}"));
            let answer = request.and_then(|request| rates.ask(&request, jiff::Timestamp::now()));
            Box::pin(std::future::ready(answer))
        }),
    };
    let work = sender::run::run(live, parts, board, service.shutdown());
    service.run(views, work)
}

impl Configuration for Config {
    const END: End = End::Client;

    fn load(file: &Path) -> Result<Self, Failure> {
        load(file)
    }

    fn adopt(&mut self, new: Self) -> Vec<Change> {
        self.adopt(new)
    }

    fn tls(&self) -> &TlsFiles {
        &self.tls
    }

    fn log(&self) -> LogSettings {
        self.log
    }

    fn admin(&self) -> &AdminSettings {
        &self.admin
    }
}

/// Reads a sender's file; says so where it is a receiver's.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    sender::config::load(file, forbidden).map_err(|problems| role::Role::Sender.refuse(file, problems))
}

/// How to reach the source cluster.
pub(crate) fn properties(config: &Config) -> Result<Properties, Failure> {
    Ok(Properties {
        bootstrap_servers: config.source.bootstrap_servers.iter().map(ToString::to_string).collect(),
        extra: config.source.client.resolve().map_err(Failure::config)?,
    })
}

impl From<Halted> for Failure {
    fn from(halted: Halted) -> Self {
        match halted {
            Halted::Tls(_) => Self::config(halted),
            Halted::Refused { .. } => Self::Halted(halted.to_string()),
            Halted::Source(error) => kafka(error),
            Halted::Broken(_) => Self::failed(halted),
        }
    }
}

/// A Kafka client that cannot go on: a human must mend the configuration or the rights, all else may pass.
pub(crate) fn kafka(error: KafkaError) -> Failure {
    match error.fault {
        KafkaFault::Misused => Failure::config(error),
        KafkaFault::Unauthorized => Failure::Halted(error.to_string()),
        _ => Failure::failed(error),
    }
}
