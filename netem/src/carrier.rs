//! What brings real packets to the emulator and takes them away again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::path::Delivery;
use crate::wan::Direction;

/// Packets that a carrier takes from one socket or device before it looks at the next, so that a flood in one
/// direction does not make the other late.
pub const BATCH: usize = 64;

/// Real packets, coming and going. It is driven by one thread, never blocks but in [`Carrier::wait`], and holds
/// no packet back after [`Carrier::flush`].
pub trait Carrier: Send + 'static {
    /// A packet, with what the carrier must know to send it on.
    type Packet: Clone + Send + 'static;

    /// Sleeps until a packet may have come, `waker` was rung, or `timeout` has passed.
    ///
    /// # Errors
    /// The machine's; the emulator stops with it.
    fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) -> io::Result<()>;

    /// Hands over packets that have come, each with its length as an IP packet: no more of a socket once it has
    /// given [`BATCH`].
    ///
    /// # Errors
    /// The machine's; the emulator stops with it.
    fn receive(&mut self, take: &mut dyn FnMut(Direction, Self::Packet, usize)) -> io::Result<()>;

    /// Sends a packet on, now or with others at the next [`Carrier::flush`]; says how many packets the machine did not
    /// take. They are counted as [`refused`](crate::report::Report::refused), and the emulator goes on.
    fn deliver(&mut self, direction: Direction, delivery: Delivery<Self::Packet>) -> usize;

    /// Sends on what was not yet; says how many packets the machine did not take.
    fn flush(&mut self) -> usize {
        0
    }

    /// How long to collect packets after others were delivered.
    fn moderation(&self) -> Duration {
        Duration::ZERO
    }

    /// Packets that the machine dropped before the emulator saw them, as far as this carrier can know. Asked a
    /// few times a second.
    ///
    /// # Errors
    /// The machine's; the emulator stops with it.
    fn missed(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}

/// Wakes a carrier's thread.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker that nobody has rung.
    ///
    /// # Errors
    /// The machine's.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?))
    }

    /// Wakes the thread, now or when it would sleep next.
    pub fn ring(&self) {
        // Full means that it is about to wake.
        let _ = self.0.write(1);
    }

    /// Sleeps until one of `sources` can be read, this rings, or `timeout` has passed: to the nanosecond, as far
    /// as the machine's timers go.
    ///
    /// # Errors
    /// The machine's.
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
