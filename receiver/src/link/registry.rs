//! The links of a receiver. They follow its configuration, also while it runs.
//!
//! A link whose settings change ends its sessions, because each uses the settings that it began with; their senders
//! reconnect immediately and are checked again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use kafka::catalog::Catalog;
use service::cluster_watch::ClusterWatch;
use service::lock::Lock;

use crate::config::{Config, derived};
use crate::link::{LinkSettings, ServedLink, StartLane};

pub struct ServedLinks {
    /// Watch over the target's answers, which no link owns.
    pub(crate) target: Lock<ClusterWatch>,
    catalog: Arc<dyn Catalog>,
    start_lane: Arc<StartLane>,
    links: Lock<HashMap<String, Arc<ServedLink>>>,
}

impl ServedLinks {
    pub fn new(config: &Config, catalog: Arc<dyn Catalog>, start_lane: Arc<StartLane>) -> Self {
        let links = Self { target: Lock::default(), catalog, start_lane, links: Lock::default() };
        drop(links.follow(config));
        links
    }

    pub fn get(&self, name: &str) -> Option<Arc<ServedLink>> {
        self.links.lock().get(name).cloned()
    }

    /// Returns the target's problem, if it has one.
    pub(crate) fn target_trouble(&self) -> Option<String> {
        self.target.lock().trouble(Instant::now()).map(|reason| format!("target cluster: {reason}"))
    }

    /// All links in the order of their names.
    pub fn all(&self) -> Vec<Arc<ServedLink>> {
        let mut links: Vec<_> = self.links.lock().iter().map(|(name, link)| (name.clone(), Arc::clone(link))).collect();
        links.sort_by(|a, b| a.0.cmp(&b.0));
        links.into_iter().map(|(_, link)| link).collect()
    }

    /// Adds new links, changes those that changed, and removes those that `config` does not have. Returns the removed
    /// links: their sessions are ending, and the caller has to stop their lanes.
    #[must_use = "the lanes of removed links have to be stopped"]
    pub fn follow(&self, config: &Config) -> Vec<Arc<ServedLink>> {
        let wanted: HashMap<_, _> = config.links.iter().map(|link| (link.name.to_string(), link)).collect();
        let mut links = self.links.lock();
        let mut gone = Vec::new();
        links.retain(|name, link| {
            let stays = wanted.contains_key(name);
            if !stays {
                link.dismiss();
                gone.push(Arc::clone(link));
            }
            stays
        });
        for (name, link) in wanted {
            let settings = LinkSettings {
                name: name.clone(),
                senders: link.senders.iter().map(ToString::to_string).collect(),
                topics: link.topics.clone(),
                rename: link.rename.clone(),
                rename_groups: link.rename_groups.clone(),
                copy_configs: link.copy_configs,
                follow_configs: link.follow_configs,
                acls: link.acl_rules(),
                replication: config.target.replication_factor,
                credit_bytes: derived::credit_bytes(config, link),
                accept_cluster: link.accept_cluster.clone(),
                limits: derived::limits(config, link),
            };
            match links.get(&name) {
                Some(link) => link.change(settings),
                None => {
                    let link = ServedLink::new(settings, Arc::clone(&self.catalog), Arc::clone(&self.start_lane));
                    links.insert(name, Arc::new(link));
                }
            }
        }
        gone
    }

    /// Ends every lane, after it has committed its frames without a gap. Blocks until then, or until `deadline`.
    pub fn stop(&self, deadline: Instant) {
        let links = self.all();
        // All of them first: none waits for the lanes of another link.
        links.iter().for_each(|link| link.leave());
        links.iter().for_each(|link| link.stop(deadline));
    }
}
