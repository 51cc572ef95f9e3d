//! Tests of a link between two real clusters over an emulated WAN: latency, and failures of the path.
//!
//! One test runs at a time, because they measure. The path has a delay of 100 ms each way, and a rate that each test
//! sets. It is so slow that it limits the link on any machine.

mod idle;
mod latency;
mod link;
mod outages;
