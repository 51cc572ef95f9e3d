//! Packets on a path, and the random numbers that decide about them. Each packet draws one per knob, even for knobs that are not in use, so that changing
//! one knob does not change the random numbers of the others.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::model::conditions::{Conditions, GilbertElliott, Loss};

#[derive(Debug)]
pub(super) struct Dice {
    loss: ChaCha8Rng,
    others: ChaCha8Rng,
    /// State of the Gilbert-Elliott chain: true in the bad state.
    bad: bool,
}

/// The random decisions about one packet, which take effect after the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) doubled: bool,
    pub(super) overtaken: bool,
    /// Random number that selects the delay within unordered jitter.
    pub(super) jitter: u64,
    /// Random number that selects the bit to flip, if a bit is flipped.
    pub(super) flip: Option<u64>,
}

impl Dice {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self { loss: rng(seed, stream, 0), others: rng(seed, stream, 1), bad: false }
    }

    pub(super) fn roll(&mut self, conditions: &Conditions) -> Fate {
        let [doubled, overtaken, jitter, corrupt, bit] = std::array::from_fn(|_| self.others.next_u64());
        Fate {
            lost: self.roll_loss(&conditions.loss),
            doubled: conditions.duplicate.hit(doubled),
            overtaken: conditions.reorder.is_some_and(|reorder| reorder.share.hit(overtaken)),
            jitter,
            flip: conditions.corrupt.hit(corrupt).then_some(bit),
        }
    }

    fn roll_loss(&mut self, loss: &Loss) -> bool {
        let [lost, step] = std::array::from_fn(|_| self.loss.next_u64());
        match loss {
            Loss::None => false,
            Loss::Random(share) => share.hit(lost),
            Loss::Bursts(GilbertElliott { enter, leave, lost_in_bad, lost_in_good }) => {
                let (share, turn) = if self.bad { (lost_in_bad, leave) } else { (lost_in_good, enter) };
                self.bad ^= turn.hit(step);
                share.hit(lost)
            }
        }
    }
}

/// Creates a generator of random numbers. ChaCha8 yields the same ones in every version and on every machine.
pub(super) fn rng(seed: u64, stream: u64, kind: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream << 8 | kind);
    rng
}

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
