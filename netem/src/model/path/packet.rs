//! A packet on a path, and a packet that leaves it.

use std::time::Duration;

use super::dice::Fate;

/// A packet on the path, with what the dice decided about it.
#[derive(Debug)]
pub(super) struct PathPacket<P> {
    pub(super) packet: P,
    /// Bytes of the packet, IP header included.
    pub(super) length: u64,
    pub(super) fate: Fate,
    /// Time at which the packet reached the bottleneck.
    pub(super) arrived: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<P> {
    /// The packet itself; [`Delivery::damage`] flips its bit.
    pub packet: P,
    /// Time at which the packet was to arrive. If it arrives later, the carrier was late.
    pub due: Duration,
    /// Random number that selects the bit to flip, if a bit is flipped.
    pub flip: Option<u64>,
}

impl<P> Delivery<P> {
    /// Flips the selected bit of `bytes`, if one is to be flipped.
    pub fn damage(&self, bytes: &mut [u8]) {
        let bits = bytes.len() as u64 * 8;
        if let Some(bit) = self.flip.filter(|_| bits > 0).map(|die| die % bits) {
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }
}
