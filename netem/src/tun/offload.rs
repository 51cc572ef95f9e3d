//! Segmentation offload for a TUN device, as a network card does it for the kernel. A packet of the kernel that is a
//! whole burst is split into the packets that a wire would carry, and packets that arrive together are joined into a
//! burst again. Between the two, each packet is separate, has a valid checksum, and meets its own fate.

use std::io;

use tun_rs::{GROTable, SyncDevice, VIRTIO_NET_HDR_LEN};

const PACKET_MAX: usize = 65_535;
/// Packets of one burst at most. The devices announce this limit to the kernel, which splits longer bursts.
pub(super) const SEGMENTS_MAX: usize = 64;

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
    /// Reads the packets of the next burst.
    pub(super) fn receive(&mut self, device: &SyncDevice) -> io::Result<impl Iterator<Item = &[u8]>> {
        let count = device.recv_multiple(&mut self.burst, &mut self.packets, &mut self.lengths, 0)?;
        Ok(self.packets.iter().zip(self.lengths).take(count).map(|(packet, length)| &packet[..length]))
    }
}

#[derive(Default)]
pub(super) struct Joiner {
    /// Buffers for packets, each with space in front for the header that describes a burst. The first `held` are in use.
    packets: Vec<Vec<u8>>,
    held: usize,
    flows: GROTable,
}

impl Joiner {
    pub(super) fn is_full(&self) -> bool {
        self.held == SEGMENTS_MAX
    }

    pub(super) fn add(&mut self, packet: &[u8]) {
        if self.held == self.packets.len() {
            // The capacity fits any burst, so that the buffer never moves.
            self.packets.push(Vec::with_capacity(2 * VIRTIO_NET_HDR_LEN + PACKET_MAX));
        }
        let room = &mut self.packets[self.held];
        room.clear();
        room.resize(VIRTIO_NET_HDR_LEN, 0);
        room.extend_from_slice(packet);
        self.held += 1;
    }

    /// Writes the kept packets. Returns how many the device refused: all of them, if it refused one.
    pub(super) fn send(&mut self, device: &SyncDevice) -> usize {
        let held = std::mem::take(&mut self.held);
        let sent = device.send_multiple(&mut self.flows, &mut self.packets[..held], VIRTIO_NET_HDR_LEN);
        if sent.is_ok() { 0 } else { held }
    }
}
