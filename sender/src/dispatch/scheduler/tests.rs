//! A pipe that is always full: who gets what of it.

use std::collections::VecDeque;

use proptest::prelude::*;
use service::topics::TopicFilter;
use wire::lanes::ClassRequest;

use super::*;
use crate::dispatch::classes::{Ceiling, Class};

const FRAME: u64 = 100_000;

/// Bytes per second of the pipe: a frame takes 10 ms.
const RATE: u64 = 10_000_000;
const FRAME_TIME: Duration = Duration::from_millis(10);

fn share(percent: u8) -> Share {
    Share::of_one(f64::from(percent) / 100.0)
}

fn shared(percent: u8) -> ClassTerms {
    ClassTerms { share: Some(share(percent)), ..ClassTerms::default() }
}

const STRICT: ClassTerms = ClassTerms { strict: true, share: None, ceiling: None };

/// A pipe, and lanes that are due again some time after they have sent.
struct Pipe {
    scheduler: Scheduler,
    table: ClassTable,
    now: Instant,
    /// Time at which each lane is due again; `None` for one that has nothing to send.
    due: Vec<Option<Instant>>,
    sent: Vec<u64>,
    /// Times at which frames of each class were sent, and their bytes.
    log: Vec<VecDeque<(Instant, u64)>>,
}

fn classes(terms: &[(ClassTerms, u16)]) -> Classes {
    let class = |(index, (terms, lanes)): (usize, &(ClassTerms, u16))| Class {
        name: format!("c{index}"),
        topics: TopicFilter::new(Vec::new(), Vec::new()),
        lanes: *lanes,
        terms: *terms,
    };
    Classes(terms.iter().enumerate().map(class).collect())
}

impl Pipe {
    /// The default class with `lanes` lanes, and others.
    fn new(lanes: u16, terms: &[(ClassTerms, u16)]) -> Self {
        let classes = classes(terms);
        let wishes: Vec<ClassRequest> = classes.requests();
        let table = ClassTable::new(lanes).append(&wishes).unwrap();
        let now = Instant::now();
        let scheduler = Scheduler::new(&table, &classes, Some(Rate::from_bits_per_second(RATE * 8)), FRAME, now);
        let due = vec![None; usize::from(table.lanes())];
        let count = table.classes().len();
        Self { scheduler, table, now, due, sent: vec![0; count], log: vec![VecDeque::new(); count] }
    }

    fn class_of(&self, lane: LaneId) -> usize {
        self.table.classes().iter().position(|class| class.owns(lane)).unwrap()
    }

    /// All lanes of a class have frames without end.
    fn saturate(&mut self, class: usize) {
        let class = self.table.classes()[class].clone();
        (class.first..class.first + class.count).for_each(|lane| self.due[usize::from(lane)] = Some(self.now));
    }

    /// Sends for `time`; a lane is due again `gap` after its frame was taken, which has `bytes`.
    fn run(&mut self, time: Duration, gap: impl Fn(LaneId) -> Duration, bytes: impl Fn(LaneId) -> u64) -> Duration {
        let until = self.now + time;
        let mut idle = Duration::ZERO;
        while self.now < until {
            for (lane, due) in self.due.iter().enumerate() {
                if due.is_some_and(|due| due <= self.now) {
                    self.scheduler.handle_due(LaneId(lane as u16));
                }
            }
            match self.scheduler.next(self.now) {
                Some(lane) => {
                    let class = self.class_of(lane);
                    let bytes = bytes(lane);
                    self.scheduler.handle_taken(lane, bytes, self.now);
                    self.due[usize::from(lane.0)] = Some(self.now + gap(lane));
                    self.sent[class] += bytes;
                    self.log[class].push_back((self.now, bytes));
                    self.now += Duration::from_nanos(bytes * 1_000_000_000 / RATE);
                }
                None => {
                    self.now += Duration::from_micros(100);
                    idle += Duration::from_micros(100);
                }
            }
        }
        idle
    }

    fn part(&self, class: usize) -> f64 {
        self.sent[class] as f64 / self.sent.iter().sum::<u64>() as f64
    }
}

