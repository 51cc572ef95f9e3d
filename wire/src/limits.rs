//! Limits of all values on the wire, with their arithmetic (wire-format.md#limits). Both ends check them: the writer
//! asserts, and the reader refuses.

use std::time::Duration;

/// Bytes of a control message: kind and body. The largest is an offer of [`OFFER_PARTITIONS_MAX`]
/// partitions, each with a jump: 256 × (249 B name + 1,024 B reason + under 100 B of numbers) < 352 KiB.
pub const CONTROL_BYTES_MAX: usize = 512 * 1024;

/// Partitions in one offer: 2,000 partitions join in 8 batches, and a batch is checked quickly.
pub const OFFER_PARTITIONS_MAX: usize = 256;

/// Configuration entries carried with a topic; Kafka knows about 40.
pub const TOPIC_CONFIGS_MAX: usize = 64;

/// Topics named in one message about topics that are not carried: 1,500 × (249 B name + 8 B of numbers) < 377 KiB.
pub const TOPICS_NAMED_MAX: usize = 1500;

/// Topics in one message of settings: 64 × (249 B name + 16 × 2 × 128 B) < 280 KiB.
pub const SETTINGS_TOPICS_MAX: usize = 64;

/// Settings of a topic in such a message; ten are compared.
pub const SETTINGS_MAX: usize = 16;

/// Bytes of the name or value of such a setting: numbers and short words.
pub const SETTING_BYTES_MAX: usize = 128;

/// Entries of a group and a topic in one message of committed offsets: 64 × (1,024 B + 249 B of names) < 80 KiB.
pub const GROUP_TOPICS_MAX: usize = 64;

/// Offsets in such a message, over all its entries. With long metadata the message itself is the limit.
pub const GROUP_OFFSETS_MAX: usize = 4096;

/// Bytes of the metadata of a committed offset: as many as brokers accept by default.
pub const OFFSET_METADATA_MAX: usize = 4096;

/// Rules in one message of access control lists. With long names the message itself is the limit.
pub const ACLS_MAX: usize = 1024;

/// Names of topics, and of groups, in such a message.
pub const ACL_NAMES_MAX: usize = 1024;

/// Topics in one message of ends: 1,024 × (249 B name + 4 B of numbers) < 254 KiB.
pub const ENDS_TOPICS_MAX: usize = 1024;

/// Partitions in such a message, over all its topics: 4,096 × 24 B < 100 KiB.
pub const ENDS_MAX: usize = 4096;

/// Partitions in one message of a topic that goes back: 4,096 × 24 B < 100 KiB.
pub const RETURNING_MAX: usize = 4096;

/// Clusters that a topic may have passed before the source: longer chains of links are not realistic.
pub const CLUSTERS_MAX: usize = 16;

/// Bytes of a topic name: Kafka's own limit.
pub const TOPIC_NAME_MAX: usize = 249;

/// Bytes of a link name: `__causeway.<link>.state` must be a topic name, and 17 + 128 < 249.
pub const LINK_NAME_MAX: usize = 128;

/// Bytes of any other string: cluster ids have 22, instance names and reasons are short, and details for operators are
/// cut at this length.
pub const STRING_MAX: usize = 1024;

/// Lanes of a link: more would only add transactions; 64 × 40 partitions is 2,560.
pub const LANES_MAX: u16 = 64;

/// Channels of a session: one for each 125 Mbit/s is enough, and 16 of them carry as much as two cores of a receiver can
/// handle.
pub const CHANNELS_MAX: u16 = 16;

/// Waiting partitions that a condition names: one screen full; it counts the others.
pub const NAMED_PARTITIONS_MAX: usize = 64;

/// Sentences of a condition about an end as a whole.
pub const NAMED_TROUBLES_MAX: usize = 16;

/// Partitions of a topic: as many as a whole Kafka cluster can have (its controller is tested with two million).
pub const PARTITIONS_MAX: i32 = 2_000_000;

/// Raw bytes at which a frame is closed, including its header. Larger frames would compress little better (zstd gains 3 %
/// from 1 MiB to 4 MiB); this size takes 17 ms at 500 Mbit/s.
pub const FRAME_RAW_TARGET: usize = 1024 * 1024;

/// Raw bytes of a frame's body. Only a frame with a single record exceeds [`FRAME_RAW_TARGET`]. Brokers refuse records
/// above 1 MiB by default; this is 64 times as much.
pub const FRAME_BODY_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 56;

