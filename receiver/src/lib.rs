//! receiver

pub mod config;
