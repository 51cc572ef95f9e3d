//! Logs with holes, where compaction removed records.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::reader::{Isolation, read};
use crate::record::{Contents, small};
use crate::{journal, wait};

/// Settings of a topic that is compacted within seconds.
pub const SETTINGS: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("segment.jitter.ms", "0"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("max.compaction.lag.ms", "1000"),
];

/// Records that are written, of which a part has later ones of the same key.
const WRITTEN: usize = 600;

/// Writes records to a partition of a topic with [`SETTINGS`] and waits until compaction has removed some of them. Returns
/// what the partition has then.
pub fn write_with_holes(cluster: &Cluster, topic: &str, partition: i32, timeout: Duration) -> Result<Contents> {
    let twice = [small(0..400), small(100..300)].concat();
    assert_eq!(twice.len(), WRITTEN);
    journal::write(cluster, topic, partition, &twice)?;
    let mut more = 10_000;
    wait::until_ok("compaction of the source", timeout, || {
        // A new record rolls the segment.
        journal::write(cluster, topic, partition, &small(more..more + 1))?;
        more += 1;
        let left = read(cluster, &[topic], Isolation::Committed)?;
        let expected = WRITTEN + (more - 10_000) as usize;
        Ok((left.partition(topic, partition).len() < expected - 100).then_some(left))
    })
}
