//! Task that asks the target every few seconds whether it answers, so that an idle receiver notices its loss too.

use std::sync::Arc;
use std::time::Instant;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use service::cluster_watch;

use super::registry::ServedLinks;
use crate::target::state;

/// Asks about the links' state topics, for as long as the receiver lives.
pub(crate) async fn watch(links: Arc<ServedLinks>, catalog: Arc<dyn Catalog>) {
    loop {
        let names: Vec<_> = links.all().iter().map(|link| state::topic(&link.settings().name)).collect();
        let catalog = Arc::clone(&catalog);
        let Ok(asked) = tokio::task::spawn_blocking(move || ask(&*catalog, &names)).await else { return };
        links.target.lock().handle(Instant::now(), asked.map_err(|error| error.to_string()));
        tokio::time::sleep(cluster_watch::INTERVAL).await;
    }
}

/// Asks the target; what it says of the topics does not matter.
fn ask(catalog: &dyn Catalog, names: &[String]) -> Result<(), KafkaError> {
    if names.is_empty() { catalog.topics().map(drop) } else { catalog.describe(names).map(drop) }
}
