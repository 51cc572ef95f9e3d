//! The reading of the state that decides where a lane continues.
//!
//! The client that reads is not the client that writes. It may ask a broker that no longer leads the state partition
//! and does not know it yet, for example because it was suspended. Such a broker shows an old end, and positions read
//! from it would be carried again. So the fenced producer commits a record of its own first, the *barrier*: only a
//! leader that has it can show the log that far, and everything before it is decided there.

use kafka::{KafkaError, KafkaFault};
use wire::ids::Offset;

use crate::target::{Extent, LaneTarget, StateEntry, TargetError, state};

/// Commits a barrier with the fenced producer, and reads the state through it.
///
/// The barrier is a tombstone, which no version reads as an entry. An error leaves the state unchanged: a new fence is
/// the only way to continue.
pub(super) fn read_through(target: &mut impl LaneTarget) -> Result<Vec<StateEntry>, TargetError> {
    target.begin()?;
    target.write_state(&state::barrier_key(), None)?;
    let end = target.drain()?.state_end.filter(|end| *end >= Offset(0)).ok_or_else(no_offset)?;
    target.commit()?;
    target.read_state(Extent::Through(end))
}

fn no_offset() -> TargetError {
    let doing = "read of the lane's state".to_owned();
    let reason = "the target did not report the offset of the record that the reading must reach".to_owned();
    KafkaError { doing, reason, fault: KafkaFault::Unavailable }.into()
}
