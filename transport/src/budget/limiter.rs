//! Limiter: the bandwidth of one direction of a link, shared by all of its sockets.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;
use wire::units::Rate;

use super::bucket::{Bucket, PACKET_BYTES, TRANSMIT_TIME};
use super::queue::{Queue, Turn, WaiterId};

/// Bandwidth of one direction of a link. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    began: Instant,
    limited: AtomicBool,
    /// Most packets in one transmit.
    segments: AtomicUsize,
    wire_bytes: AtomicU64,
    packets: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    queue: Queue,
    /// Start of the present wait of any channel; `None` while none waits.
    waiting_since: Option<Duration>,
    waited: Duration,
}

/// Use of a budget so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// IP bytes that were sent.
    pub wire_bytes: u64,
    pub packets: u64,
    /// Total time in which at least one channel waited for the budget.
    pub waited: Duration,
}

impl Budget {
    /// Makes a budget with this rate; `None` means no limit.
    pub fn new(rate: Option<Rate>) -> Self {
        let budget = Self(Arc::new(Shared {
            began: Instant::now(),
            limited: AtomicBool::new(false),
            segments: AtomicUsize::new(usize::MAX),
            wire_bytes: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            state: Mutex::default(),
        }));
        budget.set_rate(rate);
        budget
    }

    /// Changes the rate; `None` means no limit. Waiting channels are woken.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let mut state = self.lock();
        let now = self.now();
        if state.bucket.rate() == rate {
            return;
        }
        state.bucket.set_rate(rate, now);
        self.0.limited.store(rate.is_some(), Ordering::Relaxed);
        let segments = rate.map_or(usize::MAX, segments);
        self.0.segments.store(segments, Ordering::Relaxed);
        state.queue.open(now);
        state.queue.wake_all();
        if rate.is_none() {
            state.queue.clear();
            state.stop_waiting(now);
        }
    }

    pub fn rate(&self) -> Option<Rate> {
        self.lock().bucket.rate()
    }

    pub fn usage(&self) -> Usage {
        let state = self.lock();
        let now = self.now();
        let waiting = state.waiting_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Usage {
            wire_bytes: self.0.wire_bytes.load(Ordering::Relaxed),
            packets: self.0.packets.load(Ordering::Relaxed),
            waited: state.waited + waiting,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.limited.load(Ordering::Relaxed)
    }

    pub(super) fn segments(&self) -> usize {
        self.0.segments.load(Ordering::Relaxed)
    }

    /// Takes `bytes` from the budget if they may leave now. Otherwise it sets the moment for which [`Budget::turn`] waits.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let now = self.now();
        match state.bucket.take(bytes, now) {
            Ok(()) => {
                state.queue.next(now);
                if state.queue.is_empty() {
                    state.stop_waiting(now);
                }
                true
            }
            Err(until) => {
                state.queue.open(until);
                state.waiting_since.get_or_insert(now);
                false
            }
        }
    }

    /// Returns bytes that the socket did not accept.
    pub(super) fn give_back(&self, bytes: u64) {
        self.lock().bucket.give_back(bytes);
    }

    pub(super) fn record(&self, bytes: u64, packets: u64) {
        self.0.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.packets.fetch_add(packets, Ordering::Relaxed);
    }

    /// Succeeds if it is `waiter`'s turn. Otherwise it returns when to ask again, unless `waker` is woken earlier.
    pub(super) fn turn(&self, waiter: WaiterId, waker: &Waker) -> Result<(), Instant> {
        let mut state = self.lock();
        let now = self.now();
        match state.queue.turn(waiter, waker, now) {
            Turn::Now => Ok(()),
            Turn::AskAt(at) => Err(self.0.began + at),
        }
    }

    /// Removes `waiter` from the queue.
    pub(super) fn leave(&self, waiter: WaiterId) {
        let mut state = self.lock();
        let now = self.now();
        state.queue.leave(waiter, now);
        if state.queue.is_empty() {
            state.stop_waiting(now);
        }
    }

    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0.began)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stop_waiting(&mut self, now: Duration) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_sub(since);
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(None)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("rate", &self.rate()).field("usage", &self.usage()).finish()
    }
}

/// Returns the number of full packets that fit [`TRANSMIT_TIME`], at least one.
fn segments(rate: Rate) -> usize {
    usize::try_from(rate.bytes_in(TRANSMIT_TIME) / PACKET_BYTES).unwrap_or(usize::MAX).max(1)
}
