//! A link over a WAN between two real clusters: how long records take, and what it lives through.
//!
//! One test at a time, because they measure. The path is 100 ms long each way and as fast as each test says; it is
//! slow enough to be what limits the link, whatever the machine.

mod idle;
mod latency;
mod link;
mod survival;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds the machine for one test.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
