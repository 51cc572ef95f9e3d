//! The bandwidth that a link was given, kept at the UDP socket: one limiter for all that leaves through any of its
//! sockets, whatever it is: records, acks, probes, what is sent again.
//!
//! What is counted are IP bytes: each datagram with its UDP and IP header, 28 bytes for IPv4 and 48 for IPv6. Over any
//! second no more than the rate and half a percent leaves, over any 100 ms no more than the rate and 5 percent, each
//! and one transmit of at least a full packet. Without a rate nothing is asked and nothing waits.
//!
//! - [`bucket`]: what may leave when, told the time
//! - `queue`: whose turn it is among those who wait
//! - [`sockets`]: sockets that ask before they send

pub mod bucket;
mod queue;
pub mod sockets;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;
use wire::units::Rate;

use bucket::{Bucket, PACKET_BYTES, TRANSMIT_TIME};
use queue::{Queue, Turn, WaiterId};
pub use sockets::BudgetSockets;

/// One direction's bandwidth. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    began: Instant,
    limited: AtomicBool,
    /// How many packets one transmit may have.
    segments: AtomicUsize,
    wire_bytes: AtomicU64,
    packets: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    queue: Queue,
    /// Since when somebody has been waiting.
    waiting_since: Option<Duration>,
    waited: Duration,
}

/// What became of a budget so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// IP bytes that left.
    pub wire_bytes: u64,
    /// Packets that left.
    pub packets: u64,
    /// How long something has waited for the budget, all in all.
    pub waited: Duration,
}

impl Budget {
    /// With this rate; `None` is no limit.
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

    /// Another rate from now on; `None` is no limit. What waits is looked at anew.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let (mut state, now) = (self.lock(), self.now());
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

    /// The rate that holds.
    pub fn rate(&self) -> Option<Rate> {
        self.lock().bucket.rate()
    }

    /// What became of it so far.
    pub fn usage(&self) -> Usage {
        let (state, now) = (self.lock(), self.now());
        let waiting = state.waiting_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Usage {
            wire_bytes: self.0.wire_bytes.load(Ordering::Relaxed),
            packets: self.0.packets.load(Ordering::Relaxed),
            waited: state.waited + waiting,
        }
    }

    fn is_limited(&self) -> bool {
        self.0.limited.load(Ordering::Relaxed)
    }

    fn segments(&self) -> usize {
        self.0.segments.load(Ordering::Relaxed)
    }

    /// Whether `bytes` may leave now. If not, the next moment at which it is worth asking is noted, for
    /// [`Budget::turn`] to wait for.
    fn take(&self, bytes: u64) -> bool {
        let (mut state, now) = (self.lock(), self.now());
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

    /// The socket did not take what was taken for it.
    fn give_back(&self, bytes: u64) {
        self.lock().bucket.give_back(bytes);
    }

    fn record(&self, bytes: u64, packets: u64) {
        self.0.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.packets.fetch_add(packets, Ordering::Relaxed);
    }

    /// Whether it is `waiter`'s turn; if not, when to ask again, unless `waker` is woken before.
    fn turn(&self, waiter: WaiterId, waker: &Waker) -> Result<(), Instant> {
        let (mut state, now) = (self.lock(), self.now());
        match state.queue.turn(waiter, waker, now) {
            Turn::Now => Ok(()),
            Turn::AskAt(at) => Err(self.0.began + at),
        }
    }

    /// `waiter` waits no more.
    fn leave(&self, waiter: WaiterId) {
        let (mut state, now) = (self.lock(), self.now());
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

/// No limit.
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

/// How many full packets fit [`TRANSMIT_TIME`], and at least one.
fn segments(rate: Rate) -> usize {
    usize::try_from(rate.bytes_in(TRANSMIT_TIME) / PACKET_BYTES).unwrap_or(usize::MAX).max(1)
}
