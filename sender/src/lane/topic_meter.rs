//! Meter of one lane's bytes by topic, for the cost meter: each frame is shared out among its topics when it is made, and
//! counts when it is acked, or when its epoch ends without an ack. Nothing decides by it. Sans-IO.

pub(crate) mod split;
mod topics;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::ids::Sequence;

use split::Learned;
pub use topics::TopicBytes;
pub(crate) use topics::by_topic;

/// Meter of one lane.
#[derive(Debug, Default)]
pub(crate) struct TopicMeter {
    /// Bytes on the wire for each loose byte of a topic. Templates and codecs differ by lane.
    learned: Learned,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
    done: HashMap<Arc<str>, Done>,
}

#[derive(Debug)]
struct InFlight {
    sequence: Sequence,
    frame_bytes: u64,
    shares: Vec<(Arc<str>, Done)>,
}

/// Bytes of one topic that were not taken yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Records in acked frames.
    pub records: u64,
    /// Bytes of their keys, values and headers.
    pub record_bytes: u64,
    /// Bytes of frames that are acked, or that were ended with their epoch.
    pub frame_bytes: u64,
    /// Bytes of keys, values and headers that were packed into frames.
    pub packed_bytes: u64,
}

service::add_fields!(Done { records, record_bytes, frame_bytes, packed_bytes });

/// Contents of a meter, as they are taken from it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub done: HashMap<Arc<str>, Done>,
    /// Bytes of frames that may still be acked.
    pub in_flight_bytes: u64,
}

impl TopicMeter {
    /// Enters a frame of so many bytes, with what it has of each topic.
    pub(crate) fn handle_frame(&mut self, sequence: Sequence, frame_bytes: u64, topics: &[TopicBytes]) {
        let bytes = self.share_out(frame_bytes, topics);
        let share = |(topic, bytes): (&TopicBytes, u64)| {
            self.done.entry(Arc::clone(&topic.topic)).or_default().packed_bytes += topic.record_bytes;
            let TopicBytes { records, record_bytes, .. } = *topic;
            let share = Done { records, record_bytes, frame_bytes: bytes, packed_bytes: 0 };
            (Arc::clone(&topic.topic), share)
        };
        let shares = topics.iter().zip(bytes).map(share).collect();
        self.in_flight.push_back(InFlight { sequence, frame_bytes, shares });
        self.in_flight_bytes += frame_bytes;
    }

    /// Returns the bytes of a frame by topic; their sum is the frame's, unless it has no topic.
    fn share_out(&mut self, frame_bytes: u64, topics: &[TopicBytes]) -> Vec<u64> {
        let blocks: u64 = topics.iter().map(|topic| topic.block_bytes).sum();
        // Blocks have their own lengths; the header, and what is compressed together, is shared by expected length.
        let loose = frame_bytes.saturating_sub(blocks);
        let parts: Vec<_> = topics.iter().map(|topic| (&topic.topic, topic.loose_bytes)).collect();
        let shares = self.learned.share_out(loose, &parts);
        topics.iter().zip(shares).map(|(topic, share)| topic.block_bytes + share).collect()
    }

    /// Finishes the frames up to `sequence`, which are acked.
    pub(crate) fn handle_ack(&mut self, sequence: Sequence) {
        let acked = self.in_flight.partition_point(|frame| frame.sequence <= sequence);
        for frame in self.in_flight.drain(..acked).collect::<Vec<_>>() {
            self.finish(frame, true);
        }
    }

    /// Finishes all frames, of which no ack will come: their bytes were sent for nothing, and their records are sent again
    /// unless the target has them.
    pub(crate) fn end_epoch(&mut self) {
        for frame in std::mem::take(&mut self.in_flight) {
            self.finish(frame, false);
        }
        self.learned = Learned::default();
    }

    fn finish(&mut self, frame: InFlight, is_acked: bool) {
        self.in_flight_bytes -= frame.frame_bytes;
        for (topic, share) in frame.shares {
            let Done { frame_bytes, .. } = share;
            let share = if is_acked { share } else { Done { frame_bytes, ..Done::default() } };
            let done = self.done.entry(topic).or_default();
            *done = *done + share;
        }
    }

    /// Takes what has ended since the last time.
    pub(crate) fn take(&mut self) -> Taken {
        Taken { done: std::mem::take(&mut self.done), in_flight_bytes: self.in_flight_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, record_bytes: u64, block_bytes: u64) -> TopicBytes {
        let loose_bytes = if block_bytes > 0 { 100 } else { record_bytes };
        TopicBytes { topic: name.into(), records: 1, record_bytes, loose_bytes, block_bytes }
    }

    fn frame_bytes(taken: &Taken, topic: &str) -> u64 {
        taken.done.get(topic).map_or(0, |done| done.frame_bytes)
    }

    #[test]
    fn a_frame_counts_when_it_is_acked_and_its_shares_make_it_up() {
        let mut meter = TopicMeter::default();
        meter.handle_frame(Sequence(0), 1_000, &[topic("a", 9_000, 0), topic("b", 1_000, 0)]);
        meter.handle_frame(Sequence(1), 500, &[topic("a", 9_000, 0)]);
        let taken = meter.take();
        assert_eq!((frame_bytes(&taken, "a"), taken.in_flight_bytes), (0, 1_500));
        assert_eq!(taken.done["a"].packed_bytes, 18_000);
        meter.handle_ack(Sequence(0));
        let taken = meter.take();
        assert_eq!(["a", "b"].map(|name| frame_bytes(&taken, name)), [900, 100]);
        assert_eq!((taken.done["b"].records, taken.done["b"].record_bytes), (1, 1_000));
        assert_eq!(taken.in_flight_bytes, 500);
    }

    #[test]
    fn frames_without_an_ack_cost_bytes_and_carry_no_records() {
        let mut meter = TopicMeter::default();
        meter.handle_frame(Sequence(0), 1_000, &[topic("a", 9_000, 0)]);
        meter.end_epoch();
        let taken = meter.take();
        let expected = Done { frame_bytes: 1_000, packed_bytes: 9_000, ..Done::default() };
        assert_eq!((taken.done["a"], taken.in_flight_bytes), (expected, 0));
    }

    #[test]
    fn a_block_has_its_own_length() {
        let mut meter = TopicMeter::default();
        // As many bytes of records, of which one topic's are in a small block.
        meter.handle_frame(Sequence(0), 10_000, &[topic("shaped", 9_900, 300), topic("random", 9_900, 0)]);
        meter.handle_ack(Sequence(0));
        let taken = meter.take();
        let [shaped, random] = ["shaped", "random"].map(|name| frame_bytes(&taken, name));
        assert_eq!(shaped + random, 10_000);
        assert!((300..500).contains(&shaped), "{shaped}");
    }

    #[test]
    fn blocks_that_are_longer_than_the_frame_do_not_underflow() {
        let mut meter = TopicMeter::default();
        meter.handle_frame(Sequence(0), 10, &[topic("a", 9_900, 300)]);
        meter.handle_frame(Sequence(1), 10, &[]);
        meter.handle_ack(Sequence(1));
        assert_eq!(meter.take().in_flight_bytes, 0);
    }
}
