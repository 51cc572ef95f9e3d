//! `causeway receive FILE`

use std::path::Path;
use std::sync::Arc;

use kafka::Properties;
use kafka::properties::forbidden;
use receiver::config::Config;
use receiver::status::Board;
use receiver::{Parts, StopReason};
use service::admin::{AdminSettings, Views};
use service::config::Change;
use service::logging::LogSettings;
use service::tls::{End, TlsFiles};
use transport::endpoint::EndpointError;

use crate::exit::Failure;
use crate::process::Service;
use crate::reload::{Configuration, Reload};
use crate::role;
use crate::send::kafka;

/// Positions mean something beside the source's logs only.
const ASK_SENDER: &str = "this is a receiver; the sender of the link knows the source's logs: ask it";

/// Runs a receiver until it is told to leave.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    let logging = config.log.start().map_err(Failure::config)?;
    let (reload, live) = Reload::new(file, config, logging)?;
    let config = live.now();
    let service = Service::open(config.admin.listen, config.io_threads, reload)?;
    let parts = Parts::kafka(&config, &properties(&config)?).map_err(kafka)?;
    let board = Arc::new(Board::default());
    let (ready, status) = (Arc::clone(&board), Arc::clone(&board));
    let (jumps, asked) = (Arc::clone(&board), Arc::clone(&board));
    let views = Views {
        metrics: Arc::new(receiver::metrics::registry(Arc::clone(&board))),
        ready: Arc::new(move || ready.ready()),
        status: Arc::new(move || serde_json::json!(status.status())),
        reload: service.reload(),
        topics: Arc::new(|| Err(ASK_SENDER.to_owned())),
        partitions: Arc::new(|_| Err(ASK_SENDER.to_owned())),
        jumps: Arc::new(move || Ok(serde_json::json!(jumps.jumps()))),
        resume: Arc::new(move |_| {
            let holders = asked.holders();
            Box::pin(async move {
                Err(format!("this is a receiver; halts are lifted at the sender of the link: {holders}"))
            })
        }),
        rate: Arc::new(|_| {
            let words = "this is a receiver; the rate of a link is its sender's: ask that one. What a receiver itself \
                         sends is limited by `rate` in its file";
            Box::pin(std::future::ready(Err(words.to_owned())))
        }),
    };
    let work = receiver::run(live, parts, board, service.shutdown());
    service.run(views, work)
}

impl Configuration for Config {
    const END: End = End::Server;

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

/// Reads a receiver's file; says so where it is a sender's.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    receiver::config::load(file, forbidden).map_err(|problems| role::Role::Receiver.refuse(file, problems))
}

/// How to reach the target cluster.
pub(crate) fn properties(config: &Config) -> Result<Properties, Failure> {
    Ok(Properties {
        bootstrap_servers: config.target.bootstrap_servers.iter().map(ToString::to_string).collect(),
        extra: config.target.client.resolve().map_err(Failure::config)?,
    })
}

impl From<StopReason> for Failure {
    fn from(halted: StopReason) -> Self {
        match halted {
            StopReason::Tls(_) | StopReason::Listen(EndpointError::Tls(_)) => Self::config(halted),
            StopReason::Listen(_) => Self::failed(halted),
            StopReason::Target(error) => kafka(error),
        }
    }
}
