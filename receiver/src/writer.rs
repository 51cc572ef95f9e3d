//! Writers: the few transactional producers of a receiver, which all its lanes share.
//!
//! A transaction costs the target the same whether it has the parts of one lane or of a hundred, and a producer has
//! threads and connections. So what a process owns it commits together. Lanes are opened and recovered on threads of their
//! own, so that what hangs delays no other lane.
//!
//! - `shared`: a producer that lanes share, and a lane's part of it
//! - `combined`: entries of lanes that are being opened, in one transaction
//! - `transaction`: one transaction over the parts of several lanes
//! - `thread`: the thread that drives the lanes of a writer
//! - `link_share`: resources that the lanes of one link share
//! - `pace`: rate of transactions

mod combined;
pub(crate) mod link_share;
pub(crate) mod pace;
pub(crate) mod shared;
pub(crate) mod thread;
pub(crate) mod transaction;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka::KafkaError;
use service::bell::Bell;
use service::lock::Lock;
use service::mailbox::Mailbox;
use tokio::runtime::Handle;
use transport::clock::Clock;
use wire::ids::LaneId;

use crate::lane::Lane;
use crate::lane::handle::{LaneHandle, MAILBOX_CAPACITY};
use crate::lane::memory::DecodeMemory;
use crate::lane::runner::{LaneRunner, Place};
use crate::lane::size::TransactionSize;
use crate::link::blocking::Blocking;
use crate::target::Target;
use crate::target::custody::{Holder, WriterId};
use link_share::LinkShare;
use pace::CommitPace;
use shared::{SharedLane, SharedWriter};
use thread::{Arrivals, WriterThread};

/// Interval at which a stop looks whether the threads have ended.
const STOP_STEP: Duration = Duration::from_millis(5);
/// Lanes that may be opened or recovered at the same time, and those of one link.
const OPENING_MAX: usize = 16;
const OPENING_OF_LINK_MAX: usize = 4;
/// Processor cores for each bulk writer, and most of these.
const CORES_PER_WRITER: usize = 2;
const BULK_WRITERS_MAX: usize = 4;

/// A writer and the way to its thread.
pub(crate) struct Home<T: Target> {
    place: Place,
    writer: Arc<SharedWriter<T::Writer>>,
    arrivals: Arrivals<T>,
    bell: Bell,
    /// Lanes that belong here, away or not.
    lanes: AtomicUsize,
    ends: AtomicBool,
}

impl<T: Target> Home<T> {
    /// Takes a lane that is new here.
    fn adopt(&self, runner: Box<LaneRunner<T>>) {
        self.lanes.fetch_add(1, Ordering::AcqRel);
        runner.handle().mailbox.hand_over(self.bell.clone());
        self.take_back(runner);
    }

    /// Takes a lane that was away.
    fn take_back(&self, runner: Box<LaneRunner<T>>) {
        // There are fewer lanes than this mailbox has places.
        let _ = self.arrivals.push(runner);
    }

    /// Notes that a lane has ended, or has another home.
    fn release(&self) {
        self.lanes.fetch_sub(1, Ordering::AcqRel);
    }

    fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Acquire) && self.lanes.load(Ordering::Acquire) == 0
    }
}

/// The homes of all lanes.
struct Homes<T: Target> {
    bulk: Vec<Arc<Home<T>>>,
    strict: Arc<Home<T>>,
    careful: Arc<Home<T>>,
}

impl<T: Target> Homes<T> {
    fn of(&self, place: Place, runner: &LaneRunner<T>) -> &Arc<Home<T>> {
        match place {
            Place::Bulk => self.bulk_of(runner.link(), runner.id()),
            Place::Strict => &self.strict,
            Place::Careful => &self.careful,
        }
    }

