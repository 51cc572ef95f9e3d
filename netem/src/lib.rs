//! Emulates a WAN on one machine. The path model decides what happens to each packet and when; it has no clock and
//! no socket. Carriers bring real packets to it.
//!
//! - `model`: conditions, profiles, scripts and the path itself
//! - `emulator`: the thread that carries packets over the model in real time, and its report
//! - `relay`, [`tun`], `in_process`: carriers for UDP on loopback, for network namespaces, and for QUIC in tests
//! - `selftest`: measures how accurate the emulator is on this machine
//! - [`command`]: the command line

#![forbid(unsafe_code)]

mod emulator;
mod histogram;
#[cfg(feature = "quinn")]
mod in_process;
mod model;
mod relay;
mod selftest;

pub mod command;
pub mod tun;

pub use emulator::{Emulator, report::Report};
#[cfg(feature = "quinn")]
pub use in_process::Network;
pub use model::conditions::{Conditions, Direction, Excess, GilbertElliott, Jitter, Knob, Loss, Order, Reorder};
pub use model::path::{HELD_MAX, Path, counters::Counters, counters::DropCause, dice::Delivery};
pub use model::profile::{NamedProfile, PROFILES, Profile};
pub use model::{flow::FlowKey, flow::Flowing, knobs::KnobError, knobs::parse_knobs};
pub use model::{script::Script, wan::Wan};
pub use relay::Relay;
