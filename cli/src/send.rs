//! `causeway send FILE`

use std::path::Path;
use std::sync::Arc;

use link::kafka::Properties;
use link::kafka::properties::forbidden;
use sender::run::Parts;
use sender::status::Board;

use crate::service::{self, Failure};

/// Runs a sender until it is told to leave.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = sender::config::load(file, forbidden).map_err(Failure::Config)?;
    config.log.start().map_err(Failure::other)?;
    let properties = Properties {
        bootstrap_servers: config.source.bootstrap_servers.iter().map(ToString::to_string).collect(),
        extra: config.source.client.resolve().map_err(Failure::other)?,
    };
    let parts = Parts::kafka(&config, &properties).map_err(Failure::other)?;
    let board = Arc::new(Board::default());
    let (ready, status) = (Arc::clone(&board), Arc::clone(&board));
    let views = service::views(
        prometheus_client::registry::Registry::default(),
        move || ready.ready(),
        move || serde_json::json!(status.status()),
    );
    let (trigger, shutdown) = service::shutdown();
    let work = sender::run::run(config.clone(), parts, board, shutdown.clone());
    service::run(config.admin, views, work, trigger, shutdown)
}
