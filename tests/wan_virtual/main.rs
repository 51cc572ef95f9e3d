//! The link's QUIC over a WAN in virtual time: what ends a channel, and how soon there is another. Minutes of a
//! dark path take no time here, and a seed decides which packets are lost.

// Whatever panics in here fails a test, and says where.
#![allow(clippy::unwrap_used)]

mod budget;
mod channels;
mod clocks;
mod critical;
mod ends;
mod frames;
mod handshake;
mod rate;
mod sender_life;
mod sessions;

/// Runs `work` on one thread whose clock stands still while there is something to do.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}
