//! The partitions that a sender carries.

pub(crate) mod deleted_topic;
pub(crate) mod deletions;
pub(crate) mod lane_partitions;
pub(crate) mod left_out;
pub(crate) mod offers;
pub(crate) mod outcome;
pub(crate) mod policy;
pub(crate) mod resume;
pub(crate) mod rounds;
pub(crate) mod router;
mod slots;