proptest! {
    #[test]
    fn each_class_has_its_share_and_nothing_idles_when_saturated(
        (a, b) in (1u8..=60, 1u8..=39),
        lanes in (1u16..5, 1u16..5, 1u16..5),
        gap in 0u64..9,
        sizes in (1u64..=10, 1u64..=10, 1u64..=10),
    ) {
        let mut pipe = Pipe::new(lanes.0, &[(shared(a), lanes.1), (shared(b), lanes.2)]);
        (0..3).for_each(|class| pipe.saturate(class));
        let table = pipe.table.clone();
        let size = move |lane: LaneId| {
            let class = table.classes().iter().position(|class| class.owns(lane)).unwrap();
            [sizes.0, sizes.1, sizes.2][class] * (FRAME / 10)
        };
        // Packing takes less than the smallest frame's time on the wire.
        let smallest = sizes.0.min(sizes.1).min(sizes.2) as f64 / 10.0;
        let gap = FRAME_TIME.mul_f64(smallest * gap as f64 / 10.0);
        let idle = pipe.run(Duration::from_secs(60), |_| gap, size);
        prop_assert!(idle < Duration::from_millis(600), "idle for {idle:?}");
        for (class, percent) in [(0, 100 - a - b), (1, a), (2, b)] {
            let part = pipe.part(class);
            let wanted = f64::from(percent) / 100.0;
            prop_assert!((part - wanted).abs() < 0.03, "class {class} has {part}, was to have {wanted}");
        }
    }

    #[test]
    fn others_have_what_one_class_leaves(a in 1u8..=60, b in 1u8..=39) {
        let mut pipe = Pipe::new(2, &[(shared(a), 2), (shared(b), 2)]);
        pipe.saturate(2);
        let idle = pipe.run(Duration::from_secs(5), |_| Duration::ZERO, |_| FRAME);
        prop_assert!(idle.is_zero() && pipe.part(2) == 1.0);
        // Who comes back is owed nothing for the time that it left to others.
        pipe.sent.fill(0);
        pipe.saturate(1);
        pipe.run(Duration::from_secs(20), |_| Duration::ZERO, |_| FRAME);
        let wanted = f64::from(a) / f64::from(a + b);
        prop_assert!((pipe.part(1) - wanted).abs() < 0.04, "{} of {wanted}", pipe.part(1));
    }

    #[test]
    fn a_ceiling_is_kept_over_every_stretch_of_time(
        percent in 1u8..=90,
        bytes in 1_000u64..=FRAME,
        strict in any::<bool>(),
    ) {
        let ceiling = Some(Ceiling::Share(share(percent)));
        let mut pipe = Pipe::new(2, &[(ClassTerms { strict, share: None, ceiling }, 3)]);
        (0..2).for_each(|class| pipe.saturate(class));
        let idle = pipe.run(Duration::from_secs(10), |_| Duration::ZERO, |_| bytes);
        prop_assert!(idle.is_zero(), "the default class has no ceiling");
        let limit = RATE as f64 * f64::from(percent) / 100.0;
        let log = &pipe.log[1];
        for (index, (from, _)) in log.iter().enumerate().step_by(7) {
            let mut sum = 0;
            for (at, bytes) in log.iter().skip(index).take(500) {
                sum += bytes;
                let allowed = limit * ((*at - *from).as_secs_f64() + CEILING_BURST.as_secs_f64()) + *bytes as f64;
                prop_assert!(sum as f64 <= allowed + 1.0, "{sum} bytes in {:?}, {allowed} are allowed", *at - *from);
            }
        }
        if strict {
            let reached = pipe.sent[1] as f64 / 10.0;
            prop_assert!(reached > limit * 0.97, "{reached} bytes/s of {limit}");
        }
    }
}

#[test]
fn a_class_does_not_catch_up_what_its_ceiling_held_back() {
    let capped = ClassTerms { ceiling: Some(Ceiling::Share(share(10))), ..ClassTerms::default() };
    let mut pipe = Pipe::new(2, &[(capped, 2)]);
    (0..2).for_each(|class| pipe.saturate(class));
    pipe.run(Duration::from_secs(60), |_| Duration::ZERO, |_| FRAME);
    assert!(pipe.sent[0] > 8 * pipe.sent[1], "{:?}", pipe.sent);
    let before = pipe.sent.clone();
    let now = pipe.now;
    pipe.scheduler.set_rate(Some(Rate::from_bits_per_second(RATE * 8 * 100)), now);
    pipe.run(Duration::from_secs(10), |_| Duration::ZERO, |_| FRAME);
    let sent = [pipe.sent[0] - before[0], pipe.sent[1] - before[1]];
    assert!(sent[0] * 10 > sent[1] * 9, "the others starve: {sent:?}");
}

#[test]
fn a_strict_class_waits_for_one_frame_at_most() {
    let mut pipe = Pipe::new(8, &[(shared(80), 4), (STRICT, 1)]);
    (0..2).for_each(|class| pipe.saturate(class));
    let critical = LaneId(12);
    for round in 0..200 {
        pipe.run(Duration::from_millis(7 + round % 13), |_| Duration::ZERO, |_| FRAME);
        pipe.scheduler.handle_due(critical);
        assert_eq!(pipe.scheduler.next(pipe.now), Some(critical), "round {round}");
        pipe.scheduler.handle_taken(critical, 500, pipe.now);
        assert_ne!(pipe.scheduler.next(pipe.now), Some(critical), "it has nothing more to send");
    }
    // What it took changes nothing between the others.
    assert!((pipe.part(1) - 0.8).abs() < 0.03, "{}", pipe.part(1));
}

