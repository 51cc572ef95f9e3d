//! `causeway receive FILE`

use std::path::Path;
use std::sync::Arc;

use link::kafka::Properties;
use link::kafka::properties::forbidden;
use receiver::run::Parts;
use receiver::status::Board;

use crate::service::{self, Failure};

/// Runs a receiver until it is told to leave.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = receiver::config::load(file, forbidden).map_err(Failure::Config)?;
    config.log.start().map_err(Failure::other)?;
    let properties = Properties {
        bootstrap_servers: config.target.bootstrap_servers.iter().map(ToString::to_string).collect(),
        extra: config.target.client.resolve().map_err(Failure::other)?,
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
    let work = receiver::run::run(config.clone(), parts, board, shutdown.clone());
    service::run(config.admin, views, work, trigger, shutdown)
}
