//! Everything that is only looked at: the data path does not depend on it.
//!
//! - [`status`], [`metrics`]: the page of `causeway status`, and the same numbers for Prometheus

pub mod metrics;
pub mod status;
