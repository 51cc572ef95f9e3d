//! Memory for decoded frames, shared by all lanes of a receiver; credit bounds the compressed frames. A lane that gets
//! no memory commits the records that it has produced, which frees its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shared allowance of decoded bytes.
#[derive(Debug)]
pub struct DecodeMemory {
    limit: u64,
    held: AtomicU64,
}

/// Decoded bytes in use, freed on drop.
#[derive(Debug)]
pub struct Lease {
    memory: Arc<DecodeMemory>,
    bytes: u64,
}

impl DecodeMemory {
    /// Makes an allowance of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0) })
    }

    /// Takes `bytes`, or `None` where that exceeds the allowance.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        self.held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                held.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .ok()
            .map(|_| Lease { memory: Arc::clone(self), bytes })
    }

    /// Takes `bytes` even beyond the allowance: for the first frame of a transaction, so that every lane
    /// makes progress. The excess is at most one frame per lane.
    pub fn take_first(self: &Arc<Self>, bytes: u64) -> Lease {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        Lease { memory: Arc::clone(self), bytes }
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
}
