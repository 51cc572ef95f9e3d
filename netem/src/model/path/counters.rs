//! Counters of one direction: every packet is delivered, in flight, or dropped for a named cause.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::dice::Fate;
use crate::histogram::TimeHistogram;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropCause {
    /// The path lost the packet: `loss`.
    Loss,
    /// The path, or the packet's flow, was `down`.
    Down,
    /// The bottleneck's queue was full: `limit`.
    Limit,
    /// The packet exceeded the rate of a `policer`.
    Policer,
    /// The packet was longer than `mtu`.
    Mtu,
    /// More bytes were in flight than the emulator can hold. This is the emulator's fault.
    Overflow,
}

impl DropCause {
    pub const ALL: [Self; 6] = [Self::Loss, Self::Down, Self::Limit, Self::Policer, Self::Mtu, Self::Overflow];

    /// The cause's word in reports: the knob's name, where a knob is the cause.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Down => "down",
            Self::Limit => "limit",
            Self::Policer => "policer",
            Self::Mtu => "mtu",
            Self::Overflow => "overflow",
        }
    }
}

/// Counters of one direction since the run's start, in the order of a report's JSON.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counters {
    /// Packets that entered the path.
    pub offered: u64,
    /// Bytes of the packets that entered, IP headers included.
    pub offered_bytes: u64,
    /// Packets that arrived, duplicates included.
    pub delivered: u64,
    /// Bytes of the packets that arrived, IP headers included.
    pub delivered_bytes: u64,
    #[serde(serialize_with = "by_name")]
    dropped: [u64; DropCause::ALL.len()],
    pub doubled: u64,
    pub corrupted: u64,
    /// Packets delayed longer so that others overtake them (`reorder`).
    pub overtaken: u64,
    /// The longest queue, in bytes, the packet being sent included.
    #[serde(rename = "queue_max_bytes")]
    pub backlog_max: u64,
    /// Time from a packet's arrival at the bottleneck until the bottleneck had sent it. Empty without a bottleneck.
    #[serde(flatten, serialize_with = "bottleneck_times")]
    pub sojourn: TimeHistogram,
}

fn by_name<S: Serializer>(dropped: &[u64; DropCause::ALL.len()], serializer: S) -> Result<S::Ok, S::Error> {
    BTreeMap::from(DropCause::ALL.map(|cause| (cause.name(), dropped[cause as usize]))).serialize(serializer)
}

fn bottleneck_times<S: Serializer>(sojourn: &TimeHistogram, serializer: S) -> Result<S::Ok, S::Error> {
    let names = [("bottleneck_p50_ms", 0.5), ("bottleneck_p99_ms", 0.99), ("bottleneck_max_ms", 1.0)];
    serializer.collect_map(names.map(|(name, quantile)| (name, sojourn.quantile(quantile).as_secs_f64() * 1e3)))
}

impl Counters {
    pub fn dropped_for(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Counters of what happened after `earlier`, an earlier copy of these same counters. `backlog_max` stays the
    /// maximum since the start, because it is not known when it occurred.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut dropped = self.dropped;
        dropped.iter_mut().zip(earlier.dropped).for_each(|(now, then)| *now -= then);
        Self {
            offered: self.offered - earlier.offered,
            offered_bytes: self.offered_bytes - earlier.offered_bytes,
            delivered: self.delivered - earlier.delivered,
            delivered_bytes: self.delivered_bytes - earlier.delivered_bytes,
            doubled: self.doubled - earlier.doubled,
            corrupted: self.corrupted - earlier.corrupted,
            overtaken: self.overtaken - earlier.overtaken,
            backlog_max: self.backlog_max,
            dropped,
            sojourn: self.sojourn.since(&earlier.sojourn),
        }
    }

    pub(super) fn offered(&mut self, length: u64) {
        self.offered += 1;
        self.offered_bytes += length;
    }

    pub(super) fn dropped(&mut self, cause: DropCause) {
        self.dropped[cause as usize] += 1;
    }

    pub(super) fn changed(&mut self, fate: &Fate) {
        self.doubled += u64::from(fate.doubled);
        self.overtaken += u64::from(fate.overtaken);
        self.corrupted += u64::from(fate.flip.is_some());
    }
}