#[test]
fn a_class_that_packs_slowly_still_has_its_share() {
    let mut pipe = Pipe::new(4, &[(shared(30), 1)]);
    (0..2).for_each(|class| pipe.saturate(class));
    let gap = |lane: LaneId| if lane == LaneId(4) { FRAME_TIME.mul_f64(2.2) } else { Duration::ZERO };
    pipe.run(Duration::from_secs(30), gap, |_| FRAME);
    assert!((pipe.part(1) - 0.3).abs() < 0.03, "{}", pipe.part(1));
}

#[test]
fn new_terms_take_effect_with_the_next_frame() {
    let mut pipe = Pipe::new(2, &[(shared(90), 2)]);
    (0..2).for_each(|class| pipe.saturate(class));
    let second = Duration::from_secs(10);
    pipe.run(second, |_| Duration::ZERO, |_| FRAME);
    assert!((pipe.part(1) - 0.9).abs() < 0.03, "{}", pipe.part(1));
    let set = |pipe: &mut Pipe, terms, rate: u64| {
        let table = pipe.table.clone();
        let now = pipe.now;
        pipe.scheduler.set(&table, &classes(&[(terms, 2)]), Some(Rate::from_bits_per_second(rate * 8)), now);
        pipe.sent.fill(0);
        pipe.run(second, |_| Duration::ZERO, |_| FRAME);
        pipe.part(1)
    };
    let part = set(&mut pipe, shared(20), RATE);
    assert!((part - 0.2).abs() < 0.03, "{part}");
    let ceiling = Some(Ceiling::Share(share(10)));
    let part = set(&mut pipe, ClassTerms { ceiling, ..shared(10) }, RATE / 2);
    assert!((part - 0.05).abs() < 0.02, "a tenth of half of the rate, not {part}");
    // What was before has faded.
    pipe.run(second * 4, |_| Duration::ZERO, |_| FRAME);
    let views = pipe.scheduler.view(pipe.now);
    assert_eq!(views[1].ceiling, Some(RATE / 20));
    assert!((views[1].share.unwrap() - 0.05).abs() < 0.03, "{views:?}");
}

#[test]
fn a_lane_at_its_ceiling_learns_when_to_ask_again() {
    let ceiling = Some(Ceiling::Rate(Rate::from_bits_per_second(8_000_000)));
    let mut pipe = Pipe::new(1, &[(ClassTerms { strict: true, share: None, ceiling }, 1)]);
    let lane = LaneId(1);
    pipe.scheduler.handle_due(lane);
    assert_eq!(pipe.scheduler.next(pipe.now), Some(lane));
    pipe.scheduler.handle_taken(lane, 500_000, pipe.now);
    pipe.scheduler.handle_due(lane);
    assert_eq!(pipe.scheduler.next(pipe.now), None);
    let opens = pipe.scheduler.opens(lane, pipe.now).expect("it waits for its ceiling");
    assert!((opens - pipe.now).as_secs_f64() > 0.47, "{:?}", opens - pipe.now);
    assert_eq!(pipe.scheduler.next(opens), Some(lane));
    assert_eq!(pipe.scheduler.opens(LaneId(0), pipe.now), None);
}

#[test]
fn bytes_that_compression_saves_are_given_back() {
    let mut pipe = Pipe::new(2, &[(shared(50), 2)]);
    let first = LaneId(2);
    let second = LaneId(3);
    pipe.scheduler.handle_due(first);
    pipe.scheduler.handle_due(second);
    pipe.scheduler.handle_taken(first, FRAME, pipe.now);
    assert_eq!(pipe.scheduler.next(pipe.now), Some(second), "no lane waits for another's compression");
    pipe.scheduler.handle_made(first, FRAME, FRAME / 4, pipe.now);
    pipe.scheduler.handle_idle(second);
    // Frames of a quarter of what was taken: the shares are those of what was made.
    let mut made = [0, 0];
    for _ in 0..400 {
        [LaneId(0), first].into_iter().for_each(|lane| pipe.scheduler.handle_due(lane));
        let lane = pipe.scheduler.next(pipe.now).unwrap();
        let bytes = if lane == first { FRAME / 4 } else { FRAME };
        pipe.scheduler.handle_taken(lane, FRAME, pipe.now);
        pipe.scheduler.handle_made(lane, FRAME, bytes, pipe.now);
        made[usize::from(lane == first)] += bytes;
    }
    let part = made[1] as f64 / (made[0] + made[1]) as f64;
    assert!((part - 0.5).abs() < 0.03, "{part}");
}
