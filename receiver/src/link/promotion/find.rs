//! Finds out which links are promoted, so that a receiver shows it before any sender comes.

use std::sync::Arc;
use std::time::Duration;

use super::facts::{kept, read_first, read_states};
use crate::groups::GroupServices;
use crate::link::ServedLink;
use crate::link::registry::ServedLinks;

/// Pause between two looks at links that are not known yet.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at each link once, and again at those that did not answer or are new.
pub(crate) async fn watch(links: Arc<ServedLinks>, services: Arc<GroupServices>) {
    loop {
        for link in links.all().into_iter().filter(|link| link.promotion.is_unknown()) {
            if let Err(reason) = look(&link, &services).await {
                tracing::debug!(link = link.settings().name, reason, "could not find whether the link is promoted");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks at lane 0, and at the others only if a promotion is stored there: most links have none.
async fn look(link: &Arc<ServedLink>, services: &Arc<GroupServices>) -> Result<(), String> {
    let first = read_first(link, services, 1).await?.unwrap_or_default();
    if first.iter().all(|lane| lane.promoted.is_none()) {
        link.promotion.set_found(None, false);
        return Ok(());
    }
    let states = read_states(link, services).await?.unwrap_or_default();
    let record = states.first().and_then(|lane| lane.promoted.clone());
    let is_complete = states.iter().all(|lane| lane.promoted.is_some()) && kept(&states).is_some();
    link.promotion.set_found(record, is_complete);
    Ok(())
}
