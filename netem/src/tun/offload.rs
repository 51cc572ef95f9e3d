//! What a network card does for the kernel, done for a TUN device: one packet of the kernel's that is a whole burst
//! becomes the packets that a wire would carry, and packets that arrive together become one burst again. Between
//! the two each packet is by itself, with a good checksum, and meets its own fate.

use std::io;

use tun_rs::{GROTable, SyncDevice, VIRTIO_NET_HDR_LEN};

use super::PACKET_MAX;

/// Packets of one burst, at most: the devices say so to the kernel, which splits what would be more.
pub(super) const SEGMENTS_MAX: usize = 64;

/// Takes a device's bursts apart.
pub(super) struct Splitter {
    burst: Vec<u8>,
    packets: Vec<Vec<u8>>,
    lengths: [usize; SEGMENTS_MAX],
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            burst: vec![0; VIRTIO_NET_HDR_LEN + PACKET_MAX],
            packets: vec![vec![0; PACKET_MAX]; SEGMENTS_MAX],
            lengths: [0; SEGMENTS_MAX],
        }
    }
}

impl Splitter {
    /// The packets of the next burst.
    ///
    /// # Errors
    /// The device's; that there is none is [`io::ErrorKind::WouldBlock`].
    pub(super) fn receive(&mut self, device: &SyncDevice) -> io::Result<impl Iterator<Item = &[u8]>> {
        let count = device.recv_multiple(&mut self.burst, &mut self.packets, &mut self.lengths, 0)?;
        Ok(self.packets.iter().zip(self.lengths).take(count).map(|(packet, length)| &packet[..length]))
    }
}

/// Puts packets for a device together.
#[derive(Default)]
pub(super) struct Joiner {
    /// Room for packets; the first ones are held, behind room for the header that says what a burst is.
    packets: Vec<Vec<u8>>,
    held: usize,
    flows: GROTable,
}

impl Joiner {
    pub(super) fn is_full(&self) -> bool {
        self.held == SEGMENTS_MAX
    }

    /// Holds a packet until [`Joiner::send`].
    pub(super) fn hold(&mut self, packet: &[u8]) {
        if self.held == self.packets.len() {
            // As long as any burst can become: it is never moved.
            self.packets.push(Vec::with_capacity(2 * VIRTIO_NET_HDR_LEN + PACKET_MAX));
        }
        let room = &mut self.packets[self.held];
        room.clear();
        room.resize(VIRTIO_NET_HDR_LEN, 0);
        room.extend_from_slice(packet);
        self.held += 1;
    }

    /// Sends what is held, and says how many packets the device refused: where it refused one, all.
    pub(super) fn send(&mut self, device: &SyncDevice) -> usize {
        let held = std::mem::take(&mut self.held);
        let sent = device.send_multiple(&mut self.flows, &mut self.packets[..held], VIRTIO_NET_HDR_LEN);
        if sent.is_ok() { 0 } else { held }
    }
}
