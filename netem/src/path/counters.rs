//! What happened in one direction: every packet is delivered, under way, or dropped for a named cause.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::dice::Fate;
use crate::report::{LONGEST, less};

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropCause {
    /// The path lost it: `loss`.
    Loss,
    /// The path was `down`.
    Down,
    /// The bottleneck's queue was full: `limit`.
    Limit,
    /// Above the rate, where a `policer` stands.
    Policer,
    /// Longer than `mtu`.
    Mtu,
    /// More under way than the emulator holds ([`HELD_MAX`](super::HELD_MAX)): the emulator's fault.
    Overflow,
}

impl DropCause {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] = [Self::Loss, Self::Down, Self::Limit, Self::Policer, Self::Mtu, Self::Overflow];

    /// The word for it, the knob's name where a knob did it.
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

/// What happened in one direction so far.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Packets that entered.
    pub offered: u64,
    /// Their bytes, IP headers included.
    pub offered_bytes: u64,
    /// Packets that arrived, doubles included.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets that were doubled.
    pub doubled: u64,
    /// Packets of which a bit was flipped.
    pub corrupted: u64,
    /// Packets held back so that others overtake them (`reorder`).
    pub overtaken: u64,
    /// The longest queue, in bytes, the packet being sent included.
    pub backlog_max: u64,
    dropped: [u64; DropCause::ALL.len()],
    /// Nanoseconds from reaching the bottleneck to having been sent by it.
    sojourn: Histogram<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            offered: 0,
            offered_bytes: 0,
            delivered: 0,
            delivered_bytes: 0,
            doubled: 0,
            corrupted: 0,
            overtaken: 0,
            backlog_max: 0,
            dropped: [0; DropCause::ALL.len()],
            sojourn: Histogram::new_with_max(LONGEST, 2).expect("a range and 2 decimals that the histogram takes"),
        }
    }
}

impl Counters {
    /// Packets dropped for one cause.
    pub fn dropped_for(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    /// Packets dropped for any cause.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Time that packets took through the bottleneck, its queue included, at `quantile`; zero without one.
    pub fn sojourn(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.sojourn.value_at_quantile(quantile))
    }

    /// What happened after `earlier`, a state of these same counters. The longest queue stays that of all time:
    /// it is not known when that was.
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
            sojourn: less(&self.sojourn, &earlier.sojourn),
        }
    }

    pub(super) fn offered(&mut self, length: u64) {
        self.offered += 1;
        self.offered_bytes += length;
    }

    pub(super) fn delivered(&mut self, length: u64) {
        self.delivered += 1;
        self.delivered_bytes += length;
    }

    pub(super) fn dropped(&mut self, cause: DropCause) {
        self.dropped[cause as usize] += 1;
    }

    pub(super) fn backlog(&mut self, bytes: u64) {
        self.backlog_max = self.backlog_max.max(bytes);
    }

    pub(super) fn queued(&mut self, sojourn: Duration) {
        self.sojourn.saturating_record(u64::try_from(sojourn.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn changed(&mut self, fate: &Fate) {
        self.doubled += u64::from(fate.doubled);
        self.overtaken += u64::from(fate.overtaken);
        self.corrupted += u64::from(fate.flip.is_some());
    }
}
