//! The thread that carries packets over the model, in real time.

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

use crate::carrier::{Carrier, Waker};
use crate::conditions::Knob;
use crate::flow::Flowing;
use crate::report::{Lateness, Report};
use crate::wan::{Direction, Wan};

/// The lowest real-time priority: enough to go before everything that is not real-time.
const PRIORITY: u8 = 1;
/// How far the kernel may put off a timer of ours, in nanoseconds; 50,000 unless said.
const TIMER_SLACK: u64 = 1;
/// Packets delivered before packets are received again, so that neither waits for all of the other.
const DELIVERIES: usize = 256;

/// How often the machine is asked what it dropped and what we cost it.
const AUDIT: Duration = Duration::from_millis(100);

/// A running emulator. It stops when this is dropped.
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
    /// When packets are delivered again; until then they are collected.
    collects_until: Duration,
    stop: bool,
}

impl<P: Clone + Flowing + Send + 'static> Emulator<P> {
    /// Carries `carrier`'s packets over `wan` from now on: this is the moment from which its script counts.
    ///
    /// # Errors
    /// The machine has no thread or descriptor left.
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
        let runs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("netem".to_owned()).spawn(move || run(&runs, carrier))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Turns a knob now.
    pub fn set(&self, direction: Direction, knob: Knob) {
        let mut state = self.shared.state();
        // Read under the lock: the model's time never goes back.
        let now = self.shared.start.elapsed();
        state.wan.set(direction, knob, now);
        drop(state);
        self.shared.waker.ring();
    }

    /// Turns knobs in both directions now.
    pub fn set_both(&self, knobs: &[Knob]) {
        for direction in Direction::BOTH {
            knobs.iter().for_each(|&knob| self.set(direction, knob));
        }
    }

    /// What has happened so far.
    pub fn report(&self) -> Report {
        self.shared.state().report(self.shared.start.elapsed())
    }

    /// Stops, and says what has happened.
    ///
    /// # Errors
    /// What the machine answered the carrier with, if that stopped it before.
    pub fn stop(mut self) -> io::Result<Report> {
        self.end()?;
        Ok(self.report())
    }

    fn end(&mut self) -> io::Result<()> {
        self.shared.state().stop = true;
        self.shared.waker.ring();
        let died = || Err(io::Error::other("the emulator's thread died"));
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| died()))
    }
}

impl<P> Drop for Emulator<P> {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.waker.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
        let &Self { refused, missed, cpu, .. } = self;
        Report { ran, forward, back, refused, missed, cpu, lateness: self.lateness.clone() }
    }

    /// Receives what has come, delivers what is due, and says how long nothing will be.
    fn turn<C: Carrier<Packet = P>>(&mut self, carrier: &mut C, start: Instant) -> io::Result<Option<Duration>> {
        carrier.receive(&mut |direction, packet, length| {
            // What the model drops, it counts.
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
        // Where more is due, it is not collected but late.
        if delivered.len() < DELIVERIES {
            self.collects_until = now + carrier.moderation();
        }
        delivered.into_iter().for_each(|due| self.lateness.record(now.saturating_sub(due)));
    }
}

fn run<P: Clone + Flowing>(shared: &Shared<P>, mut carrier: impl Carrier<Packet = P>) -> io::Result<()> {
    shared.state().lateness.real_time = go_first();
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
            state.lateness.busy(woken.elapsed());
            timeout
        };
        carrier.wait(&shared.waker, timeout)?;
    }
}

/// Processor time that the calling thread has taken.
fn cpu_used() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let spent =
        |time: TimeVal| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000);
    Ok(spent(usage.user_time()) + spent(usage.system_time()))
}

/// Asks to run before everything that is not real-time, and to be woken on the dot; whether it may.
fn go_first() -> bool {
    // Without it timers are 50 us late: measured, and reported.
    let _ = set_timerslack(TIMER_SLACK);
    let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY) else { return false };
    let first = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), first).is_ok()
}
