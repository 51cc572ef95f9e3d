//! Memory of a consumer, divided among librdkafka's limits.

use crate::properties::Setting;

/// Bytes of memory that a message costs in addition to its payload: 350 to 450 B were measured for small messages.
const MESSAGE_OVERHEAD: u64 = 450;
/// Share of the memory for one fetch: 1/32. librdkafka counts the bytes sent, but sources compress: this leaves
/// room for a fetch that decompresses to about eight times its size.
const FETCH_SHARE: u64 = 32;
/// The smallest fetch in bytes: smaller ones would limit throughput.
const SMALLEST_FETCH: u64 = 1 << 20;
/// The largest fetch in bytes: a larger one costs latency and memory without more throughput.
const LARGEST_FETCH: u64 = 16 << 20;
/// The largest batch in bytes that a broker may send although the fetch limit is smaller.
const LARGEST_BATCH: u64 = 128 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerMemory {
    /// Bytes of resident memory for all lanes together, including the overhead per message.
    pub bytes: u64,
    /// Number of lanes that share the memory. librdkafka counts per queue, and each lane has one.
    pub lanes: u16,
}

impl ConsumerMemory {
    /// Returns librdkafka's limits. A lane stops fetching when its payloads take half of its share, or the overhead per
    /// message takes a quarter. The last quarter is for fetches in flight.
    pub(super) fn settings(&self) -> Vec<Setting> {
        self.limits((self.bytes / FETCH_SHARE).clamp(SMALLEST_FETCH, LARGEST_FETCH))
    }

    /// Returns the limits of an instance for further partitions. It fills the same queues with smaller fetches: each
    /// adds a MiB per broker.
    pub(super) fn further_settings(&self) -> Vec<Setting> {
        self.limits(SMALLEST_FETCH)
    }

    fn limits(&self, fetch: u64) -> Vec<Setting> {
        let lane = self.bytes / u64::from(self.lanes.max(1));
        let per_partition = fetch / 4;
        vec![
            ("queued.max.messages.kbytes", (lane / 2 / 1024).clamp(1, 2_097_151).to_string()),
            ("queued.min.messages", (lane / 4 / MESSAGE_OVERHEAD).clamp(1, 10_000_000).to_string()),
            ("fetch.max.bytes", fetch.to_string()),
            ("fetch.message.max.bytes", per_partition.to_string()),
            ("receive.message.max.bytes", (fetch + LARGEST_BATCH).to_string()),
            // librdkafka raises `fetch.max.bytes` to at least this.
            ("message.max.bytes", SMALLEST_FETCH.min(1_000_000).to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_limits_of_all_lanes_stay_within_the_memory() {
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
