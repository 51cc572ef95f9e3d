//! The partitions that a sender carries.
//!
//! - [`router`]: the lane of a partition
//! - [`lane_partitions`]: partitions that have joined, and partitions to be offered
//! - [`offers`]: the messages that offer partitions to the receiver
//! - [`resume`]: the request that lifts a halt
//! - [`policy`]: halts that are lifted without asking an operator

pub mod lane_partitions;
pub mod offers;
pub mod policy;
pub mod resume;
pub mod router;
