//! Finds channels that are dead though the path is not: a dead channel gets no acks while others do. Sans-IO.
//!
//! If all channels are silent, the path is unreachable and none is called dead: QUIC's own time-out ends them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::striping::ChannelId;

/// Shortest silence of a dead channel.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// Round trips of silence of a dead channel on a long path: enough for QUIC's probes after one, three and seven.
const SILENCE_ROUND_TRIPS: u32 = 6;
/// Interval between two checks of the channels.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy)]
pub struct Vital {
    pub channel: ChannelId,
    /// Frames pending: true if one is not known to have arrived.
    pub outstanding: bool,
    /// Count of what is known to have arrived, which only grows.
    pub arrived: u64,
    pub rtt: Duration,
}

/// Silences of a session's channels.
#[derive(Debug, Default)]
pub(crate) struct Health(BTreeMap<ChannelId, Silence>);

#[derive(Debug, Default, Clone, Copy)]
struct Silence {
    arrived: u64,
    lasted: Duration,
    /// True if another channel has moved since this one became silent.
    witnessed: bool,
}

impl Health {
    /// Checks every open channel, `since` the last check. Returns the dead ones, each with its silence.
    pub(crate) fn observe(&mut self, since: Duration, vitals: &[Vital]) -> Vec<(ChannelId, Duration)> {
        // A process that was stopped has missed the events meanwhile.
        let since = since.min(2 * CHECK_INTERVAL);
        self.0.retain(|channel, _| vitals.iter().any(|vital| vital.channel == *channel));
        let moved: Vec<bool> = vitals.iter().map(|vital| self.moved(vital)).collect();
        let mut dead = Vec::new();
        for (index, vital) in vitals.iter().enumerate() {
            let others = || vitals.iter().zip(&moved).enumerate().filter(|(other, _)| *other != index);
            let another_moves = others().any(|(_, (_, moved))| *moved);
            let none_waits = others().all(|(_, (other, _))| !other.outstanding);
            let silence = self.0.entry(vital.channel).or_default();
            silence.arrived = vital.arrived;
            if moved[index] || !vital.outstanding {
                *silence = Silence { arrived: vital.arrived, ..Silence::default() };
                continue;
            }
            silence.witnessed |= another_moves;
            // The others may have stopped because they wait for frames of this one.
            if another_moves || (silence.witnessed && none_waits) {
                silence.lasted += since;
            }
            if silence.lasted >= SILENCE_MIN.max(vital.rtt * SILENCE_ROUND_TRIPS) {
                dead.push((vital.channel, silence.lasted));
            }
        }
        dead
    }

    fn moved(&self, vital: &Vital) -> bool {
        self.0.get(&vital.channel).is_none_or(|silence| silence.arrived != vital.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    /// Returns the first dead channel and its time; `of` gives the vital signs of each channel at a moment.
    fn first_dead(of: impl Fn(ChannelId, Duration) -> (bool, u64), rtt: Duration) -> Option<(ChannelId, Duration)> {
        let mut health = Health::default();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(60) {
            let vital = |channel| {
                let (outstanding, arrived) = of(channel, now);
                Vital { channel, outstanding, arrived, rtt }
            };
            let vitals: Vec<_> = (0..4).map(vital).collect();
            let dead = health.observe(CHECK_INTERVAL, &vitals);
            if let Some(&(channel, _)) = dead.first() {
                assert_eq!(dead.len(), 1, "{dead:?}");
                return Some((channel, now));
            }
            now += CHECK_INTERVAL;
        }
        None
    }

    fn millis(at: Duration) -> u64 {
        at.as_millis() as u64
    }

    #[test]
    fn a_silent_channel_is_dead_after_3_s_or_6_round_trips() {
        let story = |channel, at| (true, if channel == 2 { 7 } else { millis(at) });
        let (channel, at) = first_dead(story, RTT).unwrap();
        assert!(channel == 2 && (3_000..=3_500).contains(&millis(at)), "{at:?}");
        let (_, at) = first_dead(story, Duration::from_millis(600)).unwrap();
        assert!((3_600..=4_100).contains(&millis(at)), "{at:?}");
    }

    #[test]
    fn others_may_stop_because_of_a_dead_channel() {
        let story = |channel, at| match channel {
            2 => (true, 7),
            _ => (millis(at) < 1_000, millis(at).min(1_000)),
        };
        assert_eq!(first_dead(story, RTT).map(|(channel, _)| channel), Some(2));
    }

    #[test]
    fn an_unreachable_path_kills_no_channel() {
        // All are silent from 5 s to 25 s, and come back one after the other, as their probes happen to be due.
        let story = |channel: ChannelId, at| {
            let back = 25_000 + u64::from(channel) * 900;
            (true, if (5_000..back).contains(&millis(at)) { 5_000 } else { millis(at) })
        };
        assert_eq!(first_dead(story, RTT), None);
    }

    #[test]
    fn an_idle_channel_may_be_silent() {
        assert_eq!(first_dead(|channel, at| (channel != 2, if channel == 2 { 7 } else { millis(at) }), RTT), None);
    }

    #[test]
    fn the_only_channel_is_never_dead() {
        let mut health = Health::default();
        let only = [Vital { channel: 0, outstanding: true, arrived: 7, rtt: RTT }];
        assert!((0..100).all(|_| health.observe(CHECK_INTERVAL, &only).is_empty()));
    }
}
