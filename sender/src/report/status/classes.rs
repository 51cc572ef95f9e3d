//! Classes of topics as a sender shows them.

use serde::{Deserialize, Serialize};
use wire::lanes::ClassLanes;

use crate::dispatch::gate::Gate;
use crate::dispatch::scheduler::ClassView;
use crate::lane::progress::Snapshot;

/// One class at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassStatus {
    /// Its name.
    pub class: String,
    /// How many lanes it has.
    pub lanes: u16,
    /// Whether it goes before the others.
    pub strict: bool,
    /// What it is guaranteed, in percent of what strict classes leave.
    pub share_percent: Option<f64>,
    /// What it never exceeds, in bytes of frames per second.
    pub ceiling_bytes_per_second: Option<u64>,
    /// Bytes of its frames since the process started.
    pub sent_bytes: u64,
    /// Its part of what was sent in the last seconds, in percent.
    pub sent_percent: Option<f64>,
    /// Lanes that have a frame to send and wait for their turn, or for the transport.
    pub waiting_lanes: usize,
}

impl ClassStatus {
    pub(super) fn all(gate: &Gate, lanes: &[Snapshot]) -> Vec<Self> {
        let status = |(class, view): (&ClassLanes, ClassView)| {
            let of_class = lanes.iter().skip(usize::from(class.first)).take(usize::from(class.count));
            Self {
                class: class.name.clone(),
                lanes: class.count,
                strict: view.terms.strict,
                share_percent: view.terms.share.map(|share| share.part() * 100.0),
                ceiling_bytes_per_second: view.ceiling,
                sent_bytes: of_class.map(|lane| lane.totals.frame_bytes).sum(),
                sent_percent: view.share.map(|share| share * 100.0),
                waiting_lanes: view.waiting,
            }
        };
        gate.table().classes().iter().zip(gate.view()).map(status).collect()
    }
}
