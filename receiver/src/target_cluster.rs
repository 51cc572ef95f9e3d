//! Identity of the target cluster: a cluster that was rebuilt at the same address has another id.
//!
//! Nothing in a rebuilt cluster shows that a link wrote to its predecessor. Only a process that has seen both ids knows,
//! so the receiver looks at the id regularly, and carries nothing into the new cluster until an operator accepts it: by
//! naming it in `links.accept_cluster`, or by restarting the receiver.

use std::sync::Arc;
use std::time::Instant;

use kafka::catalog::Catalog;
use service::cluster_watch;
use service::lock::Lock;
use wire::close::Close;

use crate::lane::terms::target_changed;
use crate::link::LinkSettings;
use crate::link::registry::ServedLinks;

/// Ids of the target cluster.
#[derive(Debug)]
pub struct TargetCluster {
    /// Id when the process started.
    first: String,
    /// Id when the cluster last answered.
    now: Lock<String>,
}

impl TargetCluster {
    /// Starts with the id that the cluster has now.
    pub fn new(id: String) -> Self {
        Self { now: Lock::new(id.clone()), first: id }
    }

    /// Returns the id that sessions of this link use.
    /// Error: the cluster has another id than when the process started, and the link does not accept it.
    pub(crate) fn id_for(&self, link: &LinkSettings) -> Result<String, Close> {
        let now = self.now.lock().clone();
        if now == self.first || link.accept_cluster.as_ref() == Some(&now) {
            return Ok(now);
        }
        Err(target_changed(&self.first, &now))
    }

    /// Returns a sentence if a link does not accept the present cluster.
    pub(crate) fn trouble<'l>(&self, mut links: impl Iterator<Item = &'l LinkSettings>) -> Option<String> {
        links.find_map(|link| self.id_for(link).err()).map(|close| close.detail)
    }

    /// Takes the id that the cluster has now. Returns whether it is news.
    fn handle_found(&self, id: String) -> bool {
        let mut now = self.now.lock();
        let is_news = *now != id;
        *now = id;
        is_news
    }

    /// Asks the cluster regularly whether it answers, so that an idle receiver notices its loss too, and with which id.
    /// Ends the sessions of links that do not accept another one.
    pub(crate) async fn watch(self: Arc<Self>, catalog: Arc<dyn Catalog>, links: Arc<ServedLinks>) {
        loop {
            let asks = Arc::clone(&catalog);
            let Ok(asked) = tokio::task::spawn_blocking(move || asks.ping()).await else { return };
            let answer = asked.as_ref().map(drop).map_err(ToString::to_string);
            links.target.lock().handle(Instant::now(), answer);
            if asked.is_ok_and(|id| self.handle_found(id)) {
                self.end_sessions(&links);
            }
            tokio::time::sleep(cluster_watch::INTERVAL).await;
        }
    }

    fn end_sessions(&self, links: &ServedLinks) {
        for link in links.all() {
            if let Err(close) = self.id_for(&link.settings()) {
                tracing::error!(link = link.settings().name, "{}", close.detail);
                link.end_sessions(&close);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::close::CloseCode;

    use super::*;

    fn link(accept_cluster: Option<&str>) -> LinkSettings {
        LinkSettings { accept_cluster: accept_cluster.map(str::to_owned), ..LinkSettings::default() }
    }

    #[test]
    fn a_rebuilt_cluster_is_refused_until_its_id_is_accepted() {
        let cluster = TargetCluster::new("old".into());
        assert_eq!(cluster.id_for(&link(None)), Ok("old".into()));
        assert!(!cluster.handle_found("old".into()));
        assert!(cluster.handle_found("new".into()) && !cluster.handle_found("new".into()));
        let refused = cluster.id_for(&link(Some("other"))).unwrap_err();
        assert_eq!(refused.code, CloseCode::ClusterChanged);
        assert!(refused.detail.contains("was old, is new") && refused.detail.contains("accept_cluster = \"new\""));
        assert_eq!(cluster.id_for(&link(Some("new"))), Ok("new".into()));
        assert!(cluster.trouble([link(Some("new")), link(None)].iter()).is_some());
        assert_eq!(cluster.trouble([link(Some("new"))].iter()), None);
        assert!(cluster.handle_found("old".into()));
        assert_eq!(cluster.id_for(&link(None)), Ok("old".into()), "the address led elsewhere for a while");
    }
}
