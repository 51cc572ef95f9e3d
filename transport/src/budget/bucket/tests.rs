//! The promise of the budget, over random rates, packets, pauses and changes of the rate.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// Step of a random run.
#[derive(Debug, Clone)]
enum Step {
    /// Transmits of some packets of some bytes, each as soon as it may leave, with a late timer.
    Send { transmits: usize, packets: u64, bytes: u64, late: Duration },
    /// Pause with nothing to send.
    Pause(Duration),
    /// New rate in kbit/s.
    Rate(u64),
}

fn steps() -> impl Strategy<Value = (u64, Vec<Step>)> {
    let rate = || prop_oneof![1_000_u64..20_000, 20_000_u64..=500_000];
    let late = (0_u64..2_000).prop_map(Duration::from_micros);
    let send = (1_usize..400, 1_u64..=10, 60_u64..=1500, late);
    let send = send.prop_map(|(transmits, packets, bytes, late)| Step::Send { transmits, packets, bytes, late });
    let pause = (1_u64..1_500).prop_map(|ms| Step::Pause(Duration::from_millis(ms)));
    let step = prop_oneof![6 => send, 2 => pause, 1 => rate().prop_map(Step::Rate)];
    (rate(), prop::collection::vec(step, 1..40))
}

/// Bytes that left and rates in effect, with their times.
#[derive(Default)]
struct Seen {
    left: Vec<(Duration, u64)>,
    rates: Vec<(Duration, Rate)>,
    batch: u64,
}

fn run(first: u64, steps: &[Step]) -> Seen {
    let mut bucket = Bucket::default();
    let mut now = Duration::ZERO;
    let mut seen = Seen { batch: PACKET_BYTES, ..Seen::default() };
    let set = |bucket: &mut Bucket, seen: &mut Seen, kbit: u64, now: Duration| {
        let rate = Rate::from_bits_per_second(kbit * 1000);
        bucket.set_rate(Some(rate), now);
        seen.rates.push((now, rate));
    };
    set(&mut bucket, &mut seen, first, now);
    for step in steps {
        match *step {
            Step::Pause(pause) => now += pause,
            Step::Rate(kbit) => set(&mut bucket, &mut seen, kbit, now),
            Step::Send { transmits, packets, bytes, late } => {
                for _ in 0..transmits {
                    while let Err(until) = bucket.take(packets * bytes, now) {
                        assert!(until > now, "a moment to wait for");
                        now = until + late;
                    }
                    seen.left.push((now, packets * bytes));
                    seen.batch = seen.batch.max(packets * bytes);
                }
            }
        }
    }
    seen
}

impl Seen {
    /// Bytes that the rates allow from `from` to `to`.
    fn allowed(&self, from: Duration, to: Duration) -> f64 {
        let ends = self.rates.iter().skip(1).map(|(at, _)| *at).chain([Duration::MAX]);
        let spans = self.rates.iter().zip(ends).map(|((begin, rate), end)| {
            let within = end.min(to).saturating_sub((*begin).max(from));
            within.as_secs_f64() * rate.bits_per_second() as f64 / 8.0
        });
        spans.sum()
    }

    /// The highest rate that held at some moment from `from` to `to`, in bytes per second.
    fn highest(&self, from: Duration, to: Duration) -> f64 {
        let ends = self.rates.iter().skip(1).map(|(at, _)| *at).chain([Duration::MAX]);
        let held = self.rates.iter().zip(ends).filter(|((begin, _), end)| *begin <= to && *end >= from);
        held.map(|((_, rate), _)| rate.bits_per_second() as f64 / 8.0).fold(0.0, f64::max)
    }

    /// Returns the window of this length that exceeds its limit most: its begin, and by how many bytes.
    fn worst(&self, window: Duration, part_over: f64) -> (Duration, f64) {
        let mut sum = 0;
        let mut first = 0;
        let mut worst = (Duration::ZERO, f64::MIN);
        for &(at, bytes) in &self.left {
            sum += bytes;
            while at - self.left[first].0 > window {
                sum -= self.left[first].1;
                first += 1;
            }
            let from = self.left[first].0;
            let to = from + window;
            let slack = self.highest(from, to) * window.as_secs_f64() * part_over;
            let over = sum as f64 - self.allowed(from, to) - slack - self.batch as f64;
            if over > worst.1 {
                worst = (from, over);
            }
        }
        worst
    }
}

proptest! {
    #[test]
    fn no_window_holds_more_than_was_promised((first, steps) in steps()) {
        let seen = run(first, &steps);
        for (window, part_over) in [(SECOND, 0.005), (TENTH, 0.05)] {
            let (from, over) = seen.worst(window, part_over);
            prop_assert!(over <= 0.0, "{over} bytes too many in {window:?} from {from:?}");
        }
    }
}

#[test]
fn all_of_the_rate_can_be_used() {
    for mbit in [1, 7, 50, 300, 500, 2_000, 10_000] {
        let mut bucket = Bucket::default();
        let rate = Rate::from_bits_per_second(mbit * 1_000_000);
        bucket.set_rate(Some(rate), Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut left = 0_u64;
        // 30 s, so that the last packet, which did not leave, does not matter.
        while now < SECOND * 30 {
            match bucket.take(1480, now) {
                Ok(()) => left += 1480,
                // The timer is late by 1.5 ms each time.
                Err(until) => now = until + Duration::from_micros(1500),
            }
        }
        let part = left as f64 / rate.bytes_in(now) as f64;
        assert!((0.998..=1.005).contains(&part), "{part} of {rate}");
    }
}

#[test]
fn a_transmit_larger_than_a_burst_waits_for_all_of_its_bytes() {
    let mut bucket = Bucket::default();
    bucket.set_rate(Some(Rate::from_bits_per_second(1_000_000)), Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut asked = 0;
    while let Err(until) = bucket.take(15_000, now) {
        now = until;
        asked += 1;
        assert!(asked < 20, "each wait pays a burst");
    }
    assert!((Duration::from_millis(119)..Duration::from_millis(122)).contains(&now), "{now:?}");
    let after = bucket.take(1_500, now).unwrap_err();
    assert!(after - now > Duration::from_millis(11), "no burst behind it: {:?}", after - now);
}

#[test]
fn what_did_not_leave_is_not_charged_again() {
    let mut bucket = Bucket::default();
    bucket.set_rate(Some(Rate::from_bits_per_second(8_000_000)), Duration::ZERO);
    assert_eq!(bucket.take(1_500, SECOND), Ok(()));
    bucket.give_back(1_500);
    for _ in 0..3 {
        assert_eq!(bucket.take(1_500, SECOND), Ok(()), "the burst is 5,500 bytes");
    }
    assert!(bucket.take(1_500, SECOND).is_err());
}

#[test]
fn without_a_rate_everything_leaves_immediately() {
    let mut bucket = Bucket::default();
    assert!((0..1000).all(|_| bucket.take(1 << 30, Duration::ZERO).is_ok()));
}
