//! Tests of the tun mode as a user runs it. They need root and /dev/net/tun.

mod bursts;
mod persistent;
mod processes;
mod run;
