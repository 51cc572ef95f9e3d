//! The board's part in measuring: where latencies are kept, what is looked at every second, and what limits the
//! sender by all of it.

use std::sync::{Arc, Mutex};

use transport::clock::Clock;
use transport::congestion::Flow;

use super::{Board, Inner, Status};
use crate::rate::RateStatus;
use crate::report::latency::{Lately, Latency};
use crate::report::limit::Evidence;
use crate::report::path::PathReading;
use crate::report::sampler::{Look, Pulse};

/// What is measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) latency: Arc<Latency>,
    pub(super) pulse: Pulse,
    /// What the channels' congestion control has found.
    flow: Option<Flow>,
}

impl Board {
    /// The board of a sender whose clock is another than the machine's.
    pub fn with_clock(clock: Clock) -> Self {
        let measured = Measured { latency: Arc::new(Latency::new(clock)), ..Measured::default() };
        Self { inner: Mutex::new(Inner { measured, ..Inner::default() }), ..Self::default() }
    }

    /// Where latencies are kept.
    pub fn latency(&self) -> Arc<Latency> {
        Arc::clone(&self.lock().measured.latency)
    }

    /// What guides the channels of all sessions.
    pub fn set_flow(&self, flow: Flow) {
        self.lock().measured.flow = Some(flow);
    }

    /// What there is to see now, but for the lanes' time.
    pub fn look(&self) -> Look {
        let (lanes, usage) = (self.lanes(), self.rates.budget().usage());
        let inner = self.lock();
        let flow = inner.measured.flow.as_ref().map(Flow::report);
        Look {
            path: inner.first().map(|channel| PathReading::of(channel.rtt(), flow.as_ref())),
            wire: inner.wire(),
            ip_bytes: usage.wire_bytes,
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
        let Measured { latency, pulse, flow } = &self.measured;
        let (lately, rate): (Lately, &RateStatus) = (latency.lately(), &status.rate);
        let used = |allowed: u64| rate.throughput_bits_per_second / allowed.max(1) as f64;
        Evidence {
            state: status.state.clone(),
            lanes: status.lanes,
            lanes_open: status.lanes_open,
            lag_records: status.lag_records,
            busiest: pulse.busiest,
            budget_used: rate.bits_per_second.map_or(0.0, used),
            budget_waits: rate.waiting,
            controller: flow.as_ref().map(|flow| flow.report().limit),
            base_rtt_seconds: pulse.path.base_rtt_seconds,
            lately,
        }
    }
}
