//! Carriers: they bring real packets to the emulator and send them on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::{Delivery, Direction};

/// Packets that a carrier takes from one socket or device before it turns to the next.
pub(crate) const BATCH: usize = 64;

/// A source and a sink of real packets. One thread drives it. It blocks only in [`Carrier::wait`] and holds no packet
/// after [`Carrier::flush`]. A system error stops the emulator.
pub trait Carrier: Send + 'static {
    /// A packet, with everything that the carrier needs to send it on.
    type Packet: Clone + Send + 'static;

    /// Sleeps until a packet may have arrived, `waker` wakes the thread, or `timeout` has passed.
    fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) -> io::Result<()>;

    /// Passes each packet that has arrived to `take`, with its length as an IP packet; at most [`BATCH`] per socket.
    fn receive(&mut self, take: &mut dyn FnMut(Direction, Self::Packet, usize)) -> io::Result<()>;

    /// Sends a packet on, now or with others at the next [`Carrier::flush`]. Returns how many packets the system refused;
    /// they count as `refused` in the report, and the emulator continues.
    fn deliver(&mut self, direction: Direction, delivery: Delivery<Self::Packet>) -> usize;

    /// Sends the packets that were not sent yet. Returns how many packets the system refused.
    fn flush(&mut self) -> usize {
        0
    }

    /// Returns how long to collect packets after others were delivered.
    fn moderation(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns how many packets the system dropped before the emulator read them, as far as the carrier can know.
    fn missed(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}

#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?))
    }

    /// Wakes the thread now, or the next time that it would sleep.
    pub fn wake(&self) {
        // The counter is full only if a wake-up is already pending.
        let _ = self.0.write(1);
    }

    /// Sleeps until one of `sources` is readable, the waker is used, or `timeout` has passed. The timeout has nanosecond
    /// resolution, as far as the system's timers allow.
    pub fn sleep(&self, sources: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
        let all = sources.iter().copied().chain([self.0.as_fd()]);
        let mut waiting: Vec<PollFd<'_>> = all.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        match ppoll(&mut waiting, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match self.0.read() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
