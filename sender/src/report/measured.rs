//! Measurements of the source and of the link, as a report's tasks last made them.

use service::cluster_watch::ClusterWatch;

use crate::report::forecast::Forecast;
use crate::report::lag::Lag;
use crate::report::open_transactions::OpenTransaction;
use crate::report::sampler::Trend;
use crate::report::status::NotCarried;

/// Measurements of the report's own tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub lag: Lag,
    /// Watch over the source's answers, of which the newest has the lag.
    pub source: ClusterWatch,
    pub forecast: Forecast,
    pub not_carried: Vec<NotCarried>,
    pub open_transactions: Vec<OpenTransaction>,
    pub trend: Trend,
}
