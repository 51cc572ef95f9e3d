//! Which lane carries a partition. Fixed for the life of a link: the hash's name and the number of lanes
//! are stored in every lane's state, and a session that brings others is refused.

use wire::ids::LaneId;
use xxhash_rust::xxh3::xxh3_64;

/// The hash's name, as stored.
pub const LANE_HASH: &str = "xxh3-64";

/// The lane of a partition: a topic's partitions go to consecutive lanes, so that they spread evenly.
pub fn lane(topic: &str, partition: i32, lanes: u16) -> LaneId {
    let lanes = u64::from(lanes);
    let first = xxh3_64(topic.as_bytes()) % lanes;
    let lane = (first + partition.max(0) as u64) % lanes;
    LaneId(lane as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routing_of_released_versions_never_changes() {
        // Stored in links' state: another answer here would move partitions between lanes.
        assert_eq!(xxh3_64(b"orders"), 12_145_308_562_482_623_739);
        assert_eq!(lane("orders", 0, 8), LaneId(3));
        assert_eq!(lane("orders", 7, 8), LaneId(2));
    }

    #[test]
    fn a_topic_spreads_over_all_lanes() {
        let mut lanes: Vec<_> = (0..8).map(|partition| lane("orders", partition, 8)).collect();
        lanes.sort();
        lanes.dedup();
        assert_eq!(lanes.len(), 8);
    }
}
