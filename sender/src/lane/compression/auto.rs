//! The places of all classes on the ladder, within the processors that compression may use. Sans-IO.

use std::collections::BTreeMap;
use std::time::Instant;

use wire::compress::Codec;

use super::climber::{Allowance, Climber};
use super::{Compression, Load, Reason, ladder};

/// Ticks in a row for which compression must exceed its processors before a class steps down.
const EXCEEDS_MAX: u32 = 2;
/// Part by which compression may exceed its processors.
const TOLERANCE: f64 = 1.05;

/// Chooser of the codec of each class.
#[derive(Debug, Default)]
pub(crate) struct Auto {
    classes: BTreeMap<String, Climber>,
    exceeds: u32,
}

/// What a class did since the last tick.
#[derive(Debug, Clone)]
pub(crate) struct ClassLoad {
    pub class: String,
    pub load: Load,
    /// The strongest codec that both ends know.
    pub strongest: Codec,
}

/// Processors for compression.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Processors {
    /// Most processors that compression may use; `None` for what is idle.
    pub cap: Option<f64>,
    /// Idle processors; `None` if unknown, which is no reason to hold back.
    pub idle: Option<f64>,
}

impl Auto {
    /// Takes in what all classes did since the last tick. Returns the codec of each, and the reason for it.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        loads: &[ClassLoad],
        processors: Processors,
    ) -> Vec<(String, Codec, Reason)> {
        let used: f64 = loads.iter().map(|class| class.load.cores()).sum();
        let idle = processors.idle.unwrap_or(f64::INFINITY);
        let cores = processors.cap.map_or(idle, |cap| cap - used);
        self.classes.retain(|name, _| loads.iter().any(|class| class.class == *name));
        for class in loads {
            let ladder = ladder(class.strongest);
            let first = Compression::Auto.first();
            let climber = self.classes.entry(class.class.clone()).or_insert_with(|| Climber::new(ladder, first));
            if climber.ladder() != ladder {
                *climber = Climber::new(ladder, first);
            }
        }
        self.keep_cap(now, loads, processors.cap.is_some_and(|cap| used > cap * TOLERANCE));
        // The class with the most bytes first; two trials at a time would judge each other.
        let mut order: Vec<_> = loads.iter().collect();
        order.sort_by_key(|class| std::cmp::Reverse(class.load.frame_bytes));
        for class in order {
            let tried = self.classes.iter().find(|(_, climber)| climber.is_trying()).map(|(name, _)| name.clone());
            let may_try = tried.is_none_or(|name| name == class.class);
            if let Some(climber) = self.classes.get_mut(&class.class) {
                climber.handle(now, class.load, Allowance { cores, may_try });
            }
        }
        let choice = |(name, climber): (&String, &Climber)| (name.clone(), climber.codec(), climber.reason());
        self.classes.iter().map(choice).collect()
    }

    /// Takes the dearest class a step down once compression has exceeded its processors for a while.
    fn keep_cap(&mut self, now: Instant, loads: &[ClassLoad], exceeds: bool) {
        self.exceeds = if exceeds { self.exceeds + 1 } else { 0 };
        if self.exceeds < EXCEEDS_MAX {
            return;
        }
        self.exceeds = 0;
        let mut order: Vec<_> = loads.iter().collect();
        order.sort_by_key(|class| std::cmp::Reverse(class.load.cpu));
        let mut climbers = order.iter().map(|class| &class.class);
        climbers.any(|name| self.classes.get_mut(name).is_some_and(|climber| climber.step_down(now)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Pressure;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A class that sends 100 MB/s before compression, with this cost in processors.
    fn class(name: &str, pressure: Pressure, cores: f64) -> ClassLoad {
        let load = Load {
            seconds: 1.0,
            pressure,
            raw_bytes: 100_000_000,
            frame_bytes: 10_000_000,
            cpu: Duration::from_secs_f64(cores),
        };
        ClassLoad { class: name.to_owned(), load, strongest: Codec::Shape(3) }
    }

    #[test]
    fn compression_beyond_its_processors_steps_down_and_stays() {
        let start = Instant::now();
        let mut auto = Auto::default();
        let cap = Processors { cap: Some(0.5), idle: Some(8.0) };
        let mut codecs = Vec::new();
        let mut codec = Codec::Shape(1);
        for second in 0..25 {
            let cores = match codec {
                Codec::Shape(_) => 0.9,
                Codec::Zstd(_) => 0.6,
                _ => 0.3,
            };
            codec = auto.handle(start + SECOND * second, &[class("a", Pressure::Rest, cores)], cap)[0].1;
            codecs.push(codec);
        }
        assert_eq!((codecs[0], codecs[1]), (Codec::Shape(1), Codec::Zstd(1)), "{codecs:?}");
        assert!(codecs[5..].iter().all(|codec| *codec == Codec::Lz4), "{codecs:?}");
    }

    #[test]
    fn two_classes_are_not_tried_at_the_same_time() {
        let start = Instant::now();
        let mut auto = Auto::default();
        let mut both = 0;
        for second in 0..20 {
            let loads = ["a", "b"].map(|name| class(name, Pressure::Cpu, 0.5));
            auto.handle(start + SECOND * second, &loads, Processors::default());
            both = both.max(auto.classes.values().filter(|climber| climber.is_trying()).count());
        }
        assert_eq!(both, 1);
    }

    #[test]
    fn a_receiver_without_shapes_gets_none() {
        let start = Instant::now();
        let mut auto = Auto::default();
        for second in 0..30 {
            let older = ClassLoad { strongest: Codec::Zstd(3), ..class("a", Pressure::Rest, 0.1) };
            let chosen = auto.handle(start + SECOND * second, &[older], Processors::default());
            assert!(matches!(chosen[0].1, Codec::Zstd(_)), "{chosen:?}");
        }
    }
}
