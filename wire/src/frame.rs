//! Frames of records: what crosses the WAN (wire-format.md#frame). A frame is a fixed header and a body
//! that is compressed as a whole; inside, each partition's records form a run, and runs are columnar so
//! that like stands beside like.
//!
//! `record` → `builder` → `header` ~~~ `header` → `intact` → `decode` → `cursor`

mod builder;
mod cursor;
mod decode;
mod header;
mod intact;
mod record;

pub use builder::FrameBuilder;
pub use cursor::{FrameCursor, Step};
pub use decode::{Frame, Run};
pub use header::{FIELDS, FrameHead, FrameHeader};
pub use intact::IntactFrame;
pub use record::{HeaderBlock, Headers, RecordRef};

pub(crate) use header::seal;

#[cfg(test)]
mod tests;
