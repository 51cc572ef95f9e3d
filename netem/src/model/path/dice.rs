//! The random numbers of a path. Each packet draws one per knob, even for knobs that are not in use, so that changing
//! one knob does not change the random numbers of the others.

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

/// Creates the generator of one kind of random number of one direction. ChaCha8 yields the same numbers in every
/// version and on every machine.
pub(super) fn rng(seed: u64, stream: u64, kind: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream << 8 | kind);
    rng
}
