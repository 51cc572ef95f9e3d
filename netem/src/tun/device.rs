//! The TUN devices at both ends of the WAN, and the carrier that reads and writes them.
//!
//! Like network cards, the devices take a burst of packets from the kernel in one piece and return bursts. Between the
//! two, each packet is separate, has a valid checksum, and is lost by itself.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::time::Duration;

use tun_rs::SyncDevice;

use super::offload::{Joiner, Splitter};
use crate::emulator::carrier::{BATCH, Carrier, Waker};
use crate::{Delivery, Direction};

/// Time for which packets are collected after others were delivered, as a busy network card does before it interrupts
/// the machine: about 6 full packets at 600 Mbit/s. The first packet after a pause is not delayed.
const MODERATION: Duration = Duration::from_micros(100);
pub(super) const DEVICE: &str = "wan";

pub(super) struct End {
    device: SyncDevice,
    arriving: Joiner,
    /// An open `/proc/net/dev` of that namespace; it stays valid outside the namespace.
    statistics: File,
}

pub(super) struct Tun {
    /// The source's end, then the target's.
    ends: [End; 2],
    splitter: Splitter,
}

impl End {
    pub(super) fn create() -> io::Result<Self> {
        let device = tun_rs::DeviceBuilder::new().name(DEVICE).with(|device| {
            device.offload(true).packet_information(false);
        });
        let device = device.build_sync()?;
        device.set_nonblocking(true)?;
        Ok(Self { device, arriving: Joiner::default(), statistics: File::open("/proc/thread-self/net/dev")? })
    }

    /// Writes the packets that are about to arrive. Returns how many the device refused.
    fn send(&mut self) -> usize {
        self.arriving.send(&self.device)
    }

    /// Returns how many packets the kernel dropped before we read them.
    fn dropped(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        self.statistics.rewind()?;
        self.statistics.read_to_string(&mut text)?;
        transmit_drops(&text, DEVICE).ok_or_else(|| io::Error::other("/proc/net/dev does not show the device"))
    }
}

/// Returns the `drop` column of a device's transmit side: the 12th number after the device's name.
fn transmit_drops(proc_net_dev: &str, device: &str) -> Option<u64> {
    let columns = proc_net_dev.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    columns.split_whitespace().nth(11)?.parse().ok()
}

impl Tun {
    pub(super) fn new(source: End, target: End) -> Self {
        Self { ends: [source, target], splitter: Splitter::default() }
    }
}

impl Carrier for Tun {
    type Packet = Vec<u8>;

    fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) -> io::Result<()> {
        let [source, target] = &self.ends;
        waker.sleep(&[source.device.as_fd(), target.device.as_fd()], timeout)
    }

    fn receive(&mut self, take: &mut dyn FnMut(Direction, Self::Packet, usize)) -> io::Result<()> {
        for (end, direction) in self.ends.iter().zip(Direction::BOTH) {
            let mut received = 0;
            while received < BATCH {
                match self.splitter.receive(&end.device) {
                    Ok(packets) => {
                        for packet in packets {
                            take(direction, packet.to_vec(), packet.len());
                            received += 1;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, direction: Direction, mut delivery: Delivery<Self::Packet>) -> usize {
        let [source, target] = &mut self.ends;
        let to = match direction {
            Direction::Forward => target,
            Direction::Back => source,
        };
        let damaged = delivery.flip.is_some();
        let refused = if damaged || to.arriving.is_full() { to.send() } else { 0 };
        let mut packet = std::mem::take(&mut delivery.packet);
        delivery.damage(&mut packet);
        to.arriving.add(&packet);
        if damaged {
            // It is sent by itself: with a flipped bit it may no longer be an IP packet, and then the path has lost it.
            let _ = to.send();
        }
        refused
    }

    fn flush(&mut self) -> usize {
        self.ends.iter_mut().map(End::send).sum()
    }

    fn moderation(&self) -> Duration {
        MODERATION
    }

    fn missed(&mut self) -> io::Result<u64> {
        let [source, target] = &mut self.ends;
        Ok(source.dropped()? + target.dropped()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_drops_from_their_column() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                     lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n   \
                     wan: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(transmit_drops(text, "wan"), Some(12));
        assert_eq!(transmit_drops(text, "lo"), Some(0));
        assert_eq!(transmit_drops(text, "wa"), None);
    }
}
