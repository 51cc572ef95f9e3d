//! Results of trials: figures from counters, their store, and the verdict, table and plots that are made of them.

pub(crate) mod figures;
pub(crate) mod plot;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod timeline;
pub(crate) mod verdict;
