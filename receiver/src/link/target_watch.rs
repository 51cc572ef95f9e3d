//! Task that asks the target every few seconds whether it answers, so that an idle receiver notices its loss too.

use std::sync::Arc;
use std::time::Instant;

use kafka::catalog::Catalog;
use service::cluster_watch;

use super::registry::ServedLinks;

/// Asks any broker of the target, for as long as the receiver lives.
pub(crate) async fn watch(links: Arc<ServedLinks>, catalog: Arc<dyn Catalog>) {
    loop {
        let catalog = Arc::clone(&catalog);
        let Ok(asked) = tokio::task::spawn_blocking(move || catalog.ping()).await else { return };
        links.target.lock().handle(Instant::now(), asked.map_err(|error| error.to_string()));
        tokio::time::sleep(cluster_watch::INTERVAL).await;
    }
}
