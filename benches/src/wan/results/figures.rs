//! Figures of a trial, computed from counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use netem::{Counters, DropCause, Report};
use serde::{Deserialize, Serialize};

use super::timeline::Timeline;
use crate::end::sample::{SenderSample, SinkSample};
use crate::wan::cell::{Cell, Figure, Scenario};

/// Counters of both ends and of the path at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) wire: Report,
    pub(crate) sink: SinkSample,
    pub(crate) sender: SenderSample,
    pub(crate) sender_cpu: Duration,
    pub(crate) receiver_cpu: Duration,
    pub(crate) at: Instant,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Reason why the emulator calls the measurement invalid, if it does.
    pub(crate) invalid: Option<String>,
    /// Counters over time, for cells with changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<Timeline>,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) status: serde_json::Value,
}

impl Measured {
    /// Computes the figures of two QUIC ends between two moments.
    pub(crate) fn of_quic(cell: &Cell, record_bytes: usize, began: &Snapshot, ended: &Snapshot) -> Self {
        let goodput = goodput(&began.sink, &ended.sink);
        let mut measured = Self::of_wire(cell, record_bytes, goodput, &ended.wire.since(&began.wire));
        let took = ended.at.duration_since(began.at).as_secs_f64();
        let core = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / took;
        measured.set(Figure::SenderCpu, core(began.sender_cpu, ended.sender_cpu));
        measured.set(Figure::ReceiverCpu, core(began.receiver_cpu, ended.receiver_cpu));
        measured.set(Figure::Sessions, ended.sender.sessions as f64);
        measured.set(Figure::Wrong, ended.sink.wrong as f64);
        if let Some(latency) = &ended.sink.latency {
            measured.set(Figure::LatencyP50, latency.p50_ms);
            measured.set(Figure::LatencyP99, latency.p99_ms);
        }
        measured.status = ended.sender.status.clone();
        measured
    }

    /// Computes the figures of a goodput that was measured and of the packets on the wire.
    pub(crate) fn of_wire(cell: &Cell, record_bytes: usize, goodput: f64, wire: &Report) -> Self {
        let mut measured = Self { invalid: wire.invalid(), ..Self::default() };
        let per_second = |bytes: u64| bytes as f64 * 8.0 / wire.ran.as_secs_f64();
        let forward = &wire.forward;
        let queue = |quantile| forward.sojourn.quantile(quantile).as_secs_f64() * 1e3;
        let dropped = forward.dropped_in_all();
        let self_inflicted = forward.dropped_for(DropCause::Limit) + forward.dropped_for(DropCause::Policer);
        let lateness = wire.lateness.delivery.quantile(0.99).max(wire.lateness.busy.quantile(0.99));
        for (figure, value) in [
            (Figure::Goodput, goodput),
            (Figure::OfLimit, goodput / cell.limit(record_bytes)),
            (Figure::OfPath, goodput / cell.path_rate.bits_per_second() as f64),
            (Figure::Offered, per_second(forward.offered_bytes)),
            (Figure::Delivered, per_second(forward.delivered_bytes)),
            (Figure::Back, per_second(wire.back.delivered_bytes)),
            (Figure::Loss, share(dropped, forward)),
            (Figure::SelfLoss, share(self_inflicted, forward)),
            (Figure::QueueP50, queue(0.5)),
            (Figure::QueueP99, queue(0.99)),
            (Figure::Rtt, cell.rtt.as_secs_f64() * 1e3 + queue(0.5)),
            (Figure::Lateness, lateness.as_secs_f64() * 1e3),
        ] {
            measured.set(figure, value);
        }
        measured
    }

    /// Adds Causeway's share of what it and a TCP flow of `other` bits per second carried.
    pub(crate) fn add_share(&mut self, other: Option<f64>) {
        if let Some(other) = other {
            let ours = self.figures.get(&Figure::Goodput).copied().unwrap_or(0.0);
            self.set(Figure::Share, ours / (ours + other).max(1.0));
        }
    }

    /// Adds how long the slowest change took to reach its expected rate. Each change has until the next one.
    pub(crate) fn add_changes(&mut self, cell: &Cell, timeline: Timeline) {
        let Scenario::Changes(changes) = &cell.scenario else { return };
        let mut slowest: f64 = 0.0;
        for (index, change) in changes.iter().enumerate() {
            let until = changes.get(index + 1).map_or(f64::INFINITY, |next| next.at.as_secs_f64());
            if let Some(expected) = &change.expected {
                slowest = slowest.max(timeline.time_to_reach(expected, change.at.as_secs_f64(), until));
            }
        }
        self.set(Figure::Recovery, slowest);
        self.timeline = Some(timeline);
    }

    fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }
}

/// Returns the bits per second between the last commits before two moments, because commits are large.
fn goodput(began: &SinkSample, ended: &SinkSample) -> f64 {
    let took = ended.committed_at - began.committed_at;
    if took > 0.0 { (ended.bytes - began.bytes) as f64 * 8.0 / took } else { 0.0 }
}

fn share(packets: u64, of: &Counters) -> f64 {
    packets as f64 / (of.offered as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bytes: u64, committed_at: f64) -> SinkSample {
        SinkSample { at: committed_at + 0.05, bytes, committed_at, ..SinkSample::default() }
    }

    #[test]
    fn goodput_is_counted_between_two_commits() {
        assert!((goodput(&sample(1_000, 10.0), &sample(4_000, 12.0)) - 12_000.0).abs() < 1e-6);
        assert_eq!(goodput(&sample(1_000, 10.0), &sample(1_000, 10.0)), 0.0);
    }

    #[test]
    fn share_is_causeways_part_of_both_flows() {
        let mut measured = Measured::default();
        measured.set(Figure::Goodput, 30e6);
        measured.add_share(Some(90e6));
        assert!((measured.figures[&Figure::Share] - 0.25).abs() < 1e-9);
    }
}
