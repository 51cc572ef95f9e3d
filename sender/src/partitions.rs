//! The partitions that a sender carries.
//!
//! - [`router`]: the lane of a partition
//! - [`lane_partitions`]: partitions that have joined, and partitions to be offered
//! - [`offers`]: the messages that offer partitions to the receiver
//! - [`resume`]: the request that lifts a halt
//! - [`policy`]: halts that are lifted without asking an operator

pub(crate) mod lane_partitions;
pub(crate) mod offers;
pub(crate) mod policy;
pub(crate) mod resume;
pub(crate) mod router;
