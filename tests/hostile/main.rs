//! Attacks on a running `causeway receive` between real Kafka clusters, with a healthy link next to them that must not
//! notice. Each module is a kind of attack, each function a promise of `docs/security.md`.
//!
//! The attacker is of its own: quinn and rustls, and bytes that follow `docs/design/wire-format.md`, without any crate
//! of the product. The modules of the tests:
//! - [`stage`]: the receiver under attack with its healthy link, and what an attack costs them
//! - [`attacker`]: certificates, connections, messages, frames and forged datagrams
//!
//! A test has this form:
//! ```ignore
//! let stage = Stage::start("garbage")?;
//! let ((), cost) = stage.during("garbage", async { Ok(()) })?;
//! cost.ensure_calm()?;
//! stage.finish()
//! ```
//! All tests share the clusters and run one after the other; each has processes of its own.

mod admin_port;
mod attacker;
mod handshakes;
mod held;
mod independent;
mod isolation;
mod lies;
mod memory;
mod stage;
