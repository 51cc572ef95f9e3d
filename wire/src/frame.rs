//! Frames of records, which cross the WAN (wire-format.md#frame). A frame has a fixed header and a body that is
//! compressed as a whole. In the body, the records of each partition form a run. Runs are columnar, because similar
//! values compress well together.
//!
//! `record` → `builder` → `header` ~~~ `header` → `intact` → `decode` → `cursor`

mod builder;
mod content;
mod cursor;
mod decode;
mod header;
mod incompressible;
mod intact;
mod lane_decoder;
mod noise;
mod part;
mod record;
mod remembered;
mod run_bytes;
mod sent_state;
mod shaped;
mod shaper;
mod state_bound;

pub use builder::FrameBuilder;
pub use cursor::{FrameCursor, Step};
pub use decode::{Frame, Run};
pub use header::{FIELDS, FrameHead, FrameHeader, seal};
pub use intact::IntactFrame;
pub use lane_decoder::LaneDecoder;
pub use record::{HeaderBlock, Headers, RecordRef};
pub use run_bytes::RunBytes;
/// What a [`Shaper`] takes its templates from, and the work of learning them.
pub use shape::{Job, Library};
pub use shaper::Shaper;
pub use state_bound::StateBound;

#[cfg(test)]
mod tests;
