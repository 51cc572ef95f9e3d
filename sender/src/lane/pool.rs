//! Threads of the lanes of one sender: one for each lane of the link, whose number only grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use service::bell::Bell;
use service::lock::Lock;
use service::mailbox::Mailbox;
use shape::{Job, Library};
use tokio::sync::mpsc;
use wire::ids::LaneId;

use crate::config::Config;
use crate::config::derived;
use crate::lane::activity::ActivityMeter;
use crate::lane::compression::{Choice, Compression};
use crate::lane::progress::Progress;
use crate::lane::thread::{self, Command, LaneHandle, MAILBOX_CAPACITY};
use crate::lane::{Lane, Packing};
use crate::rate::Rates;
use crate::source::Source;
use crate::stop_reason::StopReason;

/// Threads of all lanes. They live as long as the process, and serve one session after the other.
pub(crate) struct LaneThreads<S> {
    source: S,
    packing: Packing,
    compression: Compression,
    library: Arc<Library>,
    /// Samples to learn from, until the first lane starts.
    jobs: Lock<Option<Receiver<Job>>>,
    lanes: Vec<LaneHandle>,
    failed: mpsc::Sender<StopReason>,
    /// Raw bytes at which a frame is full at the current rate.
    frame_bytes: Arc<AtomicU64>,
}

impl<S: Source> LaneThreads<S> {
    /// Creates a pool without lanes, and the queue that the first error arrives in; it stops the sender.
    pub(crate) fn new(config: &Config, source: S, rates: &Rates) -> (Self, mpsc::Receiver<StopReason>) {
        let (failed, failures) = mpsc::channel(1);
        let frame_bytes = Arc::new(AtomicU64::new(u64::MAX));
        let follows = Arc::clone(&frame_bytes);
        rates.follow(move |rate| follows.store(derived::frame_bytes(rate), Ordering::Relaxed));
        let packing = derived::packing(config);
        let (library, jobs) = Library::new();
        (
            Self {
                source,
                packing,
                compression: config.wan.compression,
                library,
                jobs: Lock::new(Some(jobs)),
                lanes: Vec::new(),
                failed,
                frame_bytes,
            },
            failures,
        )
    }

    /// Starts threads until there are at least `lanes` lanes.
    pub(crate) fn start(&mut self, lanes: u16) -> Result<(), StopReason> {
        let jobs = self.jobs.lock().take();
        if let Some(jobs) = jobs {
            // Ends with the library, when the lanes have ended.
            spawn("templates".to_owned(), move || jobs.into_iter().for_each(Job::learn))?;
        }
        for id in (self.lanes.len() as u16..lanes).map(LaneId) {
            let bell = Bell::default();
            let lane = Lane::new(id, self.source.open(id, bell.clone())?, self.packing);
            let lane = lane.with_library(Arc::clone(&self.library));
            let mailbox = Mailbox::new(MAILBOX_CAPACITY, bell.clone());
            let handle = LaneHandle {
                id,
                mailbox,
                bell,
                progress: Arc::default(),
                activity: Arc::default(),
                choice: Arc::new(Choice::new(self.compression)),
                frame_bytes: Arc::clone(&self.frame_bytes),
            };
            self.lanes.push(handle.clone());
            let failed = self.failed.clone();
            spawn(format!("lane-{id}"), move || {
                if let Err(error) = thread::run(lane, &handle) {
                    let _ = failed.try_send(error.into());
                }
            })?;
        }
        Ok(())
    }

    pub(crate) fn first(&self, lanes: u16) -> &[LaneHandle] {
        &self.lanes[..usize::from(lanes)]
    }

    pub(crate) fn progress(&self) -> Vec<Arc<Progress>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.progress)).collect()
    }

    pub(crate) fn activities(&self) -> Vec<Arc<ActivityMeter>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.activity)).collect()
    }

    pub(crate) fn choices(&self) -> Vec<Arc<Choice>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.choice)).collect()
    }

    pub(crate) fn stop(&self) {
        for lane in &self.lanes {
            let _ = lane.mailbox.push(Command::Stop);
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<(), StopReason> {
    let spawned = std::thread::Builder::new().name(name).spawn(run);
    spawned
        .map(drop)
        .map_err(|_| StopReason::Broken("the operating system refuses another thread; raise its limit on threads"))
}
