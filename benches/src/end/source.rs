//! An in-memory source cluster: records are created when they are read.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kafka::KafkaError;
use sender::{Assignment, Event, LaneReader, Source};
use service::bell::Bell;
use wire::frame::{Headers, RecordRef};
use wire::ids::{LaneId, Offset, Slot};

use super::sample::wall_ms;
use crate::payload::Payload;

/// The topic with as many records as the link can carry.
pub(crate) const BULK: &str = "bulk";
/// The topic with few records, each with the time at which it was produced.
pub(crate) const TRICKLE: &str = "trickle";
/// Time between two records of [`TRICKLE`]: short enough for a 99th percentile within a minute.
pub(crate) const TRICKLE_EVERY: Duration = Duration::from_millis(20);
/// Records that a lane reads from one partition before it turns to the next: about as many as a fetch returns.
const TURN: u32 = 64;
/// Timestamp of every record of [`BULK`]. It is constant so that it takes as few bytes of the frame as possible.
const BULK_TIMESTAMP: i64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
pub(crate) struct SyntheticSource {
    payload: Arc<Payload>,
}

impl SyntheticSource {
    pub(crate) fn new(payload: Payload) -> Self {
        Self { payload: Arc::new(payload) }
    }
}

impl Source for SyntheticSource {
    type Reader = SyntheticReader;

    fn open(&self, _lane: LaneId, bell: Bell) -> Result<SyntheticReader, KafkaError> {
        Ok(SyntheticReader { payload: Arc::clone(&self.payload), bell, reading: Vec::new(), turn: 0, left: TURN })
    }
}

#[derive(Debug)]
pub(crate) struct SyntheticReader {
    payload: Arc<Payload>,
    bell: Bell,
    reading: Vec<Reading>,
    turn: usize,
    left: u32,
}

#[derive(Debug)]
struct Reading {
    slot: Slot,
    partition: i32,
    next: i64,
    /// Time at which the next record is produced, in ms since the Unix epoch; none if there is always a record.
    due: Option<i64>,
}

impl Reading {
    fn is_ready(&self) -> bool {
        self.due.is_none_or(|due| due <= wall_ms())
    }
}

impl SyntheticReader {
    /// Returns a partition that has a record, beginning with the one whose turn it is.
    fn ready(&self) -> Option<usize> {
        let count = self.reading.len();
        (0..count).map(|step| (self.turn + step) % count).find(|&index| self.reading[index].is_ready())
    }

    fn turn_to(&mut self, index: usize) {
        self.turn = index;
        self.left = TURN;
    }
}

impl LaneReader for SyntheticReader {
    fn assign(&mut self, partitions: &[Assignment]) -> Result<(), KafkaError> {
        for at in partitions {
            let due = (&*at.topic == TRICKLE).then(wall_ms);
            self.reading.push(Reading { slot: at.slot, partition: at.partition, next: at.position.0, due });
        }
        if self.reading.iter().any(|reading| reading.due.is_some()) {
            ring_periodically(&self.bell);
        }
        self.bell.ring();
        Ok(())
    }

    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        self.reading.retain(|reading| !slots.contains(&reading.slot));
        self.turn_to(0);
        Ok(())
    }

    fn peek(&mut self) -> Option<Event<'_>> {
        let index = self.ready()?;
        if index != self.turn {
            self.turn_to(index);
        }
        let reading = &self.reading[index];
        let record = RecordRef {
            offset: Offset(reading.next),
            timestamp: reading.due.unwrap_or(BULK_TIMESTAMP),
            key: None,
            value: Some(self.payload.value(reading.partition, reading.next)),
            headers: Headers::EMPTY,
        };
        Some(Event::Record { slot: reading.slot, leader_epoch: 0, record })
    }

    fn advance(&mut self) {
        let Some(reading) = self.reading.get_mut(self.turn) else { return };
        reading.next += 1;
        reading.due = reading.due.map(|due| due + TRICKLE_EVERY.as_millis() as i64);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !reading.is_ready() {
            self.turn_to((self.turn + 1) % self.reading.len());
        }
    }
}

/// Wakes a lane whenever there is a record, as a consumer's fetch would. The thread ends with the process.
fn ring_periodically(bell: &Bell) {
    let bell = bell.clone();
    let ringing = thread::Builder::new().name("trickle".to_owned()).spawn(move || {
        loop {
            thread::sleep(TRICKLE_EVERY);
            bell.ring();
        }
    });
    if let Err(error) = ringing {
        tracing::error!(%error, "cannot start the trickle's thread");
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::Position;

    use super::*;

    fn reader() -> SyntheticReader {
        SyntheticSource::new(Payload::new(1, 10)).open(LaneId(0), Bell::default()).unwrap()
    }

    fn assignment(slot: u32, topic: &str) -> Assignment {
        let position = Position(5);
        Assignment { slot: Slot(slot), topic: topic.into(), partition: 0, position, leader_epoch: -1, is_late: false }
    }

    fn next(reader: &mut SyntheticReader) -> Option<(Slot, i64)> {
        let Some(Event::Record { slot, record, .. }) = reader.peek() else { return None };
        let next = (slot, record.offset.0);
        reader.advance();
        Some(next)
    }

    #[test]
    fn a_partition_is_read_endlessly_from_its_position() {
        let mut reader = reader();
        assert_eq!(next(&mut reader), None);
        reader.assign(&[assignment(3, BULK)]).unwrap();
        assert_eq!([next(&mut reader), next(&mut reader)], [Some((Slot(3), 5)), Some((Slot(3), 6))]);
        reader.unassign(&[Slot(3)]).unwrap();
        assert_eq!(next(&mut reader), None);
    }

    #[test]
    fn a_trickle_record_is_read_when_due_without_delaying_bulk() {
        let mut reader = reader();
        reader.assign(&[assignment(1, BULK), assignment(2, TRICKLE)]).unwrap();
        let read: Vec<_> = (0..3 * TURN).filter_map(|_| next(&mut reader)).collect();
        assert_eq!(read.len(), 3 * TURN as usize);
        assert!(read.contains(&(Slot(2), 5)), "{read:?}");
        let of_bulk = read.iter().filter(|(slot, _)| *slot == Slot(1)).count();
        assert!(of_bulk > 2 * TURN as usize, "{of_bulk}");
    }
}
