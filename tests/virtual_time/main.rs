//! The link's QUIC over a WAN in virtual time. Minutes of an unreachable path take no time here, and a seed decides
//! which packets are lost.

// A panic here fails a test, and names the place.
#![allow(clippy::unwrap_used)]

mod adapting;
mod budget;
mod channels;
mod clocks;
mod critical;
mod ends;
mod frames;
mod handshake;
mod link_rate;
mod rate;
mod sender_life;
mod sessions;

/// Runs `work` on one thread, whose clock advances only when every task waits.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}
