//! The target in memory.

use bytes::Bytes;
use causeway_receiver::target::{Delivered, LaneTarget, StateEntry, TargetError, TargetPartition};
use link::kafka::{KafkaError, KafkaFault};
use wire::frame::RecordRef;

/// A target that takes everything and remembers the state, as long as it is not told otherwise.
pub(crate) struct Willing {
    entries: Vec<StateEntry>,
    /// How many readings of the state from now on find it, before one finds nothing.
    pub(crate) forgets_after: Option<u32>,
    /// The next commit fails, its outcome unknown.
    pub(crate) fails: bool,
}

impl Willing {
    pub(crate) fn new(entries: Vec<StateEntry>) -> Self {
        Self { entries, forgets_after: None, fails: false }
    }
}

impl LaneTarget for Willing {
    fn read_state(&mut self) -> Result<Vec<StateEntry>, TargetError> {
        match &mut self.forgets_after {
            Some(0) => {
                self.forgets_after = None;
                return Ok(Vec::new());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self.entries.clone())
    }

    fn fence(&mut self) -> Result<(), TargetError> {
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        Ok(())
    }

    fn produce(&mut self, _: &TargetPartition, _: &RecordRef<'_>, _: &Bytes) -> Result<(), TargetError> {
        Ok(())
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) });
        Ok(())
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        Ok(Delivered::default())
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        if std::mem::take(&mut self.fails) {
            let reason = "told to".to_owned();
            return Err(KafkaError { doing: "commit".to_owned(), reason, fault: KafkaFault::Unavailable }.into());
        }
        Ok(())
    }

    fn discard(&mut self) {}
}
