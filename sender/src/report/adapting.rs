//! Hands what the last second showed to `auto`, and its choices to the lanes.

use std::collections::BTreeMap;
use std::time::Instant;

use wire::lanes::ClassLanes;

use crate::lane::compression::auto::{Auto, ClassLoad, Processors};
use crate::lane::compression::{Load, Pressure};
use crate::lane::progress::{Snapshot, Totals};
use crate::report::limit::Limit;
use crate::report::moment::Moment;
use crate::report::sampler::TimeUse;

/// Idle processors below which the machine counts as full.
const FULL: f64 = 0.05;

/// Driver of `auto`.
#[derive(Debug)]
pub(super) struct Adapting {
    auto: Auto,
    cap: Option<f64>,
    /// Counters of each class at the last tick.
    before: BTreeMap<String, (Instant, Totals)>,
}

impl Adapting {
    pub(super) fn new(cap: Option<f64>) -> Self {
        Self { auto: Auto::default(), cap, before: BTreeMap::new() }
    }

    /// Moves the codecs of the classes; does nothing where a codec is configured.
    pub(super) fn handle(&mut self, now: Instant, idle: Option<f64>, moment: &Moment) {
        let published = &moment.published;
        let Some(dispatcher) = &published.dispatcher else { return };
        if !published.choices.first().is_some_and(|choice| choice.is_auto()) {
            return;
        }
        let classes = dispatcher.table().classes();
        let loads: Vec<_> = classes.iter().filter_map(|class| self.load(now, idle, moment, class)).collect();
        for (name, codec, reason) in self.auto.handle(now, &loads, Processors { cap: self.cap, idle }) {
            let Some(class) = classes.iter().find(|class| class.name == name) else { continue };
            let choices = of_class(&published.choices, class);
            let changed = choices.iter().filter(|choice| choice.codec() != codec).count();
            if changed > 0 {
                tracing::debug!(class = name, %codec, reason = reason.word(), "compression");
            }
            choices.iter().for_each(|choice| choice.set(codec, reason));
        }
    }

    /// Returns what a class did since the last tick; `None` before its first session.
    fn load(&mut self, now: Instant, idle: Option<f64>, moment: &Moment, class: &ClassLanes) -> Option<ClassLoad> {
        let lanes: &[Snapshot] = of_class(&moment.lanes, class);
        let strongest = lanes.iter().find_map(|lane| lane.codec)?;
        let totals = lanes.iter().fold(Totals::default(), |sum, lane| sum + lane.totals);
        let (at, before) = self.before.insert(class.name.clone(), (now, totals))?;
        let busiest = TimeUse::busiest(of_class(&moment.measured.trend.recent.lanes, class).iter().copied());
        let load = Load {
            seconds: now.saturating_duration_since(at).as_secs_f64(),
            pressure: pressure(moment.recent_limit(busiest), idle),
            raw_bytes: totals.raw_bytes.saturating_sub(before.raw_bytes),
            frame_bytes: totals.frame_bytes.saturating_sub(before.frame_bytes),
            cpu: std::time::Duration::from_micros(totals.compression_micros.saturating_sub(before.compression_micros)),
        };
        Some(ClassLoad { class: class.name.clone(), load, strongest })
    }
}

/// Returns the part of a list by lanes that belongs to a class.
fn of_class<'a, T>(lanes: &'a [T], class: &ClassLanes) -> &'a [T] {
    let first = usize::from(class.first).min(lanes.len());
    let last = (first + usize::from(class.count)).min(lanes.len());
    &lanes[first..last]
}

/// Returns what compression can do about a limit.
fn pressure(limit: Limit, idle: Option<f64>) -> Pressure {
    match limit {
        Limit::Standby | Limit::Session | Limit::Lanes => Pressure::Unknown,
        Limit::Budget | Limit::Path | Limit::Receiver => Pressure::Bytes,
        Limit::Cpu => Pressure::Cpu,
        // A target on the same, full machine may be slow for want of processors.
        Limit::Target if idle.is_some_and(|idle| idle < FULL) => Pressure::Cpu,
        Limit::Nothing | Limit::Source | Limit::Target => Pressure::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_pressure() {
        assert_eq!(pressure(Limit::Budget, Some(0.0)), Pressure::Bytes);
        assert_eq!(pressure(Limit::Cpu, Some(4.0)), Pressure::Cpu);
        assert_eq!(
            [Some(0.0), Some(1.0), None].map(|idle| pressure(Limit::Target, idle)),
            [Pressure::Cpu, Pressure::Rest, Pressure::Rest]
        );
        assert_eq!(pressure(Limit::Lanes, None), Pressure::Unknown);
    }

    #[test]
    fn lanes_that_are_not_started_yet_belong_to_no_class() {
        let class = ClassLanes { name: "a".into(), first: 2, count: 3 };
        assert_eq!(of_class(&[0, 1, 2, 3], &class), &[2, 3]);
        assert!(of_class(&[0], &class).is_empty());
    }
}
