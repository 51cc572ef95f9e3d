//! A list of partitions in librdkafka's own type.

use std::ffi::CStr;

use rdkafka_sys as sys;

/// A list owned by Rust; librdkafka copies it in each call.
pub(super) struct PartitionList(*mut sys::rd_kafka_topic_partition_list_t);

impl PartitionList {
    pub(super) fn new(size: usize) -> Self {
        // SAFETY: returns a new list, never null; the size is only a hint.
        Self(unsafe { sys::rd_kafka_topic_partition_list_new(i32::try_from(size).unwrap_or(0)) })
    }

    /// Adds a partition with an optional offset and a leader epoch; −1 means no leader epoch.
    pub(super) fn add(&self, topic: &CStr, partition: i32, offset: Option<i64>, leader_epoch: i32) {
        // SAFETY: the list is live and copies the name; the entry is written before the list changes.
        unsafe {
            let entry = sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            if let Some(offset) = offset {
                (*entry).offset = offset;
            }
            if leader_epoch >= 0 {
                sys::rd_kafka_topic_partition_set_leader_epoch(entry, leader_epoch);
            }
        }
    }

    /// Adds a partition with an offset and the metadata of its commit.
    pub(super) fn add_with_metadata(&self, topic: &CStr, partition: i32, offset: i64, metadata: &str) {
        // SAFETY: the list is live and copies the name. It owns the metadata, which is allocated by librdkafka, and frees it;
        // the entry is written before the list changes.
        unsafe {
            let entry = sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            (*entry).offset = offset;
            let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
            if !copy.is_null() {
                copy.cast::<u8>().copy_from_nonoverlapping(metadata.as_ptr(), metadata.len());
                (*entry).metadata = copy;
                (*entry).metadata_size = metadata.len();
            }
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}