/// Bytes of a frame, which a reader of one stream must have memory for.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + FRAME_BODY_MAX;

/// Bytes that a record may add to a frame ([`crate::frame::RecordRef::raw_len`]): a whole body, so that a record within
/// this limit can always be sent.
pub const RECORD_BYTES_MAX: usize = FRAME_BODY_MAX;

/// Most bytes of a run in the run table: slot 5, from 9, span 9, count 3, leader epoch 5, shape 1.
pub const RUN_BYTES_MAX: usize = 32;

/// Fewest bytes of a run in the run table: its six numbers.
pub const RUN_BYTES_MIN: usize = 6;

/// Runs in a frame: 1 MiB ([`FRAME_RAW_TARGET`]) of runs at 32 bytes each.
pub const RUNS_MAX: u32 = 32 * 1024;

/// Fewest bytes of a record: offset, timestamp, key length, value length, header count.
pub const RECORD_BYTES_MIN: usize = 5;

/// Records in a frame: 1 MiB at 5 bytes each is 209,715; rounded up to a power of two.
pub const RECORDS_MAX: u32 = 256 * 1024;

/// Groups of a shaped frame: topics with enough records for blocks of their own.
pub const GROUPS_MAX: usize = 16;

/// Raw bytes of a frame below which it is not shaped: the template would take more than it saves.
pub const SHAPE_MIN: usize = 8 * 1024;

/// Bytes of the state of a lane's frames, as a power of two: larger ones save little.
pub const STATE_LOG_MAX: u8 = 22;
/// The least such power: of less, the codec of a sender would take most.
pub const STATE_LOG_MIN: u8 = 19;
/// The least that a receiver grants: its codec fits into the part of the state that is for it.
pub const STATE_GRANTED_LOG_MIN: u8 = 20;

/// Bytes that the body of a frame with state may have more than its raw length: what it begins pays later.
pub const STATE_EXCESS_MAX: usize = 4096;

/// Least cost of a frame in credit, so that credit also bounds the number of frames: 64 MiB allow at most 65,536, and
/// the memory to track a frame is far below 1 KiB.
pub const FRAME_CHARGE_MIN: u64 = 1024;

/// Bytes of a reserve, and of a pool, of credit: more than any memory, and the sum over all lanes is a number of 64 bits.
pub const CREDIT_MAX: u64 = 1 << 48;

/// The least rate in bits per second that a receiver may assign.
pub const RATE_MIN: u64 = 64_000;
/// Time before an end dials again after a close code with the disposition `Retry`.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Returns the cost in credit of a frame of `len` bytes (wire-format.md#credit).
pub fn frame_charge(len: usize) -> u64 {
    (len as u64).max(FRAME_CHARGE_MIN)
}

// The limits depend on each other: a change of one must not break another.
const _: () = assert!(RUNS_MAX as usize * RUN_BYTES_MAX >= FRAME_RAW_TARGET);
const _: () = assert!(RECORDS_MAX as usize * RECORD_BYTES_MIN >= FRAME_RAW_TARGET);
const _: () = assert!(RECORDS_MAX < 1 << 21, "a count fits 3 bytes of varint");
const _: () = assert!(FRAME_BODY_MAX < 1 << 28, "a length plus one fits 4 bytes of varint");
const _: () = assert!(CONTROL_BYTES_MAX > TOPICS_NAMED_MAX * (TOPIC_NAME_MAX + 8));
const _: () = assert!(CONTROL_BYTES_MAX > OFFER_PARTITIONS_MAX * (TOPIC_NAME_MAX + STRING_MAX + 100));
const _: () = assert!(
    CONTROL_BYTES_MAX > SETTINGS_TOPICS_MAX * (TOPIC_NAME_MAX + SETTINGS_MAX * (2 * SETTING_BYTES_MAX + 4) + 8)
);
const _: () = assert!(CONTROL_BYTES_MAX > ENDS_TOPICS_MAX * (TOPIC_NAME_MAX + 8) + ENDS_MAX * 24);
const _: () = assert!(
    CONTROL_BYTES_MAX / 2
        > GROUP_TOPICS_MAX * (STRING_MAX + TOPIC_NAME_MAX + 16) + OFFSET_METADATA_MAX + GROUP_OFFSETS_MAX * 20
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_frames_are_charged_the_minimum_and_others_their_length() {
        assert_eq!(frame_charge(0), FRAME_CHARGE_MIN);
        assert_eq!(frame_charge(1024), 1024);
        assert_eq!(frame_charge(1025), 1025);
    }
}
