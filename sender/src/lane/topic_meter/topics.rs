//! Bytes of each topic in a frame.

use std::collections::HashMap;
use std::sync::Arc;

use wire::frame::RunBytes;
use wire::ids::Slot;

/// Bytes of one topic in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicBytes {
    pub topic: Arc<str>,
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub record_bytes: u64,
    /// Bytes outside of blocks, before compression.
    pub loose_bytes: u64,
    /// Bytes of the topic's own blocks, as sent.
    pub block_bytes: u64,
}

/// Sums up the runs of a frame by topic. Runs of an unknown slot are left out.
pub(crate) fn by_topic(runs: &[RunBytes], topics: &HashMap<Slot, Arc<str>>) -> Vec<TopicBytes> {
    let mut sums: Vec<TopicBytes> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for run in runs {
        let Some(topic) = topics.get(&run.slot) else { continue };
        let place = *places.entry(Arc::clone(topic)).or_insert(sums.len());
        if place == sums.len() {
            let topic = Arc::clone(topic);
            sums.push(TopicBytes { topic, records: 0, record_bytes: 0, loose_bytes: 0, block_bytes: 0 });
        }
        let sum = &mut sums[place];
        sum.records += run.records;
        sum.record_bytes += run.record_bytes;
        sum.loose_bytes += run.loose_bytes;
        sum.block_bytes += run.block_bytes;
    }
    sums
}
