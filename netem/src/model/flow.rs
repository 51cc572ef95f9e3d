//! Flows: the packets of one conversation. A path can be down for one flow and up for the others.

use std::fmt;
use std::str::FromStr;

/// Flows that have a number. Later flows have none and are never down.
pub(crate) const FLOWS_MAX: usize = 64;

/// A key that all packets of a conversation share, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey(pub u64);

pub trait Flowing {
    fn flow(&self) -> FlowKey;
}

/// A flow's number: from 1, in the order in which the flows' first packets entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowNumber(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowSet(u64);

/// Assigns numbers to flows as they appear.
#[derive(Debug, Default)]
pub(crate) struct FlowTable(Vec<FlowKey>);

impl FlowKey {
    /// Returns the key for two ports, the same for both directions.
    pub fn of_ports(a: u16, b: u16) -> Self {
        Self(u64::from(a.min(b)) << 16 | u64::from(a.max(b)))
    }
}

impl Flowing for Vec<u8> {
    /// Returns the key of an IPv4 packet's protocol and ports. Packets without ports are one flow per protocol.
    fn flow(&self) -> FlowKey {
        let byte = |at: usize| self.get(at).copied().unwrap_or(0);
        let protocol = u64::from(byte(9)) << 32;
        let header = usize::from(byte(0) & 0x0f) * 4;
        let later_fragment = u16::from_be_bytes([byte(6), byte(7)]) & 0x1fff != 0;
        if byte(0) >> 4 != 4 || !matches!(byte(9), 6 | 17) || later_fragment {
            return FlowKey(protocol);
        }
        let port = |at: usize| u16::from_be_bytes([byte(header + at), byte(header + at + 1)]);
        FlowKey(protocol | FlowKey::of_ports(port(0), port(2)).0)
    }
}

impl FlowNumber {
    fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }
}

impl FromStr for FlowNumber {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().ok().filter(|number| (1..=FLOWS_MAX).contains(&usize::from(*number))).map(Self).ok_or(())
    }
}

impl fmt::Display for FlowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FlowSet {
    pub fn set(&mut self, flow: FlowNumber, within: bool) {
        if within { self.0 |= flow.bit() } else { self.0 &= !flow.bit() }
    }

    /// Returns true if a flow is in the set. A flow without a number never is.
    pub fn contains(self, flow: Option<FlowNumber>) -> bool {
        flow.is_some_and(|flow| self.0 & flow.bit() != 0)
    }

    pub fn iter(self) -> impl Iterator<Item = FlowNumber> {
        (1..=FLOWS_MAX as u8).map(FlowNumber).filter(move |&flow| self.contains(Some(flow)))
    }
}

impl FlowTable {
    /// Returns a flow's number, a new one for a new flow. Returns none if [`FLOWS_MAX`] other flows have numbers.
    pub(crate) fn number(&mut self, key: FlowKey) -> Option<FlowNumber> {
        let known = self.0.iter().position(|other| *other == key);
        let index = known.or_else(|| {
            (self.0.len() < FLOWS_MAX).then(|| {
                self.0.push(key);
                self.0.len() - 1
            })
        })?;
        Some(FlowNumber(index as u8 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[20..22].copy_from_slice(&from.to_be_bytes());
        packet[22..24].copy_from_slice(&to.to_be_bytes());
        packet
    }

    #[test]
    fn a_flow_is_two_ports_in_either_direction() {
        assert_eq!(udp(5000, 7443).flow(), udp(7443, 5000).flow());
        assert_ne!(udp(5000, 7443).flow(), udp(5001, 7443).flow());
        let mut tcp = udp(5000, 7443);
        tcp[9] = 6;
        assert_ne!(tcp.flow(), udp(5000, 7443).flow());
        assert_eq!(vec![0x45].flow(), Vec::new().flow(), "a truncated packet has no ports");
    }

    #[test]
    fn numbers_follow_the_first_packets_and_are_bounded() {
        let mut table = FlowTable::default();
        let numbers: Vec<_> = [9, 7, 9].iter().map(|&key| table.number(FlowKey(key)).unwrap().0).collect();
        assert_eq!(numbers, [1, 2, 1]);
        let numbered = (0..1000).filter(|&key| table.number(FlowKey(key)).is_some()).count();
        assert_eq!(numbered, FLOWS_MAX);
    }
}
