//! sender

pub mod config;
