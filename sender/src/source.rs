//! Source cluster as a lane sees it: records of some partitions, in order, through one queue.

pub(crate) mod acls;
mod descriptions;
pub(crate) mod discovery;
pub(crate) mod kafka;
pub(crate) mod origins;
pub(crate) mod promotion;

use ::kafka::KafkaError;
use service::bell::Bell;
use wire::ids::{LaneId, Slot};

pub use ::kafka::consumer::FetchedBytes;
pub use ::kafka::consumer::{Fault as PartitionFault, LaneEvent as Event, Start as Assignment};

/// Source cluster, which opens one reader for each lane.
pub trait Source: Send + Sync + 'static {
    type Reader: LaneReader + 'static;

    /// Opens a reader without partitions. It wakes the thread that waits for `bell` whenever
    /// [`LaneReader::peek`] has gone from nothing to something.
    fn open(&self, lane: LaneId, bell: Bell) -> Result<Self::Reader, KafkaError>;

    /// Returns the count of the bytes of record batches that the source sends; `None` if it does not count them.
    fn fetched(&self) -> Option<FetchedBytes> {
        None
    }
}

/// Reader of the partitions of one lane. While a lane is not peeked, its queue fills to its share of the memory, and
/// then fetching stops.
///
/// ```
/// use kafka::KafkaError;
/// use sender::{Assignment, Event, LaneReader};
/// use wire::ids::Slot;
///
/// /// A source whose partitions have no records.
/// struct Empty;
///
/// impl LaneReader for Empty {
///     fn assign(&mut self, _: &[Assignment]) -> Result<(), KafkaError> {
///         Ok(())
///     }
///     fn unassign(&mut self, _: &[Slot]) -> Result<(), KafkaError> {
///         Ok(())
///     }
///     fn peek(&mut self) -> Option<Event<'_>> {
///         None
///     }
///     fn advance(&mut self) {}
/// }
/// ```
pub trait LaneReader: Send {
    /// Starts to read more partitions. A slot must not be assigned twice.
    fn assign(&mut self, partitions: &[Assignment]) -> Result<(), KafkaError>;
    /// Stops reading these partitions; none of their events is seen after this returns.
    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError>;
    /// Returns the next event without waiting, and the same one until [`LaneReader::advance`].
    fn peek(&mut self) -> Option<Event<'_>>;
    /// Drops the event last peeked.
    fn advance(&mut self);
}
