//! The emulator: a thread that carries packets over the path model in real time.

pub(crate) mod carrier;
pub(crate) mod report;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::{Direction, Flowing, Knob, Wan};
use carrier::{Carrier, Waker};
use report::{Lateness, Report};

/// The lowest real-time priority, which is enough to run before every thread that is not real-time.
const PRIORITY: u8 = 1;
/// Time by which the kernel may delay our timers, in nanoseconds; the kernel's default is 50,000.
const TIMER_SLACK: u64 = 1;
/// Packets delivered before packets are received again, so that neither side has to wait too long.
const DELIVERIES: usize = 256;
/// Time between two checks of the packets that the machine dropped and of the processor time that we used.
const AUDIT: Duration = Duration::from_millis(100);

/// A running emulator. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator<P> {
    shared: Arc<Shared<P>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared<P> {
    state: Mutex<State<P>>,
    waker: Waker,
    start: Instant,
}

#[derive(Debug)]
struct State<P> {
    wan: Wan<P>,
    lateness: Lateness,
    refused: u64,
    missed: u64,
    cpu: Duration,
    /// Time until which packets are collected before they are delivered.
    collects_until: Duration,
    stop: bool,
}

impl<P: Clone + Flowing + Send + 'static> Emulator<P> {
    /// Starts to carry `carrier`'s packets over `wan`. The script's times count from this moment.
    pub fn start(carrier: impl Carrier<Packet = P>, wan: Wan<P>) -> io::Result<Self> {
        let state = State {
            wan,
            lateness: Lateness::default(),
            refused: 0,
            missed: 0,
            cpu: Duration::ZERO,
            collects_until: Duration::ZERO,
            stop: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), waker: Waker::new()?, start: Instant::now() });
        let thread_shared = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("netem".to_owned()).spawn(move || run(&thread_shared, carrier))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub fn set(&self, direction: Direction, knob: Knob) {
        let mut state = self.shared.state();
        // The clock is read under the lock, so that the model's time never goes back.
        let now = self.shared.start.elapsed();
        state.wan.set(direction, knob, now);
        drop(state);
        self.shared.waker.wake();
    }

    pub fn set_both(&self, knobs: &[Knob]) {
        for direction in Direction::BOTH {
            knobs.iter().for_each(|&knob| self.set(direction, knob));
        }
    }

    pub fn report(&self) -> Report {
        self.shared.state().report(self.shared.start.elapsed())
    }

    /// Stops the emulator and returns its last report, or the system's error if the carrier failed before.
    pub fn stop(mut self) -> io::Result<Report> {
        self.join()?;
        Ok(self.report())
    }
}

impl<P> Emulator<P> {
    /// Stops the thread and waits for it. Without effect if it was stopped before.
    fn join(&mut self) -> io::Result<()> {
        self.shared.state().stop = true;
        self.shared.waker.wake();
        let died = || Err(io::Error::other("the emulator's thread died"));
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| died()))
    }
}

impl<P> Drop for Emulator<P> {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

impl<P> Shared<P> {
    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Clone + Flowing> State<P> {
    fn report(&self, ran: Duration) -> Report {
        let [forward, back] = Direction::BOTH.map(|direction| self.wan.counters(direction).clone());
        let lateness = self.lateness.clone();
        Report { ran, forward, back, refused: self.refused, missed: self.missed, cpu: self.cpu, lateness }
    }

    /// Receives new packets and delivers those that are due. Returns the time until the next packet is due.
    fn turn<C: Carrier<Packet = P>>(&mut self, carrier: &mut C, start: Instant) -> io::Result<Option<Duration>> {
        carrier.receive(&mut |direction, packet, length| {
            // A dropped packet is counted by the model.
            let _ = self.wan.offer(direction, packet, length, start.elapsed());
        })?;
        if start.elapsed() >= self.collects_until {
            self.deliver(carrier, start);
        }
        let next = self.wan.next_timeout().map(|next| next.max(self.collects_until));
        Ok(next.map(|next| next.saturating_sub(start.elapsed())))
    }

    fn deliver<C: Carrier<Packet = P>>(&mut self, carrier: &mut C, start: Instant) {
        let mut delivered = Vec::new();
        while delivered.len() < DELIVERIES {
            let Some((direction, delivery)) = self.wan.poll(start.elapsed()) else { break };
            delivered.push(delivery.due);
            self.refused += carrier.deliver(direction, delivery) as u64;
        }
        if delivered.is_empty() {
            return;
        }
        self.refused += carrier.flush() as u64;
        let now = start.elapsed();
        // If more packets are due, they are already late and are not collected.
        if delivered.len() < DELIVERIES {
            self.collects_until = now + carrier.moderation();
        }
        delivered.into_iter().for_each(|due| self.lateness.delivery.record(now.saturating_sub(due)));
    }
}

fn run<P: Clone + Flowing>(shared: &Shared<P>, mut carrier: impl Carrier<Packet = P>) -> io::Result<()> {
    shared.state().lateness.real_time = request_real_time();
    let mut audit = Instant::now();
    loop {
        let woken = Instant::now();
        let timeout = {
            let mut state = shared.state();
            let timeout = state.turn(&mut carrier, shared.start)?;
            if state.stop || woken >= audit {
                audit = woken + AUDIT;
                state.missed = carrier.missed()?;
                state.cpu = cpu_used()?;
            }
            if state.stop {
                return Ok(());
            }
            state.lateness.busy.record(woken.elapsed());
            timeout
        };
        carrier.wait(&shared.waker, timeout)?;
    }
}

/// Returns the processor time that the calling thread has used.
fn cpu_used() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let used = |time: TimeVal| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000);
    Ok(used(usage.user_time()) + used(usage.system_time()))
}

/// Requests real-time priority and exact timers for the calling thread. Returns whether priority was granted.
fn request_real_time() -> bool {
    // Without this, timers are 50 us late. A failure shows in the report's lateness.
    let _ = set_timerslack(TIMER_SLACK);
    let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY) else { return false };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy).is_ok()
}
