//! Record values from a seed: what both ends know without having told each other.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Random bytes that values are cut from: far more than a frame, so that no compression would find a value again,
/// and little enough to stay in a cache.
const BLOCK_BYTES: usize = 8 << 20;

/// The values of a run.
#[derive(Debug)]
pub(crate) struct Payload {
    block: Vec<u8>,
    value_bytes: usize,
}

impl Payload {
    /// Values of `value_bytes` each, drawn from `seed`.
    pub(crate) fn new(seed: u64, value_bytes: usize) -> Self {
        let mut block = vec![0; BLOCK_BYTES + value_bytes];
        StdRng::seed_from_u64(seed).fill(&mut block[..]);
        Self { block, value_bytes }
    }

    /// The value of the record at `offset` of `partition`.
    pub(crate) fn value(&self, partition: i32, offset: i64) -> &[u8] {
        let mixed = mix(offset.cast_unsigned() ^ (u64::from(partition.cast_unsigned()) << 48));
        let start = (mixed % BLOCK_BYTES as u64) as usize;
        &self.block[start..start + self.value_bytes]
    }
}

/// One step of SplitMix64 (Steele et al., 2014): neighbouring offsets begin far from each other.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_follows_from_seed_and_place_alone() {
        let (here, there, other) = (Payload::new(1, 100), Payload::new(1, 100), Payload::new(2, 100));
        assert_eq!(here.value(3, 7), there.value(3, 7));
        assert_ne!(here.value(3, 7), other.value(3, 7));
        assert_ne!(here.value(3, 7), here.value(3, 8));
        assert_ne!(here.value(3, 7), here.value(2, 7));
        assert_eq!(here.value(0, i64::MAX).len(), 100);
    }
}