    fn bulk_of(&self, link: &str, lane: LaneId) -> &Arc<Home<T>> {
        let mut hasher = DefaultHasher::new();
        (link, lane).hash(&mut hasher);
        &self.bulk[hasher.finish() as usize % self.bulk.len()]
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Home<T>>> {
        self.bulk.iter().chain([&self.strict, &self.careful])
    }
}

/// Facts that every writer of a receiver has in common.
#[derive(Clone)]
pub(crate) struct WriterConfig {
    /// Name of the receiver, which its transactional ids have.
    pub(crate) instance: String,
    pub(crate) transaction_timeout: Duration,
    pub(crate) pace: Arc<CommitPace>,
    pub(crate) clock: Clock,
}

/// The writers of a receiver, and their threads.
pub(crate) struct Writers<T: Target> {
    target: Arc<T>,
    config: WriterConfig,
    opening: Blocking,
    homes: Arc<Homes<T>>,
    threads: Lock<Vec<JoinHandle<()>>>,
}

impl<T: Target> Writers<T> {
    /// Starts the threads. Producers are initialised with the first lane of each. It needs the runtime of the process.
    pub(crate) fn start(target: T, config: WriterConfig) -> Result<Self, KafkaError> {
        let target = Arc::new(target);
        let generation = target.generation();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bulk = (cores / CORES_PER_WRITER).clamp(1, BULK_WRITERS_MAX);
        let home = |place, name: &str| {
            let bell = Bell::default();
            Ok::<_, KafkaError>(Arc::new(Home {
                place,
                writer: SharedWriter::new(WriterId::of_writer(&config.instance, name), target.writer()?),
                arrivals: Mailbox::new(usize::MAX, bell.clone()),
                bell,
                lanes: AtomicUsize::new(0),
                ends: AtomicBool::new(false),
            }))
        };
        let homes = Arc::new(Homes {
            bulk: (0..bulk).map(|number| home(Place::Bulk, &format!("bulk-{number}"))).collect::<Result<_, _>>()?,
            strict: home(Place::Strict, "strict")?,
            careful: home(Place::Careful, "careful")?,
        });
        let mut threads = Vec::new();
        for (ticket, home) in homes.all().enumerate() {
            target.ring_when_changed(&home.bell);
            let thread = WriterThread {
                home: Arc::clone(home),
                homes: Arc::clone(&homes),
                target: Arc::clone(&target),
                generation,
                runtime: Handle::current(),
                pace: Arc::clone(&config.pace),
                ticket: ticket as u64,
                size: TransactionSize::new(config.transaction_timeout),
                lanes: VecDeque::new(),
                width: usize::MAX,
                one_was_alone: false,
            };
            let spawned = std::thread::Builder::new().name(format!("writer-{ticket}")).spawn(move || thread.run());
            threads.push(spawned.map_err(|error| KafkaError::misused("start of a writer", error.to_string()))?);
        }
        let opening = Blocking::new(OPENING_MAX);
        Ok(Self { target, config, opening, homes, threads: Lock::new(threads) })
    }

    /// Makes the share of a link.
    pub(crate) fn share(&self, memory: Arc<DecodeMemory>) -> LinkShare {
        LinkShare { memory, opening: self.opening.part(OPENING_OF_LINK_MAX) }
    }

    /// Makes a writer of its own, for what is no record of a lane.
    pub(crate) fn spare_writer(&self) -> Result<T::Writer, KafkaError> {
        self.target.writer()
    }

    /// Returns access to what the target stores.
    pub(crate) fn states(&self) -> Result<T::States, KafkaError> {
        self.target.states()
    }

    /// Returns the clients of the target.
    pub(crate) fn target(&self) -> Arc<T> {
        Arc::clone(&self.target)
    }

    /// Begins to serve a lane.
    pub(crate) fn start_lane(&self, link: &str, id: LaneId, share: Arc<LinkShare>) -> Result<LaneHandle, KafkaError> {
        let home = self.homes.bulk_of(link, id);
        let handle = LaneHandle::new(Mailbox::new(MAILBOX_CAPACITY, home.bell.clone()));
        let target = SharedLane::new(&home.writer, self.target.states()?, link, id);
        let lane = Lane::new(id, Holder(rand::random()), target, Arc::clone(&share.memory));
        let clock = self.config.clock.clone();
        home.adopt(Box::new(LaneRunner::new(lane, handle.clone(), link, share, clock)));
        Ok(handle)
    }

    /// Ends the threads once their lanes have ended, or abandons them at `deadline`.
    pub(crate) fn stop(&self, deadline: Instant) {
        for home in self.homes.all() {
            home.ends.store(true, Ordering::Release);
            home.bell.ring();
        }
        for thread in std::mem::take(&mut *self.threads.lock()) {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(STOP_STEP);
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}
