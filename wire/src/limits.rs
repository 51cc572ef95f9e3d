//! Every maximum that crosses the wire, with its arithmetic. Both ends check each: the one that writes
//! asserts, the one that reads refuses (wire-format.md#limits).

use std::time::Duration;

/// Bytes of a control message: kind and body. The largest is an offer of [`OFFER_PARTITIONS_MAX`]
/// partitions, each with a jump: 256 × (249 B name + 1,024 B reason + under 100 B of numbers) < 352 KiB.
pub const CONTROL_BYTES_MAX: usize = 512 * 1024;

/// Partitions in one offer: 2,000 partitions join in 8 batches, and a batch is soon checked.
pub const OFFER_PARTITIONS_MAX: usize = 256;

/// Configuration entries carried with a topic; Kafka knows about 40.
pub const TOPIC_CONFIGS_MAX: usize = 64;

/// Clusters that a topic may have passed before the source: a chain of links longer than this is no plan.
pub const CLUSTERS_MAX: usize = 16;

/// Bytes of a topic name: Kafka's own limit.
pub const TOPIC_NAME_MAX: usize = 249;

/// Bytes of a link name: `__causeway.<link>.state` must be a topic name, and 17 + 128 < 249 leaves room.
pub const LINK_NAME_MAX: usize = 128;

/// Bytes of any other string: cluster ids have 22, instance names and reasons are short, details for
/// people are clipped to this.
pub const STRING_MAX: usize = 1024;

/// Lanes of a link: more would only multiply transactions; 64 × 40 partitions is 2,560.
pub const LANES_MAX: u16 = 64;

/// Channels of a session: one per 125 Mbit/s is enough for everything that is counted in packets, and 16 of those
/// are as much as two cores of a receiver take in.
pub const CHANNELS_MAX: u16 = 16;

/// Partitions of a topic: as many as a Kafka cluster can hold at all (its controller is tested to two
/// million), and far from overflow.
pub const PARTITIONS_MAX: i32 = 2_000_000;

/// Raw bytes at which a frame is closed, header included. Large enough that compression has found what
/// it can (zstd gains 3 % from 1 MiB to 4), small enough to be 17 ms of 500 Mbit/s.
pub const FRAME_RAW_TARGET: usize = 1024 * 1024;

/// Raw bytes of a frame's body. Only a record that fills a frame alone passes [`FRAME_RAW_TARGET`];
/// brokers refuse records over 1 MiB unless told otherwise, and 64 times that has been enough for anyone.
pub const FRAME_BODY_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 56;

/// Bytes of a frame: what a reader of one stream must be ready for, and no more.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + FRAME_BODY_MAX;

/// What a record may add to a frame ([`crate::frame::RecordRef::raw_len`]): all of one, so that a record
/// that passes here can always be sent.
pub const RECORD_BYTES_MAX: usize = FRAME_BODY_MAX;

/// The most bytes of a run in the run table: slot 5, from 9, span 9, count 3, leader epoch 5, shape 1.
pub const RUN_BYTES_MAX: usize = 32;

/// The fewest bytes of a run in the run table: its six numbers.
pub const RUN_BYTES_MIN: usize = 6;

/// Runs in a frame: 1 MiB ([`FRAME_RAW_TARGET`]) of runs at 32 bytes each.
pub const RUNS_MAX: u32 = 32 * 1024;

/// The fewest bytes of a record: offset, timestamp, key length, value length, header count.
pub const RECORD_BYTES_MIN: usize = 5;

/// Records in a frame: 1 MiB at 5 bytes each is 209,715; rounded up to a power of two.
pub const RECORDS_MAX: u32 = 256 * 1024;

/// The least that a frame costs in credit, so that credit bounds the number of frames too: 64 MiB admit
/// no more than 65,536, and a frame's bookkeeping is far under 1 KiB.
pub const FRAME_CHARGE_MIN: u64 = 1024;

/// How long an end waits before it dials again where the close code says to be patient.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a frame of `len` bytes costs in credit (wire-format.md#credit).
pub fn frame_charge(len: usize) -> u64 {
    (len as u64).max(FRAME_CHARGE_MIN)
}

// The limits lean on each other; a change of one must not break another.
const _: () = assert!(RUNS_MAX as usize * RUN_BYTES_MAX >= FRAME_RAW_TARGET);
const _: () = assert!(RECORDS_MAX as usize * RECORD_BYTES_MIN >= FRAME_RAW_TARGET);
const _: () = assert!(RECORDS_MAX < 1 << 21, "a count fits 3 bytes of varint");
const _: () = assert!(FRAME_BODY_MAX < 1 << 28, "a length plus one fits 4 bytes of varint");
const _: () = assert!(CONTROL_BYTES_MAX > OFFER_PARTITIONS_MAX * (TOPIC_NAME_MAX + STRING_MAX + 100));

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
