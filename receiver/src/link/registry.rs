//! The links of a receiver: which there are follows its configuration, also while it runs.
//!
//! A link whose settings change ends its sessions, because each works by the settings that it began with;
//! their senders dial again at once and are looked at anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka::catalog::Catalog;

use crate::config::Config;
use crate::config::derived;
use crate::link::{LinkSettings, ServedLink, StartLane};

/// Every link, by name.
pub struct ServedLinks {
    catalog: Arc<dyn Catalog>,
    start_lane: Arc<StartLane>,
    links: Mutex<HashMap<String, Arc<ServedLink>>>,
}

impl ServedLinks {
    /// The links of `config`.
    pub fn new(config: &Config, catalog: Arc<dyn Catalog>, start_lane: Arc<StartLane>) -> Self {
        let links = Self { catalog, start_lane, links: Mutex::default() };
        drop(links.follow(config));
        links
    }

    /// The link called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<ServedLink>> {
        self.lock().get(name).cloned()
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> Vec<Arc<ServedLink>> {
        let mut links: Vec<_> = self.lock().iter().map(|(name, link)| (name.clone(), Arc::clone(link))).collect();
        links.sort_by(|a, b| a.0.cmp(&b.0));
        links.into_iter().map(|(_, link)| link).collect()
    }

    /// Takes up new links, changes those that changed, and returns those that are served no more: their
    /// sessions are told, and their lanes are to be stopped.
    #[must_use = "lanes of links that are gone are to be stopped"]
    pub fn follow(&self, config: &Config) -> Vec<Arc<ServedLink>> {
        let wanted: HashMap<_, _> = config.links.iter().map(|link| (link.name.to_string(), link)).collect();
        let mut links = self.lock();
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
                copy_configs: link.copy_configs,
                replication: config.target.replication_factor,
                credit_bytes: derived::credit_bytes(config),
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

    /// Lets every lane commit what it holds without a gap, and waits. Blocks.
    pub fn stop(&self) {
        self.all().iter().for_each(|link| link.stop());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<ServedLink>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
