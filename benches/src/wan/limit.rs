//! The highest goodput that a link can reach: the share of a full packet that is record values, less the path's loss.

use wire::limits::{FRAME_HEADER_BYTES, FRAME_RAW_TARGET, RUN_BYTES_MIN};
use wire::units::Rate;

/// Bytes of a full packet as the budget counts it. quinn sends up to 1,452 bytes of UDP payload where it discovers the
/// path's MTU (`MtuDiscoveryConfig::upper_bound`); IPv4 and UDP add 28.
pub(crate) const PACKET_BYTES: usize = 1_452 + 28;
/// Bytes of a full packet that are not stream data: IPv4 and UDP headers 28; QUIC's short header 1 + connection id 8 +
/// packet number 2 (4 at most); the AEAD's tag 16; a STREAM frame's type 1 + stream id 3 (2 to 4) + offset 3 (up to 4 in
/// a frame of 1 MiB). A STREAM frame that fills the packet has no length field.
pub(crate) const PACKET_OVERHEAD_BYTES: usize = 28 + 1 + 8 + 2 + 16 + 1 + 3 + 3;
/// Bytes that a record adds to its value in a frame, in a run of one partition: offset 1, timestamp 1, null key 1, value's
/// length 2, no headers 1.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 6;

/// Returns the share of a full packet that is record values, of `record_bytes` bytes each.
pub(crate) fn payload_share(record_bytes: usize) -> f64 {
    let of_packet = 1.0 - PACKET_OVERHEAD_BYTES as f64 / PACKET_BYTES as f64;
    let of_frame = 1.0 - (FRAME_HEADER_BYTES + RUN_BYTES_MIN) as f64 / FRAME_RAW_TARGET as f64;
    let of_record = record_bytes as f64 / (record_bytes + RECORD_OVERHEAD_BYTES) as f64;
    of_packet * of_frame * of_record
}

/// Returns the highest possible goodput in bits per second: every packet that the rate allows is full, every packet that
/// arrives carries new data, and no other packets are sent.
pub(crate) fn limit(wire: Rate, loss: f64, record_bytes: usize) -> f64 {
    wire.bits_per_second() as f64 * (1.0 - loss) * payload_share(record_bytes)
}

#[cfg(test)]
mod tests {
    use wire::compress::Codec;
    use wire::frame::{FrameBuilder, FrameHead, Headers, RecordRef};
    use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

    use super::*;

    #[test]
    fn the_limit_is_the_budget_less_loss_and_headers() {
        let budget = Rate::from_bits_per_second(300_000_000);
        let clean = limit(budget, 0.0, 1024);
        assert!((0.950..0.955).contains(&(clean / 300e6)), "{clean}");
        assert!((limit(budget, 0.02, 1024) / clean - 0.98).abs() < 1e-12);
        assert!(payload_share(100) < payload_share(1000));
    }

    #[test]
    fn a_record_takes_the_bytes_that_the_limit_assumes() {
        let value = vec![7; 1024];
        let frame_of = |records: i64| {
            let mut builder = FrameBuilder::new();
            for offset in 1000..1000 + records {
                let record = RecordRef {
                    offset: Offset(offset),
                    timestamp: 1,
                    key: None,
                    value: Some(&value),
                    headers: Headers::EMPTY,
                };
                builder.push(Slot(0), Position(offset), 0, &record);
            }
            let head = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
            builder.finish(head, Codec::None).len()
        };
        assert_eq!(frame_of(20) - frame_of(10), 10 * (1024 + RECORD_OVERHEAD_BYTES));
    }
}
