//! Tests of the climber on modelled links: what each step costs and saves decides what limits the link.

use std::time::Duration;

use super::super::LADDER;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PLENTY: Allowance = Allowance { cores: 64.0, may_try: true };

/// Link with processors and a budget, and records with a ratio (bytes before compression per byte) and a cost in
/// seconds per byte for each step.
#[derive(Clone)]
struct Model {
    cores: f64,
    /// Bytes per second on the wire.
    budget: f64,
    /// Bytes before compression per second that the source offers.
    offered: f64,
    ratios: [f64; LADDER.len()],
    costs: [f64; LADDER.len()],
}

/// As flights in docs/bytes.md, in seconds per byte.
const COSTS: [f64; LADDER.len()] = [0.3e-9, 1.0e-9, 1.9e-9, 2.3e-9, 2.5e-9];
const FLIGHTS: [f64; LADDER.len()] = [1.0, 4.8, 9.7, 31.0, 31.2];
const NOISE: [f64; LADDER.len()] = [1.0; LADDER.len()];

impl Model {
    fn speed(&self, at: usize) -> f64 {
        self.offered.min(self.cores / self.costs[at]).min(self.budget * self.ratios[at])
    }

    fn load(&self, at: usize) -> Load {
        let raw = self.speed(at);
        let by_bytes = self.budget * self.ratios[at];
        let pressure = if raw >= self.offered {
            Pressure::Rest
        } else if raw >= by_bytes {
            Pressure::Bytes
        } else {
            Pressure::Cpu
        };
        let cpu = Duration::from_secs_f64(raw * self.costs[at]);
        Load { seconds: 1.0, pressure, raw_bytes: raw as u64, frame_bytes: (raw / self.ratios[at]) as u64, cpu }
    }
}

/// Lets a climber run; returns its place after each second.
fn run(climber: &mut Climber, model: &Model, from: Instant, seconds: u32) -> Vec<usize> {
    let second = |second| {
        climber.handle(from + SECOND * second, model.load(climber.at), PLENTY);
        climber.at
    };
    (0..seconds).map(second).collect()
}

fn climber() -> Climber {
    Climber::new(LADDER, Codec::Shape(1))
}

fn steps(places: &[usize]) -> usize {
    places.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Asserts that from 10 s on nearly all of the time is spent where the link is as fast as it can be, and that further
/// trials become rare.
fn assert_stays(model: &Model, start: Codec) -> usize {
    let mut climber = Climber::new(LADDER, start);
    let places = run(&mut climber, model, Instant::now(), 1800);
    let best = (0..LADDER.len()).map(|at| model.speed(at)).fold(0.0, f64::max);
    let good = |at: &usize| model.speed(*at) >= best * 0.96;
    let first = &places[10..70];
    let good_part = first.iter().filter(|at| good(at)).count() as f64 / first.len() as f64;
    assert!(good_part > 0.85, "{places:?}");
    assert!(steps(first) <= 8, "it flaps: {first:?}");
    assert!(steps(&places[900..]) <= 8, "trials do not become rare: {:?}", &places[900..]);
    *places.last().unwrap()
}

#[test]
fn a_narrow_budget_is_worth_the_strongest_method_that_pays() {
    let model = Model { cores: 2.0, budget: 1.0e6, offered: f64::INFINITY, ratios: FLIGHTS, costs: COSTS };
    assert_eq!(assert_stays(&model, Codec::Shape(1)), 3, "level 3 saves nothing more");
    assert_eq!(assert_stays(&model, Codec::None), 3);
}

#[test]
fn a_fast_path_is_filled_by_what_the_processors_can_do() {
    for (budget, place) in [(3.0e7, 3), (9.5e7, 2), (3.0e8, 1), (4.0e9, 0)] {
        let model = Model { cores: 1.0, budget, offered: f64::INFINITY, ratios: FLIGHTS, costs: COSTS };
        for start in [Codec::Shape(1), Codec::Lz4] {
            let speed = |at| model.speed(at);
            let found = assert_stays(&model, start);
            assert!(speed(found) >= speed(place) * 0.96, "budget {budget}: {found} in place of {place}");
        }
    }
}

#[test]
fn records_that_do_not_shrink_cost_no_more_than_they_must() {
    let narrow = Model { cores: 2.0, budget: 1.0e6, offered: f64::INFINITY, ratios: NOISE, costs: COSTS };
    assert_eq!(assert_stays(&narrow, Codec::Shape(1)), 3, "no step is any better");
    let fast = Model { budget: 1.0e10, ..narrow };
    assert_eq!(assert_stays(&fast, Codec::Shape(1)), 0);
}

#[test]
fn records_that_change_are_judged_anew() {
    let start = Instant::now();
    let noise = Model { cores: 0.5, budget: 2.0e8, offered: f64::INFINITY, ratios: [1.0; 5], costs: COSTS };
    let mut climber = climber();
    run(&mut climber, &noise, start, 60);
    let text = Model { budget: 1.0e7, ratios: FLIGHTS, ..noise.clone() };
    let places = run(&mut climber, &text, start + SECOND * 60, 60);
    assert!(places[40..].iter().filter(|at| **at == 3).count() >= 14, "{places:?}");
}

#[test]
fn at_rest_only_idle_processors_are_used() {
    let start = Instant::now();
    let rest = Model { cores: 2.0, budget: 1.0e8, offered: 1.0e7, ratios: FLIGHTS, costs: COSTS };
    let mut idle = Climber::new(LADDER, Codec::Lz4);
    assert_eq!(run(&mut idle, &rest, start, 60).last(), Some(&3));
    let mut busy = Climber::new(LADDER, Codec::Lz4);
    for second in 0..60 {
        busy.handle(start + SECOND * second, rest.load(busy.at), Allowance { cores: 0.0, may_try: true });
    }
    assert_eq!(busy.at, 1);
}

#[test]
fn bursts_do_not_swing_it_to_and_fro() {
    let start = Instant::now();
    let rest = Model { cores: 0.2, budget: 1.0e9, offered: 1.0e6, ratios: FLIGHTS, costs: COSTS };
    let burst = Model { offered: f64::INFINITY, ..rest.clone() };
    let mut climber = climber();
    let mut places = Vec::new();
    for round in 0..60 {
        let model = if round % 2 == 0 { &burst } else { &rest };
        places.extend(run(&mut climber, model, start + SECOND * 20 * round, 20));
    }
    assert!(steps(&places) <= 60, "{} steps in 20 minutes", steps(&places));
    assert!(steps(&places[600..]) <= steps(&places[..600]), "{places:?}");
}

#[test]
fn without_a_session_or_without_records_nothing_is_tried() {
    let start = Instant::now();
    for load in [
        Load { seconds: 1.0, pressure: Pressure::Unknown, raw_bytes: 1 << 30, frame_bytes: 1 << 29, cpu: SECOND },
        Load { seconds: 1.0, pressure: Pressure::Rest, ..Load::default() },
    ] {
        let mut climber = climber();
        for second in 0..60 {
            climber.handle(start + SECOND * second, load, PLENTY);
        }
        assert_eq!((climber.codec(), climber.reason()), (Codec::Shape(1), Reason::Start));
    }
}

#[test]
fn a_trickle_may_use_the_strongest_method_without_a_verdict() {
    let start = Instant::now();
    let trickle = Model { cores: 2.0, budget: 1.0e8, offered: 1.0e4, ratios: FLIGHTS, costs: COSTS };
    let places = run(&mut climber(), &trickle, start, 60);
    assert_eq!((places.last(), steps(&places)), (Some(&4), 1), "{places:?}");
}
