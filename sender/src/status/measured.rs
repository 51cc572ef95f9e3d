//! The board's part in measuring: where latencies are kept, what is looked at every second, and what limits the
//! sender by all of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use link::clock::Clock;

use super::{Board, Inner, Status};
use crate::latency::{Lately, Latency};
use crate::limit::Evidence;
use crate::path::PathReading;
use crate::pulse::{Look, Pulse};

/// What is measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) latency: Arc<Latency>,
    pub(super) pulse: Pulse,
    /// The budget in bytes per second.
    allowed: Option<u64>,
}

impl Board {
    /// The board of a sender whose clock is another than the machine's.
    pub fn with_clock(clock: Clock) -> Self {
        let measured = Measured { latency: Arc::new(Latency::new(clock)), ..Measured::default() };
        Self(Mutex::new(Inner { measured, ..Inner::default() }))
    }

    /// Where latencies are kept.
    pub fn latency(&self) -> Arc<Latency> {
        Arc::clone(&self.lock().measured.latency)
    }

    /// What the link may send, in bytes per second with IP headers; `None` for as much as it can.
    pub fn set_allowed(&self, bytes_per_second: Option<u64>) {
        self.lock().measured.allowed = bytes_per_second;
    }

    /// What there is to see now, but for the lanes' time.
    pub fn look(&self) -> Look {
        let lanes = self.lanes();
        let inner = self.lock();
        let channel = inner.channel.as_ref();
        let peer = channel.map(quinn::Connection::remote_address);
        Look {
            path: channel.map(PathReading::of),
            wire: inner.wire.plus(channel),
            // An IP header and UDP's.
            header_bytes: if peer.as_ref().is_some_and(SocketAddr::is_ipv6) { 48 } else { 28 },
            raw_bytes: lanes.iter().map(|lane| lane.totals.raw_bytes).sum(),
            lanes: Vec::new(),
        }
    }

    /// What follows from the last looks.
    pub fn set_pulse(&self, pulse: Pulse) {
        self.lock().measured.pulse = pulse;
    }
}

impl Inner {
    /// Why a sender that shows `status` is not faster.
    pub(super) fn evidence(&self, status: &Status) -> Evidence {
        let Measured { latency, pulse, allowed } = &self.measured;
        let lately: Lately = latency.lately();
        Evidence {
            state: status.state.clone(),
            lanes: status.lanes,
            lanes_open: status.lanes_open,
            lag_records: status.lag_records,
            busiest: pulse.busiest,
            sent_bytes_per_second: pulse.sent_bytes_per_second,
            allowed_bytes_per_second: *allowed,
            base_rtt_seconds: pulse.path.base_rtt_seconds,
            lately,
        }
    }
}
