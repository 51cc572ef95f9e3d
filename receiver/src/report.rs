//! Status and metrics: the data path does not depend on them.
//!
//! - [`status`], [`metrics`]: the page of `causeway status`, and the same numbers for Prometheus
//! - `readiness`: whether the receiver can do its work

pub mod metrics;
mod readiness;
pub mod status;
