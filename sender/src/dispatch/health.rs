//! Which channel is dead though the path is not: it has sent something that nobody confirms, while the others move.
//! Sans-IO.
//!
//! Where all of them are silent, the path is dark, and nothing is said about any: QUIC's own time-out ends them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::striping::ChannelId;

/// The shortest silence that means something, and how many round trips mean as much on a long path: time enough for
/// QUIC's own probes, which come after one, three and seven of them.
const SILENCE_MIN: Duration = Duration::from_secs(3);
const SILENCE_ROUND_TRIPS: u32 = 6;

/// How often channels are looked at.
pub const LOOK: Duration = Duration::from_millis(250);

/// What is seen of a channel.
#[derive(Debug, Clone, Copy)]
pub struct Vital {
    /// Which.
    pub channel: ChannelId,
    /// Whether something of it is not known to have arrived.
    pub outstanding: bool,
    /// How much is known to have arrived: a count that only grows.
    pub arrived: u64,
    /// Its round-trip time.
    pub rtt: Duration,
}

/// The silences of a session's channels.
#[derive(Debug, Default)]
pub struct Health(BTreeMap<ChannelId, Pulse>);

#[derive(Debug, Default, Clone, Copy)]
struct Pulse {
    arrived: u64,
    silent: Duration,
    /// Another one has moved since this one fell silent.
    witnessed: bool,
}

impl Health {
    /// Looks at every open channel, `since` the last look; those that are dead, each with its silence.
    pub fn observe(&mut self, since: Duration, vitals: &[Vital]) -> Vec<(ChannelId, Duration)> {
        // A process that was stopped has missed what happened meanwhile.
        let since = since.min(2 * LOOK);
        self.0.retain(|channel, _| vitals.iter().any(|vital| vital.channel == *channel));
        let moved: Vec<bool> = vitals.iter().map(|vital| self.moved(vital)).collect();
        let mut dead = Vec::new();
        for (index, vital) in vitals.iter().enumerate() {
            let others = || vitals.iter().zip(&moved).enumerate().filter(|(other, _)| *other != index);
            let another_moves = others().any(|(_, (_, moved))| *moved);
            let none_waits = others().all(|(_, (other, _))| !other.outstanding);
            let pulse = self.0.entry(vital.channel).or_default();
            pulse.arrived = vital.arrived;
            if moved[index] || !vital.outstanding {
                *pulse = Pulse { arrived: vital.arrived, ..Pulse::default() };
                continue;
            }
            pulse.witnessed |= another_moves;
            // The others may have come to rest because what this one holds is missing.
            if another_moves || (pulse.witnessed && none_waits) {
                pulse.silent += since;
            }
            if pulse.silent >= SILENCE_MIN.max(vital.rtt * SILENCE_ROUND_TRIPS) {
                dead.push((vital.channel, pulse.silent));
            }
        }
        dead
    }

    fn moved(&self, vital: &Vital) -> bool {
        self.0.get(&vital.channel).is_none_or(|pulse| pulse.arrived != vital.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    /// How long `channels` are looked at until one is dead: what each does at a moment is told by `of`.
    fn first_dead(of: impl Fn(ChannelId, Duration) -> (bool, u64), rtt: Duration) -> Option<(ChannelId, Duration)> {
        let mut health = Health::default();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(60) {
            let vital = |channel| {
                let (outstanding, arrived) = of(channel, now);
                Vital { channel, outstanding, arrived, rtt }
            };
            let vitals: Vec<_> = (0..4).map(vital).collect();
            let dead = health.observe(LOOK, &vitals);
            if let Some(&(channel, _)) = dead.first() {
                assert_eq!(dead.len(), 1, "{dead:?}");
                return Some((channel, now));
            }
            now += LOOK;
        }
        None
    }

    fn millis(at: Duration) -> u64 {
        at.as_millis() as u64
    }

    #[test]
    fn one_that_is_silent_while_others_move_is_dead_after_3_s_or_6_round_trips() {
        let story = |channel, at| (true, if channel == 2 { 7 } else { millis(at) });
        let (channel, at) = first_dead(story, RTT).unwrap();
        assert!(channel == 2 && (3_000..=3_500).contains(&millis(at)), "{at:?}");
        let (_, at) = first_dead(story, Duration::from_millis(600)).unwrap();
        assert!((3_600..=4_100).contains(&millis(at)), "{at:?}");
    }

    #[test]
    fn the_others_may_come_to_rest_because_of_what_it_holds() {
        let story = |channel, at| match channel {
            2 => (true, 7),
            _ => (millis(at) < 1_000, millis(at).min(1_000)),
        };
        assert_eq!(first_dead(story, RTT).map(|(channel, _)| channel), Some(2));
    }

    #[test]
    fn a_dark_path_kills_no_channel_and_neither_does_its_return() {
        // All are silent from 5 s to 25 s, and come back one after the other, as their probes happen to be due.
        let story = |channel: ChannelId, at| {
            let back = 25_000 + u64::from(channel) * 900;
            (true, if (5_000..back).contains(&millis(at)) { 5_000 } else { millis(at) })
        };
        assert_eq!(first_dead(story, RTT), None);
    }

    #[test]
    fn a_channel_with_nothing_under_way_may_be_silent_for_ever() {
        assert_eq!(first_dead(|channel, at| (channel != 2, if channel == 2 { 7 } else { millis(at) }), RTT), None);
    }

    #[test]
    fn the_only_channel_is_never_dead() {
        let mut health = Health::default();
        let only = [Vital { channel: 0, outstanding: true, arrived: 7, rtt: RTT }];
        assert!((0..100).all(|_| health.observe(LOOK, &only).is_empty()));
    }
}
