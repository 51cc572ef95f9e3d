//! Memory for decoded frames, shared by all lanes of a receiver; credit bounds the compressed frames. A lane that gets
//! no memory commits the records that it has produced, which frees its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shared allowance of decoded bytes.
#[derive(Debug)]
pub struct DecodeMemory {
    limit: u64,
    held: AtomicU64,
    /// The allowance that this one is a part of.
    whole: Option<Arc<Self>>,
}

/// Decoded bytes in use, freed on drop.
#[derive(Debug)]
pub struct Lease {
    memory: Arc<DecodeMemory>,
    bytes: u64,
    _of_whole: Option<Box<Self>>,
}

impl DecodeMemory {
    /// Makes an allowance of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0), whole: None })
    }

    /// Makes an allowance of `limit` bytes within this one, for the lanes of one link.
    pub fn part(self: &Arc<Self>, limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0), whole: Some(Arc::clone(self)) })
    }

    /// Takes `bytes`, or `None` where that exceeds the allowance.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        self.take_within(bytes, self.limit)
    }

    /// Takes `bytes` for a lane, one of `lanes`, that keeps them until they are committed, besides the `kept` ones. While its
    /// partitions cannot be written that takes long: beyond its share of half the allowance it leaves a quarter to others.
    pub fn take_kept(self: &Arc<Self>, kept: u64, bytes: u64, lanes: u16) -> Option<Lease> {
        let is_share = kept.saturating_add(bytes) <= self.limit / 2 / u64::from(lanes.max(1));
        self.take_within(bytes, if is_share { self.limit } else { self.limit / 4 * 3 })
    }

    /// Takes `bytes`, or `None` where more than `most` would be held.
    fn take_within(self: &Arc<Self>, bytes: u64, most: u64) -> Option<Lease> {
        let add = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= most);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok()?;
        let mut lease = Lease { memory: Arc::clone(self), bytes, _of_whole: None };
        if let Some(whole) = &self.whole {
            lease._of_whole = Some(Box::new(whole.take(bytes)?));
        }
        Some(lease)
    }

    /// Takes `bytes` even beyond the allowance: for the first frame of a transaction, so that every lane
    /// makes progress, and for what a lane remembers. The excess is at most one frame and one state per lane.
    pub fn take_first(self: &Arc<Self>, bytes: u64) -> Lease {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        let _of_whole = self.whole.as_ref().map(|whole| Box::new(whole.take_first(bytes)));
        Lease { memory: Arc::clone(self), bytes, _of_whole }
    }

    /// The allowance in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Decoded bytes in use now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_freed() {
        let memory = DecodeMemory::new(100);
        let lease = memory.take(60).expect("fits");
        assert!(memory.take(41).is_none());
        let first = memory.take_first(50);
        assert_eq!(memory.held(), 110, "a lane's first frame always fits");
        drop((lease, first));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_lane_that_keeps_frames_leaves_memory_to_the_others() {
        let memory = DecodeMemory::new(800);
        let kept = memory.take(600).expect("fits");
        let may_keep = |kept, bytes| memory.take_kept(kept, bytes, 4).is_some();
        assert!(may_keep(50, 50), "within its share of 100");
        assert!(!may_keep(600, 1), "a quarter is for others");
        drop(kept);
        assert!(may_keep(500, 600) && !may_keep(500, 601), "no other lane needs it");
    }

    #[test]
    fn a_link_that_hangs_leaves_memory_to_the_others() {
        let whole = DecodeMemory::new(100);
        let [hangs, other] = [0; 2].map(|_| whole.part(50));
        let held = hangs.take(50).expect("fits");
        let more = hangs.take_first(30);
        assert!(hangs.take(1).is_none());
        assert!(other.take(21).is_none() && other.held() == 0, "the whole has 20 left");
        let lease = other.take(20).expect("fits");
        assert_eq!((whole.held(), other.held()), (100, 20));
        drop((held, more, lease));
        assert_eq!((whole.held(), hangs.held(), other.held()), (0, 0, 0));
    }
}
