//! The life of a receiver: find the target, listen, serve links, drain, stop.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::{KafkaError, LiveProperties};
use quinn::Endpoint;
use service::live::Live;
use service::lock::Lock;
use service::shutdown::{Phase, Shutdown};
use service::tls::{Credentials, End, TlsError};
use transport::budget::{Budget, BudgetSockets};
use transport::clock::Clock;
use transport::endpoint::{EndpointError, SystemSockets, listen_over};
use wire::ids::LaneId;

use crate::config::{Config, derived};
use crate::groups::GroupServices;
use crate::lane::memory::DecodeMemory;
use crate::link::foreign::task::{self as foreign, TargetRecords};
use crate::link::own_store::OwnStores;
use crate::link::promotion::find;
use crate::link::registry::ServedLinks;
use crate::link::{LinkSettings, StartLane};
use crate::report::status::{Board, Serving};
use crate::session::{Host, server};
use crate::target::Target;
use crate::target::kafka::{KafkaTarget, KafkaTargetConfig};
use crate::target_cluster::TargetCluster;
use crate::translate::Translator;
use crate::writer::pace::CommitPace;
use crate::writer::{WriterConfig, Writers};

/// Wait between two attempts to reach the target.
const TARGET_RETRY: Duration = Duration::from_secs(1);
/// Longest wait for the lanes of links that are not served any more.
const LANES_END_WITHIN: Duration = Duration::from_secs(10);

/// Dependencies of a receiver: Kafka clients in production, clusters in memory in the demo and tests.
pub struct Parts<T> {
    /// Writer of records and state.
    pub target: T,
    /// Catalog that creates and describes topics.
    pub catalog: Arc<dyn Catalog>,
}

/// Reasons why a receiver stopped by itself: an operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StopReason {
    /// The Kafka client cannot work with this configuration.
    #[error("target: {0}")]
    Target(#[from] KafkaError),
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The port cannot be used.
    #[error("listen: {0}")]
    Listen(#[from] EndpointError),
}

impl Parts<KafkaTarget> {
    /// Makes the clients of the configured target cluster.
    pub fn kafka(config: &Config, properties: impl Into<LiveProperties>) -> Result<Self, KafkaError> {
        let properties = properties.into();
        let target = KafkaTargetConfig {
            transaction_timeout: config.target.transaction_timeout,
            ..KafkaTargetConfig::default()
        };
        let catalog = Arc::new(KafkaCatalog::start(&properties, &config.instance)?);
        let target = KafkaTarget::new(&properties, target, catalog.clone(), &config.instance);
        Ok(Self { target, catalog })
    }
}

/// Runs a receiver until `shutdown`, or until it stops with a reason. It reports its condition to `board`.
pub async fn run<T: Target>(
    config: impl Into<Live<Config>>,
    parts: Parts<T>,
    board: Arc<Board>,
    shutdown: Shutdown,
) -> Result<(), StopReason> {
    let live = config.into();
    let config = live.now();
    let credentials = Credentials::load(&config.process.tls, End::Server, service::tls::now())?;
    let budget = Budget::new(config.rate);
    let sockets = BudgetSockets::new(Arc::new(SystemSockets), budget.clone());
    let endpoint = listen_over(&sockets, config.listen, &credentials, &derived::endpoint(&config))?;
    board.introduce(&config, budget.clone());
    let Some(cluster_id) = find_target(&parts, &board, &shutdown).await else { return Ok(()) };
    let catalog = parts.catalog;
    let memory = DecodeMemory::new(derived::decode_bytes(config.memory));
    let address = endpoint.local_addr().unwrap_or(config.listen);
    let writers = Arc::new(Writers::start(parts.target, writer_config(&config, address.port(), board.clock()))?);
    let start_lane = start_lane(Arc::clone(&writers), Arc::clone(&memory));
    let translator = Arc::new(Translator::new(writers.target()));
    let stores: Arc<dyn OwnStores> = Arc::<Writers<T>>::clone(&writers);
    let groups = Arc::new(GroupServices { translator, stores });
    let links = Arc::new(ServedLinks::new(&config, Arc::clone(&catalog), start_lane));
    tracing::info!(%address, links = config.links.len(), target_cluster = cluster_id, "listening");
    let refusals = Arc::default();
    let records: Arc<dyn TargetRecords> = Arc::<Writers<T>>::clone(&writers);
    let reading = tokio::spawn(foreign::watch(Arc::clone(&links), records));
    let cluster = Arc::new(TargetCluster::new(cluster_id));
    board.begin(Serving {
        listen: address,
        cluster: Arc::clone(&cluster),
        links: Arc::clone(&links),
        memory,
        refusals: Arc::clone(&refusals),
        services: Arc::clone(&groups),
    });
    let watching = tokio::spawn(Arc::clone(&cluster).watch(Arc::clone(&catalog), Arc::clone(&links)));
    let finding = tokio::spawn(find::watch(Arc::clone(&links), Arc::clone(&groups)));
    let following = tokio::spawn(follow(live, budget, endpoint.clone(), Arc::clone(&links)));
    let host = Arc::new(Host {
        cluster,
        bootstrap_servers: service::config::list_of(&config.target.bootstrap_servers),
        catalog,
        process: rand::random(),
        links: Arc::clone(&links),
        refusals,
        peers: Arc::default(),
        joinable: Arc::default(),
        clock: board.clock(),
        groups: Some(groups),
    });
    server::serve(endpoint, host, shutdown.clone()).await;
    following.abort();
    watching.abort();
    reading.abort();
    finding.abort();
    board.drain();
    let stopping = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + LANES_END_WITHIN;
        links.stop(deadline);
        writers.stop(deadline);
    });
    tokio::select! {
        _ = stopping => {}
        () = shutdown.reached(Phase::Now) => {}
    }
    Ok(())
}

