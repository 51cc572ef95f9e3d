//! Turns to read partitions. The client has one place for a partition: a second reading of it would end the first.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use service::lock::Lock;
use wire::partition::Partition;

/// One turn at a time for each partition.
#[derive(Debug, Default)]
pub(super) struct Turns(Lock<HashMap<Partition, Arc<Lock<()>>>>);

impl Turns {
    /// Runs `read` once no other reading of the partition runs.
    pub(super) fn within<T>(&self, partition: &Partition, read: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(self.0.lock().entry(partition.clone()).or_default());
        let held: MutexGuard<'_, ()> = turn.lock();
        let result = read();
        drop(held);
        let mut turns = self.0.lock();
        // Nobody else waits: the map has one, and this call the other.
        if Arc::strong_count(&turn) == 2 {
            turns.remove(partition);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_partition_is_read_once_at_a_time_and_others_do_not_wait() {
        let turns = Turns::default();
        let a = Partition::new("state", 0);
        let b = Partition::new("state", 1);
        let readings = AtomicU32::new(0);
        let most = AtomicU32::new(0);
        let read = || {
            most.fetch_max(readings.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            readings.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| turns.within(&a, read)));
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        // Each waits for the other within its reading: they would never end one after the other.
        let both = Barrier::new(2);
        thread::scope(|scope| {
            for partition in [&a, &b] {
                scope.spawn(|| turns.within(partition, || both.wait()));
            }
        });
        assert!(turns.0.lock().is_empty(), "no turn is left");
    }
}
