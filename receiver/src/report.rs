//! Status and metrics: the data path does not depend on them.
//!
//! - [`status`], [`metrics`]: the page of `causeway status`, and the same numbers for Prometheus

pub mod metrics;
pub mod status;