async fn find_target<T>(parts: &Parts<T>, board: &Board, shutdown: &Shutdown) -> Option<String> {
    loop {
        let catalog = Arc::clone(&parts.catalog);
        // A call to an unreachable cluster takes half a minute; a shutdown does not wait for it.
        let answer = tokio::select! {
            answer = tokio::task::spawn_blocking(move || catalog.cluster_id()) => answer,
            () = shutdown.reached(Phase::Drain) => return None,
        };
        match answer {
            Ok(Ok(id)) => return Some(id),
            Ok(Err(error)) => {
                tracing::warn!(%error, "target cluster does not answer; trying again");
                board.set_trouble(format!("target cluster: {error}"));
            }
            Err(_) => return None,
        }
        tokio::select! {
            () = tokio::time::sleep(TARGET_RETRY) => {}
            () = shutdown.reached(Phase::Drain) => return None,
        }
    }
}

/// Applies configuration changes: the rate, the certificates for new connections, and the links.
async fn follow(mut config: Live<Config>, budget: Budget, endpoint: Endpoint, links: Arc<ServedLinks>) {
    loop {
        let config = config.changed().await;
        budget.set_rate(config.rate);
        let credentials = Credentials::load(&config.process.tls, End::Server, service::tls::now());
        let server =
            credentials.and_then(|credentials| transport::endpoint::server(&credentials, &derived::endpoint(&config)));
        match server {
            Ok(server) => endpoint.set_server_config(Some(server)),
            Err(error) => tracing::error!(%error, "new certificates cannot be used; continuing with the old ones"),
        }
        let gone = links.follow(&config);
        // Waits, so that a link that is added again does not meet its own former lanes.
        let deadline = Instant::now() + LANES_END_WITHIN;
        let _ = tokio::task::spawn_blocking(move || gone.iter().for_each(|link| link.stop(deadline))).await;
    }
}

/// Shares of each link that has lanes. A link that was removed and is added again has its new share once its former lanes
/// have ended.
struct Shares<S>(Lock<HashMap<String, Weak<S>>>);

impl<S> Shares<S> {
    fn of(&self, link: &str, new: impl FnOnce() -> Arc<S>) -> Arc<S> {
        let mut parts = self.0.lock();
        parts.retain(|_, part| part.strong_count() > 0);
        if let Some(part) = parts.get(link).and_then(Weak::upgrade) {
            return part;
        }
        let part = new();
        parts.insert(link.to_owned(), Arc::downgrade(&part));
        part
    }
}

fn start_lane<T: Target>(writers: Arc<Writers<T>>, memory: Arc<DecodeMemory>) -> Arc<StartLane> {
    let shares = Shares(Lock::default());
    Arc::new(move |link: &LinkSettings, id: LaneId| {
        let new = || writers.share(memory.part(link.limits.decode_bytes));
        let share = shares.of(&link.name, || Arc::new(new()));
        writers.start_lane(&link.name, id, share)
    })
}

fn writer_config(config: &Config, port: u16, clock: Clock) -> WriterConfig {
    let at_least_one = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
    let pace = CommitPace::new(
        at_least_one(config.target.transactions_per_second),
        at_least_one(config.target.transaction_burst),
    );
    WriterConfig {
        // Several receivers may run on one machine.
        instance: format!("{}.{port}", config.instance),
        transaction_timeout: config.target.transaction_timeout,
        pace: Arc::new(pace),
        clock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_added_again_has_its_new_memory() {
        let memories = Shares(Lock::default());
        let whole = DecodeMemory::new(1000);
        let of = |link: &str, limit| memories.of(link, || whole.part(limit));
        let lane = of("a", 100);
        let other = of("a", 200);
        assert!(Arc::ptr_eq(&lane, &other), "the lanes of a link share it");
        drop(lane);
        assert_eq!(of("a", 200).limit(), 100, "a former lane still has it");
        drop(other);
        let kept = of("a", 200);
        drop(of("b", 300));
        assert_eq!((kept.limit(), of("c", 400).limit()), (200, 400));
        assert_eq!(memories.0.lock().len(), 2, "b is forgotten");
    }
}
