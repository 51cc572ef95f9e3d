//! The lanes' threads of one sender: as many as the link has lanes, which only grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use service::bell::Bell;
use service::mailbox::Mailbox;
use tokio::sync::mpsc;
use wire::ids::LaneId;

use crate::config::Config;
use crate::config::derived;
use crate::lane::activity::ActivityMeter;
use crate::lane::progress::Progress;
use crate::lane::thread::{self, Command, LaneHandle, MAILBOX_CAPACITY};
use crate::lane::{Lane, Packing};
use crate::rate::Rates;
use crate::run::Halted;
use crate::source::Source;

/// They live as long as the process, and serve one session after the other.
pub(crate) struct LaneThreads<S> {
    source: S,
    packing: Packing,
    lanes: Vec<LaneHandle>,
    failed: mpsc::Sender<Halted>,
    /// Raw bytes at which a frame is full at the rate of the moment.
    frame_bytes: Arc<AtomicU64>,
}

impl<S: Source> LaneThreads<S> {
    /// None yet; and where the first error comes from that halts the sender.
    pub(crate) fn new(config: &Config, source: S, rates: &Rates) -> (Self, mpsc::Receiver<Halted>) {
        let (failed, failures) = mpsc::channel(1);
        let frame_bytes = Arc::new(AtomicU64::new(u64::MAX));
        let follows = Arc::clone(&frame_bytes);
        rates.follow(move |rate| follows.store(derived::frame_bytes(rate), Ordering::Relaxed));
        let packing = derived::packing(config);
        (Self { source, packing, lanes: Vec::new(), failed, frame_bytes }, failures)
    }

    /// At least `lanes` lanes.
    pub(crate) fn start(&mut self, lanes: u16) -> Result<(), Halted> {
        for id in (self.lanes.len() as u16..lanes).map(LaneId) {
            let bell = Bell::default();
            let lane = Lane::new(id, self.source.open(id, bell.clone())?, self.packing);
            let mailbox = Mailbox::new(MAILBOX_CAPACITY, bell.clone());
            let (progress, frame_bytes) = (Arc::new(Progress::default()), Arc::clone(&self.frame_bytes));
            let handle = LaneHandle { id, mailbox, bell, progress, activity: Arc::default(), frame_bytes };
            self.lanes.push(handle.clone());
            let failed = self.failed.clone();
            let spawned = std::thread::Builder::new().name(format!("lane-{id}")).spawn(move || {
                if let Err(error) = thread::run(lane, &handle) {
                    let _ = failed.try_send(error.into());
                }
            });
            spawned.map_err(|_| Halted::Broken("the system refuses another thread"))?;
        }
        Ok(())
    }

    /// The first `lanes` of them.
    pub(crate) fn first(&self, lanes: u16) -> &[LaneHandle] {
        &self.lanes[..usize::from(lanes)]
    }

    /// What each has done.
    pub(crate) fn progress(&self) -> Vec<Arc<Progress>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.progress)).collect()
    }

    /// What each spends its time on.
    pub(crate) fn activities(&self) -> Vec<Arc<ActivityMeter>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.activity)).collect()
    }

    /// Ends them all.
    pub(crate) fn stop(&self) {
        for lane in &self.lanes {
            let _ = lane.mailbox.push(Command::Stop);
        }
    }
}
