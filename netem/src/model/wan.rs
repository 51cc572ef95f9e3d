//! The WAN model: both directions of a path, and the script of changes to them.

use std::collections::VecDeque;
use std::time::Duration;

use super::flow::FlowTable;
use super::script::Event;
use crate::{Counters, Delivery, Direction, DropCause, Flowing, Knob, Path, Profile, Script};

/// A path in both directions, for packets of type `P`. Its script runs as time passes.
#[derive(Debug)]
pub struct Wan<P> {
    paths: [Path<P>; 2],
    script: VecDeque<Event>,
    flows: FlowTable,
}

impl<P: Clone + Flowing> Wan<P> {
    /// Creates a WAN with a profile's conditions. All random decisions come from `seed`.
    pub fn new(profile: &Profile, script: Script, seed: u64) -> Self {
        let paths = [Path::new(profile.forward, seed, 0), Path::new(profile.back, seed, 1)];
        Self { paths, script: script.into_events().into(), flows: FlowTable::default() }
    }

    /// Puts a packet of `length` bytes, IP header included, on the path at `now`, counted from the run's start. Returns
    /// the cause if the packet was dropped immediately.
    pub fn offer(&mut self, direction: Direction, packet: P, length: usize, now: Duration) -> Result<(), DropCause> {
        self.apply_script(now);
        let flow = self.flows.number(packet.flow());
        let path = self.path_mut(direction);
        if path.conditions.down_flows.contains(flow) {
            return Err(path.lose(length, now));
        }
        path.offer(packet, length, now)
    }

    /// Returns the next packet that has arrived by `now`, and its direction.
    pub fn poll(&mut self, now: Duration) -> Option<(Direction, Delivery<P>)> {
        self.apply_script(now);
        Direction::BOTH.into_iter().find_map(|direction| Some((direction, self.path_mut(direction).poll(now)?)))
    }

    /// Returns when [`Wan::poll`] may return a packet next. A script's events are no reason to wake up: each takes
    /// effect at its own time, even if it is processed later.
    pub fn next_timeout(&self) -> Option<Duration> {
        let arrival = self.paths.iter().filter_map(Path::next_timeout).min()?;
        // After a change a packet may arrive earlier than was expected.
        Some(self.script.front().map_or(arrival, |event| event.at.min(arrival)))
    }

    pub fn set(&mut self, direction: Direction, knob: Knob, now: Duration) {
        self.apply_script(now);
        self.path_mut(direction).set(knob, now);
    }

    pub fn counters(&self, direction: Direction) -> &Counters {
        &self.paths[direction as usize].counters
    }

    fn apply_script(&mut self, now: Duration) {
        while self.script.front().is_some_and(|event| event.at <= now) {
            let Some(Event { at, direction, knob }) = self.script.pop_front() else { break };
            self.path_mut(direction).set(knob, at);
        }
    }

    fn path_mut(&mut self, direction: Direction) -> &mut Path<P> {
        &mut self.paths[direction as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conditions, FlowKey, parse_knobs};

    #[derive(Debug, Clone)]
    struct PacketOf(u64);

    impl Flowing for PacketOf {
        fn flow(&self) -> FlowKey {
            FlowKey(self.0)
        }
    }

    #[test]
    fn a_flow_that_is_down_loses_packets_and_others_do_not() {
        let script = "at 1 s: flow 2 down; at 2 s: flow 2 up".parse().unwrap();
        let conditions = Conditions::default().with(parse_knobs("delay 5 ms").unwrap());
        let mut wan = Wan::new(&Profile::both(conditions), script, 1);
        for (second, down) in [(0, false), (1, true), (2, false)] {
            let now = Duration::from_secs(second) + Duration::from_millis(1);
            for direction in Direction::BOTH {
                for flow in [70, 50, 60] {
                    let lost = wan.offer(direction, PacketOf(flow), 100, now) == Err(DropCause::Down);
                    assert_eq!(lost, down && flow == 50, "flow {flow} at {now:?}");
                }
            }
        }
        assert_eq!(Direction::BOTH.map(|way| wan.counters(way).dropped_for(DropCause::Down)), [1, 1]);
    }
}
