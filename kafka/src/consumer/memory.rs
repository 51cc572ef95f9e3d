//! How a consumer's memory is divided into librdkafka's many limits.

use super::super::properties::Setting;

/// What a message costs beside its bytes: measured at 350–450 B of resident memory for small ones.
const MESSAGE_OVERHEAD: u64 = 450;
/// A fetch is counted as it is sent, and sources compress: what it unpacks to is a multiple of it, of
/// which this share of the memory leaves room for about eight.
const FETCH_SHARE: u64 = 32;
/// The smallest fetch that still moves data well.
const SMALLEST_FETCH: u64 = 1 << 20;
/// Beyond this a fetch only adds latency and memory.
const LARGEST_FETCH: u64 = 16 << 20;
/// The largest batch a broker can be expected to send in spite of a smaller fetch limit.
const LARGEST_BATCH: u64 = 128 << 20;

/// How much a consumer may prefetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerMemory {
    /// For all lanes together, in bytes of resident memory, overhead per message included.
    pub bytes: u64,
    /// Over how many lanes it is divided: librdkafka counts per queue, and every lane has one.
    pub lanes: u16,
}

impl ConsumerMemory {
    /// A lane's queue stops fetching at half of its share in payload bytes or a quarter of it in
    /// message overhead; the last quarter is for the fetches that were already under way.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let lane = self.bytes / u64::from(self.lanes.max(1));
        let fetch = (self.bytes / FETCH_SHARE).clamp(SMALLEST_FETCH, LARGEST_FETCH);
        let per_partition = fetch / 4;
        vec![
            ("queued.max.messages.kbytes", (lane / 2 / 1024).clamp(1, 2_097_151).to_string()),
            ("queued.min.messages", (lane / 4 / MESSAGE_OVERHEAD).clamp(1, 10_000_000).to_string()),
            ("fetch.max.bytes", fetch.to_string()),
            ("fetch.message.max.bytes", per_partition.to_string()),
            ("receive.message.max.bytes", (fetch + LARGEST_BATCH).to_string()),
            // The floor of `fetch.max.bytes`, which would otherwise be raised to it.
            ("message.max.bytes", SMALLEST_FETCH.min(1_000_000).to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn all_lanes_together_stay_within_the_memory_with_room_for_what_a_fetch_unpacks_to() {
        for (mebibytes, lanes) in [(64_u64, 8_u16), (256, 8), (1024, 1), (4096, 64)] {
            let memory = ConsumerMemory { bytes: mebibytes << 20, lanes };
            let settings: HashMap<_, _> = memory.settings().into_iter().collect();
            let number = |name: &str| settings[name].parse::<u64>().unwrap();
            let queued = number("queued.max.messages.kbytes") * 1024 + number("queued.min.messages") * MESSAGE_OVERHEAD;
            assert!(queued * u64::from(lanes) + 8 * number("fetch.max.bytes") <= memory.bytes, "{memory:?}");
            assert!(number("receive.message.max.bytes") >= number("fetch.max.bytes") + 512);
        }
    }
}
