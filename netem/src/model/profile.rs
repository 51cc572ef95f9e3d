//! Named paths, each with the source of its numbers.

use std::fmt;

use crate::{Conditions, Direction, Knob, parse_knobs};

/// Conditions of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Profile {
    pub forward: Conditions,
    pub back: Conditions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedProfile {
    pub name: &'static str,
    pub about: &'static str,
    /// Knobs of both directions.
    both: &'static str,
    /// Knobs from the target to the source that differ.
    back: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a profile; the profiles are: {}", names())]
pub struct UnknownProfile {
    found: String,
}

/// Every named profile, shortest delay first. Delays are one way: half of the round-trip time that the source states.
pub const PROFILES: &[NamedProfile] = &[
    // Guo et al., "Pingmesh", SIGCOMM 2015, §5: medians of 0.2 to 0.3 ms between pods.
    same("lan", "two racks of one data centre", "delay 120 us"),
    // Cloud providers state at most 2 ms between zones of one region; 100 km of fibre are 1 ms of it.
    same("metro", "two data centres of one city, 2 ms round trip", "delay 1 ms, rate 1 Gbit/s, limit 20 ms"),
    // Published averages between cloud regions: 88.6 ms eu-central-1 to us-east-1.
    same(
        "transatlantic",
        "Frankfurt to Virginia, 88 ms round trip",
        "delay 44 ms, jitter 500 us, rate 500 Mbit/s, limit 50 ms",
    ),
    // 10,260 km as the crow flies are 101 ms round trip in fibre (204,000 km/s, ITU-T G.652); cables
    // through the Red Sea are half as long again, and providers publish medians around 160 ms.
    same(
        "fra-sin",
        "Frankfurt to Singapore, 160 ms round trip",
        "delay 80 ms, jitter 1 ms, rate 500 Mbit/s, limit 50 ms",
    ),
    // Published averages between cloud regions: 328.1 ms sa-east-1 to ap-southeast-1.
    same(
        "antipodes",
        "Sao Paulo to Singapore, 328 ms round trip",
        "delay 164 ms, jitter 1 ms, rate 300 Mbit/s, limit 50 ms",
    ),
    // A path on which loss-based congestion control collapses: Mathis et al., "The Macroscopic Behavior of the TCP
    // Congestion Avoidance Algorithm", 1997, gives one flow 0.5 Mbit/s on it.
    same(
        "lossy-2pct",
        "200 ms round trip, 2 % of packets lost",
        "delay 100 ms, rate 500 Mbit/s, limit 50 ms, loss 2 %",
    ),
    // The same mean as above in Gilbert-Elliott bursts, as on a congested or flapping path.
    same(
        "bursty-2pct",
        "200 ms round trip, 2 % lost in bursts of 10 packets",
        "delay 100 ms, rate 500 Mbit/s, limit 50 ms, loss 2 % in bursts of 10",
    ),
    // Flach et al., "An Internet-Wide Analysis of Traffic Policing", SIGCOMM 2016: policers without a queue,
    // bucket depths of tens of kilobytes and more.
    same(
        "policed",
        "100 ms round trip, a policer at 300 Mbit/s and no queue",
        "delay 50 ms, rate 300 Mbit/s, policer 128 KiB",
    ),
    // 12 Mbit/s and 70 ms are WebPageTest's "LTE"; buffers of several hundred ms are what Jiang et al.
    // measured in "Tackling Bufferbloat in 3G/4G Networks", IMC 2012.
    same(
        "lte-edge",
        "an edge site on LTE, 70 ms round trip, 12 Mbit/s, deep buffers",
        "delay 35 ms, jitter 10 ms, rate 12 Mbit/s, limit 400 ms, loss 0.1 %",
    ),
    // RFC 2488 §2: 239.6 to 279 ms for one hop, 558 ms round trip, plus what the modems take.
    NamedProfile {
        name: "satellite-geo",
        about: "a geostationary satellite, 600 ms round trip, 5 Mbit/s up and 20 Mbit/s down",
        both: "delay 300 ms, jitter 5 ms, rate 5 Mbit/s, limit 600 ms, loss 0.1 %",
        back: "rate 20 Mbit/s",
    },
];

const fn same(name: &'static str, about: &'static str, both: &'static str) -> NamedProfile {
    NamedProfile { name, about, both, back: "" }
}

impl Profile {
    pub fn named(name: &str) -> Result<Self, UnknownProfile> {
        let found = PROFILES.iter().find(|profile| profile.name == name);
        found.map(NamedProfile::profile).ok_or_else(|| UnknownProfile { found: name.to_owned() })
    }

    /// Returns a profile with the same conditions in both directions.
    pub const fn both(conditions: Conditions) -> Self {
        Self { forward: conditions, back: conditions }
    }

    pub fn set(&mut self, direction: Direction, knobs: impl IntoIterator<Item = Knob>) {
        let conditions = match direction {
            Direction::Forward => &mut self.forward,
            Direction::Back => &mut self.back,
        };
        *conditions = conditions.with(knobs);
    }
}

impl NamedProfile {
    pub fn profile(&self) -> Profile {
        let read = |text| parse_knobs(text).expect("a test reads every profile");
        let forward = Conditions::default().with(read(self.both));
        Profile { forward, back: forward.with(read(self.back)) }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forward == self.back {
            return write!(f, "{} (each way)", self.forward);
        }
        write!(f, "{} (forward); {} (back)", self.forward, self.back)
    }
}

fn names() -> String {
    PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_parses_and_is_found_by_name() {
        for named in PROFILES {
            let profile = Profile::named(named.name).unwrap();
            assert!(profile.forward.delay > std::time::Duration::ZERO, "{}", named.name);
        }
        let error = Profile::named("fra-sinn").unwrap_err().to_string();
        assert!(error.contains("`fra-sinn`") && error.contains("lossy-2pct"), "{error}");
    }

    #[test]
    fn the_two_directions_may_differ() {
        let geo = Profile::named("satellite-geo").unwrap();
        assert_ne!(geo.forward.rate, geo.back.rate);
        assert_eq!(geo.forward.delay, geo.back.delay);
    }
}
