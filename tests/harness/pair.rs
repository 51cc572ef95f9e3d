//! Two clusters for a link to run between, and the machine that the tests of a binary share.
//!
//! Most tests run in parallel. A test that measures time or CPU would fail next to others, so it waits until it has
//! the machine alone; the others wait meanwhile.

use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use anyhow::{Result, anyhow};

use crate::broker::random_id;
use crate::cluster::Cluster;
use crate::jars::Kafka;

static MACHINE: RwLock<()> = RwLock::new(());

/// A test's claim on the machine, in effect until it is dropped. A test makes one claim: with a second one it could
/// wait for itself.
#[derive(Debug)]
pub struct Machine {
    _shared: Option<RwLockReadGuard<'static, ()>>,
    _alone: Option<RwLockWriteGuard<'static, ()>>,
}

impl Machine {
    /// Waits until no test has the machine alone.
    pub fn share() -> Self {
        let guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self { _shared: Some(guard), _alone: None }
    }

    /// Waits until no other test runs.
    pub fn alone() -> Self {
        let guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self { _shared: None, _alone: Some(guard) }
    }
}

/// Two clusters, with the test's claim on the machine.
#[derive(Debug)]
pub struct Pair {
    // First, so that clusters of the test's own are gone before the next test begins.
    clusters: Arc<Clusters>,
    _machine: Machine,
}

/// The clusters of a [`Pair`].
#[derive(Debug)]
pub struct Clusters {
    /// The cluster that a link reads from.
    pub source: Cluster,
    /// The cluster that a link writes to.
    pub target: Cluster,
}

impl Deref for Pair {
    type Target = Clusters;

    fn deref(&self) -> &Clusters {
        &self.clusters
    }
}

impl Clusters {
    fn start(
        source: impl FnOnce() -> Result<Cluster> + Send,
        target: impl FnOnce() -> Result<Cluster>,
    ) -> Result<Self> {
        Kafka::get()?;
        thread::scope(|scope| {
            let source = scope.spawn(source);
            let target = target()?;
            let source = source.join().map_err(|_| anyhow!("starting the source panicked"))??;
            Ok(Self { source, target })
        })
    }
}

impl Pair {
    /// Starts clusters of the test's own, to kill brokers in.
    pub fn start(source_nodes: u32, target_nodes: u32) -> Result<Self> {
        Self::start_with(Machine::share(), || Cluster::start(source_nodes), || Cluster::start(target_nodes))
    }

    /// Starts so many nodes on each side, with a secure listener.
    pub fn start_secure(nodes: u32) -> Result<Self> {
        Self::start_with(Machine::share(), || Cluster::start_secure(nodes), || Cluster::start_secure(nodes))
    }

    /// Starts clusters of the test's own as [`Pair::start`], and runs while no other test does.
    pub fn start_alone(source_nodes: u32, target_nodes: u32) -> Result<Self> {
        Self::start_with(Machine::alone(), || Cluster::start(source_nodes), || Cluster::start(target_nodes))
    }

    /// Starts single nodes of the oldest line of Kafka that the tests run against.
    pub fn start_old() -> Result<Self> {
        Self::start_with(Machine::share(), Cluster::start_old, Cluster::start_old)
    }

    /// Starts a single node of that oldest line as the source, and one of the newest as the target.
    pub fn start_old_to_new() -> Result<Self> {
        Self::start_with(Machine::share(), Cluster::start_old, || Cluster::start(1))
    }

    /// Starts single nodes whose clusters have one cluster id.
    pub fn start_with_one_id() -> Result<Self> {
        let id = random_id();
        Self::start_with(Machine::share(), || Cluster::start_with_id(&id), || Cluster::start_with_id(&id))
    }

    fn start_with(
        machine: Machine,
        source: impl FnOnce() -> Result<Cluster> + Send,
        target: impl FnOnce() -> Result<Cluster>,
    ) -> Result<Self> {
        let clusters = Arc::new(Clusters::start(source, target)?);
        Ok(Self { clusters, _machine: machine })
    }

    /// Returns the pair of single nodes that all tests of a binary use unless they kill brokers; the first of them
    /// starts it. Topics and links must have names of their own: [`crate::topics::unique`] makes some.
    pub fn shared() -> Result<Self> {
        Self::shared_with(Machine::share())
    }

    /// Returns the same pair as [`Pair::shared`], while no other test runs.
    pub fn shared_alone() -> Result<Self> {
        Self::shared_with(Machine::alone())
    }

    fn shared_with(machine: Machine) -> Result<Self> {
        static SHARED: OnceLock<Result<Arc<Clusters>, String>> = OnceLock::new();
        let start = || Clusters::start(|| Cluster::start(1), || Cluster::start(1));
        Ok(Self { clusters: once(&SHARED, start)?, _machine: machine })
    }

    /// Returns the pair of single nodes with a secure listener that all tests of a binary use, as [`Pair::shared`].
    pub fn shared_secure() -> Result<Self> {
        static SHARED: OnceLock<Result<Arc<Clusters>, String>> = OnceLock::new();
        let machine = Machine::share();
        let start = || Clusters::start(|| Cluster::start_secure(1), || Cluster::start_secure(1));
        Ok(Self { clusters: once(&SHARED, start)?, _machine: machine })
    }
}

fn once(
    shared: &OnceLock<Result<Arc<Clusters>, String>>,
    start: impl FnOnce() -> Result<Clusters>,
) -> Result<Arc<Clusters>> {
    let clusters = shared.get_or_init(|| start().map(Arc::new).map_err(|error| format!("{error:#}")));
    clusters.clone().map_err(|error| anyhow!("the shared clusters did not start: {error}"))
}
