//! A WAN on one machine. The path model decides what happens to each packet and when, without a clock or a
//! socket of its own; carriers bring it real packets. Files stand here in the order in which a packet meets them.

#![forbid(unsafe_code)]

pub use wire::share;

pub mod flow;

pub mod conditions;
pub mod profile;
pub mod script;

pub mod path;
pub mod wan;

pub mod carrier;
pub mod emulator;
pub mod report;

#[cfg(feature = "quinn")]
pub mod in_process;
pub mod relay;
pub mod tun;

pub mod selftest;

pub mod command;
