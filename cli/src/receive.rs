//! `causeway receive FILE`

use std::path::Path;
use std::sync::Arc;

use link::admin::Views;
use link::endpoint::EndpointError;
use link::kafka::Properties;
use link::kafka::properties::forbidden;
use receiver::config::Config;
use receiver::run::{Halted, Parts};
use receiver::status::Board;

use crate::exit::Failure;
use crate::send::kafka;
use crate::service::Service;
use crate::side;

/// Runs a receiver until it is told to leave.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    config.log.start().map_err(Failure::config)?;
    let service = Service::open(config.admin)?;
    let parts = Parts::kafka(&config, &properties(&config)?).map_err(kafka)?;
    let board = Arc::new(Board::default());
    let (ready, status) = (Arc::clone(&board), Arc::clone(&board));
    let views = Views {
        metrics: Arc::new(receiver::metrics::registry(Arc::clone(&board))),
        ready: Arc::new(move || ready.ready()),
        status: Arc::new(move || serde_json::json!(status.status())),
    };
    let work = receiver::run::run(config, parts, board, service.shutdown());
    service.run(views, work)
}

/// Reads a receiver's file; says so where it is a sender's.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    receiver::config::load(file, forbidden).map_err(|problems| side::Side::Receiver.refuse(file, problems))
}

/// How to reach the target cluster.
pub(crate) fn properties(config: &Config) -> Result<Properties, Failure> {
    Ok(Properties {
        bootstrap_servers: config.target.bootstrap_servers.iter().map(ToString::to_string).collect(),
        extra: config.target.client.resolve().map_err(Failure::config)?,
    })
}

impl From<Halted> for Failure {
    fn from(halted: Halted) -> Self {
        match halted {
            Halted::Tls(_) | Halted::Listen(EndpointError::Tls(_)) => Self::config(halted),
            Halted::Listen(_) => Self::failed(halted),
            Halted::Target(error) => kafka(error),
        }
    }
}
