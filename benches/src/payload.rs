//! Record values from a seed, so that both ends know them without an exchange.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes of the random block that values are taken from: far more than a frame, and few enough for a cache.
const BLOCK_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(crate) struct Payload {
    block: Vec<u8>,
    value_bytes: usize,
}

impl Payload {
    pub(crate) fn new(seed: u64, value_bytes: usize) -> Self {
        let mut block = vec![0; BLOCK_BYTES + value_bytes];
        StdRng::seed_from_u64(seed).fill(&mut block[..]);
        Self { block, value_bytes }
    }

    pub(crate) fn value(&self, partition: i32, offset: i64) -> &[u8] {
        let mixed = mix(offset.cast_unsigned() ^ (u64::from(partition.cast_unsigned()) << 48));
        let start = (mixed % BLOCK_BYTES as u64) as usize;
        &self.block[start..start + self.value_bytes]
    }
}

/// Performs one step of SplitMix64 (Steele et al., 2014), so that neighbouring offsets have distant values.
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
    fn a_value_depends_only_on_seed_partition_and_offset() {
        let here = Payload::new(1, 100);
        let there = Payload::new(1, 100);
        let other = Payload::new(2, 100);
        assert_eq!(here.value(3, 7), there.value(3, 7));
        assert_ne!(here.value(3, 7), other.value(3, 7));
        assert_ne!(here.value(3, 7), here.value(3, 8));
        assert_ne!(here.value(3, 7), here.value(2, 7));
        assert_eq!(here.value(0, i64::MAX).len(), 100);
    }
}
