//! Congestion control: bytes that a link may have in flight. It keeps the path full, stays within the budget, and leaves
//! room for other flows on the path.
//!
//! One [`Flow`] is shared by all channels of a link's direction: together they behave like one flow. The rules, and
//! measurements of them, are in `docs/design/decisions/0031-congestion-control.md`.
//!
//! - `window_controller`: the rules, without I/O
//! - `base`, `interval`, `deliveries`, `queue_view`, `loss_judge`: what they measure
//! - `queue_owner_test`: recognition of another flow that fills the queue
//! - `policed`, `competing`: rules for two special paths
//! - `channel`: quinn's controller of one channel, with state shared by all channels
//! - `settings`, `report`: what the rest of the crate sees

mod base;
mod channel;
mod competing;
mod deliveries;
mod interval;
mod loss_judge;
mod policed;
mod queue_owner_test;
mod queue_view;
mod report;
mod settings;
mod window_controller;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use channel::Shared;
use quinn::congestion::ControllerFactory;
use wire::units::Rate;

pub use report::{FlowReport, Limit, Mode};
pub use settings::{ACK_DELAY, ACK_PACKETS, FlowSettings, LOSS_TOLERANCE_PERCENT, Policy, ack_packets};

/// Congestion control of one direction of a link. Clones share it.
#[derive(Clone)]
pub struct Flow {
    shared: Arc<Shared>,
}

impl Flow {
    /// Makes a flow that knows nothing of its path yet.
    pub fn new(settings: FlowSettings) -> Self {
        Self::with_clock(settings, || Some(tokio::time::Instant::now().into_std()))
    }

    /// Makes a flow for tests in virtual time, which report each event as it happens.
    fn with_clock(settings: FlowSettings, clock: channel::Clock) -> Self {
        Self { shared: Arc::new(Shared::new(settings, Instant::now(), clock)) }
    }

    /// Changes the budget. A lower one takes effect with the next packet.
    pub fn set_rate(&self, rate: Option<Rate>) {
        self.shared.set_rate(rate);
    }

    /// Returns the factory for quinn's controllers of new channels.
    pub fn controllers(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::clone(&self.shared) as Arc<dyn ControllerFactory + Send + Sync>
    }

    /// Updates the time. On a path that does not answer, each call allows a few more packets, so that the path's return
    /// is noticed soon: the pause between QUIC's own probes doubles each time.
    pub fn handle_tick(&self, now: Instant) {
        self.shared.handle_tick(now);
    }

    /// Reports the state after the last event.
    pub fn report(&self) -> FlowReport {
        self.shared.report()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({:?})", self.report())
    }
}

/// Two handles are equal if they are the same flow.
impl PartialEq for Flow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Flow {}

#[cfg(test)]
mod tests;
