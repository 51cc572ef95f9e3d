//! Both directions of a path, and the script of what changes on it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::conditions::{Conditions, Knob};
use crate::flow::{FlowTable, Flowing};
use crate::path::{Counters, Delivery, DropCause, Path};
use crate::profile::Profile;
use crate::script::{Event, Script};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the source to the target.
    Forward,
    /// From the target to the source.
    Back,
}

impl Direction {
    /// Both, forward first.
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Back];

    /// The word for it in scripts and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }
}

/// A path there and back, holding packets of type `P`, whose script plays as time passes.
#[derive(Debug)]
pub struct Wan<P> {
    paths: [Path<P>; 2],
    script: VecDeque<Event>,
    flows: FlowTable,
}

impl<P: Clone + Flowing> Wan<P> {
    /// A WAN of a profile's conditions, with every die drawn from `seed`.
    pub fn new(profile: &Profile, script: Script, seed: u64) -> Self {
        let paths = [Path::new(profile.forward, seed, 0), Path::new(profile.back, seed, 1)];
        Self { paths, script: script.into_events().into(), flows: FlowTable::default() }
    }

    /// A packet of `length` bytes, IP header included, enters at `now`, counted from the run's start.
    ///
    /// # Errors
    /// Why it was dropped at once.
    pub fn offer(&mut self, direction: Direction, packet: P, length: usize, now: Duration) -> Result<(), DropCause> {
        self.play(now);
        let flow = self.flows.number(packet.flow());
        let path = self.path_mut(direction);
        if path.conditions().dark_flows.contains(flow) {
            return Err(path.lose(length, now));
        }
        path.offer(packet, length, now)
    }

    /// The next packet that has arrived by `now`, and which way it went.
    pub fn poll(&mut self, now: Duration) -> Option<(Direction, Delivery<P>)> {
        self.play(now);
        Direction::BOTH.into_iter().find_map(|direction| Some((direction, self.path_mut(direction).poll(now)?)))
    }

    /// When [`Wan::poll`] may have something next. A script's events are no reason to wake: each takes effect
    /// at its own time, whenever that is noticed.
    pub fn next_timeout(&self) -> Option<Duration> {
        let arrival = self.paths.iter().filter_map(Path::next_timeout).min()?;
        // But a change may make something arrive sooner than it seemed.
        Some(self.script.front().map_or(arrival, |event| event.at.min(arrival)))
    }

    /// Turns a knob now.
    pub fn set(&mut self, direction: Direction, knob: Knob, now: Duration) {
        self.play(now);
        self.path_mut(direction).set(knob, now);
    }

    /// What has happened in one direction so far.
    pub fn counters(&self, direction: Direction) -> &Counters {
        self.path(direction).counters()
    }

    /// The conditions in one direction at present.
    pub fn conditions(&self, direction: Direction) -> &Conditions {
        self.path(direction).conditions()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.paths.iter().all(Path::is_empty)
    }

    fn play(&mut self, now: Duration) {
        while self.script.front().is_some_and(|event| event.at <= now) {
            let Some(Event { at, direction, knob }) = self.script.pop_front() else { break };
            self.path_mut(direction).set(knob, at);
        }
    }

    fn path(&self, direction: Direction) -> &Path<P> {
        &self.paths[direction as usize]
    }

    fn path_mut(&mut self, direction: Direction) -> &mut Path<P> {
        &mut self.paths[direction as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::parse_knobs;
    use crate::flow::FlowKey;

    #[derive(Debug, Clone)]
    struct Of(u64);

    impl Flowing for Of {
        fn flow(&self) -> FlowKey {
            FlowKey(self.0)
        }
    }

    #[test]
    fn one_flow_goes_dark_both_ways_and_the_others_do_not() {
        let script = "at 1 s: flow 2 down; at 2 s: flow 2 up".parse().unwrap();
        let conditions = Conditions::default().with(parse_knobs("delay 5 ms").unwrap());
        let mut wan = Wan::new(&Profile::both(conditions), script, 1);
        for (second, dark) in [(0, false), (1, true), (2, false)] {
            let now = Duration::from_secs(second) + Duration::from_millis(1);
            for direction in Direction::BOTH {
                for flow in [70, 50, 60] {
                    let lost = wan.offer(direction, Of(flow), 100, now) == Err(DropCause::Down);
                    assert_eq!(lost, dark && flow == 50, "flow {flow} at {now:?}");
                }
            }
        }
        assert_eq!(Direction::BOTH.map(|way| wan.counters(way).dropped_for(DropCause::Down)), [1, 1]);
    }
}
