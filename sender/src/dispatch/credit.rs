//! Credit of each lane: bytes that it may still have unacknowledged (wire-format.md#credit). Sans-IO.
//!
//! Every lane owns a reserve of one maximal frame; beyond it all lanes share one pool, first come, first served,
//! overtaken by strict classes only. A lane may use its reserve and half of the pool, so that one hot partition can fill
//! the pipe and two cannot starve the rest. Lanes of strict classes are served before others, which leave them a quarter
//! of the pool: within it a critical class waits for its own acks, never for those of bulk; for more it waits for acks of
//! bulk too, but is not overtaken. Invariants: what all lanes use beyond their reserves is at
//! most the pool; nothing but an ack, a refund, a closed lane and the session's end frees credit.

use std::collections::VecDeque;

use wire::control::CreditTerms;
use wire::ids::LaneId;

/// Divisor of the pool for the part that is kept for urgent lanes: one in four. Another lane can still use half.
const KEPT_PART: u64 = 4;

#[derive(Debug)]
pub(crate) struct Credit {
    terms: CreditTerms,
    used: Vec<u64>,
    waiting: VecDeque<(LaneId, u64)>,
    granted: VecDeque<(LaneId, u64)>,
    urgent: Vec<bool>,
}

impl Credit {
    pub(crate) fn new(terms: CreditTerms, lanes: u16) -> Self {
        let lanes = usize::from(lanes);
        Self {
            terms,
            used: vec![0; lanes],
            waiting: VecDeque::new(),
            granted: VecDeque::new(),
            urgent: vec![false; lanes],
        }
    }

    /// Sets which lanes go before others.
    pub(crate) fn set_urgent(&mut self, is_urgent: impl Fn(LaneId) -> bool) {
        for (lane, urgent) in self.urgent.iter_mut().enumerate() {
            *urgent = is_urgent(LaneId(lane as u16));
        }
        self.grant();
    }

    /// Returns the largest request that can ever be granted.
    pub(crate) fn request_max(&self) -> u64 {
        self.terms.reserve.max(self.terms.pool / 2)
    }

    /// Requests `bytes`, one request of a lane at a time. The grant comes out of [`Credit::poll_granted`].
    pub(crate) fn request(&mut self, lane: LaneId, bytes: u64) {
        assert!(bytes <= self.request_max(), "a request of {bytes} could never be granted");
        debug_assert!(self.waiting.iter().all(|(other, _)| *other != lane), "one request at a time");
        self.waiting.push_back((lane, bytes));
        self.grant();
    }

    /// Frees `bytes` that were not needed, or whose frame is acked.
    pub(crate) fn free(&mut self, lane: LaneId, bytes: u64) {
        let used = &mut self.used[usize::from(lane.0)];
        assert!(*used >= bytes, "lane {lane} frees {bytes} of {used}");
        *used -= bytes;
        self.grant();
    }

    pub(crate) fn close_lane(&mut self, lane: LaneId) {
        self.waiting.retain(|(other, _)| *other != lane);
        self.granted.retain(|(other, _)| *other != lane);
        self.used[usize::from(lane.0)] = 0;
        self.grant();
    }

    /// Returns the next lane whose request was granted, and the bytes granted.
    pub(crate) fn poll_granted(&mut self) -> Option<(LaneId, u64)> {
        self.granted.pop_front()
    }

    /// Returns the bytes in use by all lanes.
    pub(crate) fn used(&self) -> u64 {
        self.used.iter().sum()
    }

    /// Returns the bytes of all credit, in use or not.
    pub(crate) fn total(&self) -> u64 {
        self.terms.reserve * self.used.len() as u64 + self.terms.pool
    }

    fn pool_used(&self) -> u64 {
        self.used.iter().map(|used| used.saturating_sub(self.terms.reserve)).sum()
    }

    /// Returns the part of the pool that other lanes leave to urgent ones.
    fn kept(&self) -> u64 {
        if self.urgent.contains(&true) { self.terms.pool / KEPT_PART } else { 0 }
    }

    fn grant(&mut self) {
        // An urgent request that is larger than the part kept for it has to collect credit that others free. If smaller
        // requests of others were granted meanwhile, the urgent one would wait for as long as there is bulk.
        let pool_open = self.grant_of(true, 0, true);
        self.grant_of(false, self.kept(), pool_open);
    }

    /// Grants requests from the front of the queue, from the pool only while it is open. Returns whether it still is. A
    /// lane at its own cap waits for its own acks and delays no other; a lane that waits for the pool delays all lanes
    /// behind it that need the pool too.
    fn grant_of(&mut self, urgent: bool, kept: u64, mut pool_open: bool) -> bool {
        let mut pool_free = self.terms.pool.saturating_sub(self.pool_used());
        // The pool's bytes in use by urgent lanes count towards the part kept for them.
        let others: u64 = self
            .used
            .iter()
            .zip(&self.urgent)
            .filter(|(_, urgent)| !**urgent)
            .map(|(used, _)| used.saturating_sub(self.terms.reserve))
            .sum();
        if !urgent {
            pool_free = pool_free.min((self.terms.pool - kept).saturating_sub(others));
        }
        let mut index = 0;
        while let Some(&(lane, bytes)) = self.waiting.get(index) {
            if self.urgent[usize::from(lane.0)] != urgent {
                index += 1;
                continue;
            }
            let used = self.used[usize::from(lane.0)];
            let cap = self.terms.reserve + self.terms.pool / 2;
            let from_pool = (used + bytes).saturating_sub(self.terms.reserve.max(used));
            let capped = used + bytes > cap;
            let fits = from_pool == 0 || (pool_open && from_pool <= pool_free);
            if !capped && fits {
                self.waiting.remove(index);
                self.used[usize::from(lane.0)] += bytes;
                pool_free -= from_pool;
                self.granted.push_back((lane, bytes));
            } else {
                pool_open &= capped;
                index += 1;
            }
        }
        pool_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: CreditTerms = CreditTerms { reserve: 10, pool: 100 };

    fn granted(credit: &mut Credit) -> Vec<(u16, u64)> {
        std::iter::from_fn(|| credit.poll_granted()).map(|(lane, bytes)| (lane.0, bytes)).collect()
    }

    #[test]
    fn every_lane_keeps_its_reserve() {
        let mut credit = Credit::new(TERMS, 3);
        credit.request(LaneId(0), 50);
        credit.request(LaneId(1), 50);
        assert_eq!(granted(&mut credit), [(0, 50), (1, 50)]);
        credit.request(LaneId(0), 10);
        credit.request(LaneId(1), 10);
        assert_eq!(granted(&mut credit), [(0, 10), (1, 10)], "the pool is now spent");
        credit.request(LaneId(2), 10);
        assert_eq!(granted(&mut credit), [(2, 10)]);
    }

    #[test]
    fn one_lane_may_use_its_reserve_and_half_of_the_pool() {
        let mut credit = Credit::new(TERMS, 2);
        for _ in 0..6 {
            credit.request(LaneId(0), 10);
        }
        assert_eq!(granted(&mut credit).len(), 6);
        credit.request(LaneId(0), 1);
        assert!(granted(&mut credit).is_empty());
        credit.free(LaneId(0), 1);
        assert_eq!(granted(&mut credit), [(0, 1)]);
    }

    #[test]
    fn a_large_request_is_not_overtaken_by_small_ones() {
        let mut credit = Credit::new(TERMS, 4);
        credit.request(LaneId(0), 50);
        credit.request(LaneId(1), 50);
        granted(&mut credit);
        credit.request(LaneId(2), 50);
        credit.request(LaneId(3), 21);
        assert!(granted(&mut credit).is_empty(), "20 of the pool are left, 40 and 11 are needed");
        credit.free(LaneId(0), 20);
        assert_eq!(granted(&mut credit), [(2, 50)], "first come, first served");
    }

    #[test]
    fn a_closed_lane_frees_its_credit_for_others() {
        let mut credit = Credit::new(TERMS, 4);
        for lane in 0..3 {
            credit.request(LaneId(lane), 50);
        }
        assert_eq!(granted(&mut credit).len(), 2);
        credit.close_lane(LaneId(0));
        assert_eq!(granted(&mut credit), [(2, 50)]);
        assert_eq!(credit.used(), 100);
    }

    #[test]
    fn an_urgent_lane_waits_for_no_other() {
        let mut credit = Credit::new(TERMS, 4);
        credit.set_urgent(|lane| lane == LaneId(3));
        credit.request(LaneId(0), 50);
        credit.request(LaneId(1), 50);
        assert_eq!(granted(&mut credit), [(0, 50)], "25 of the pool are kept, 40 are in use");
        credit.request(LaneId(3), 35);
        assert_eq!(granted(&mut credit), [(3, 35)], "its reserve and what is kept");
        credit.request(LaneId(3), 20);
        assert_eq!(granted(&mut credit), [(3, 20)], "before requests that have waited longer");
        credit.free(LaneId(0), 40);
        assert_eq!(granted(&mut credit), [(1, 50)], "there is enough for all");
    }

    #[test]
    fn a_large_urgent_request_is_not_overtaken() {
        let mut credit = Credit::new(TERMS, 4);
        credit.set_urgent(|lane| lane == LaneId(3));
        for (lane, bytes) in [(0, 50), (0, 10), (1, 35)] {
            credit.request(LaneId(lane), bytes);
        }
        assert_eq!(granted(&mut credit).len(), 3, "all that others may have: 75 of the pool");
        credit.request(LaneId(3), 50);
        credit.request(LaneId(1), 5);
        credit.request(LaneId(2), 10);
        assert_eq!(granted(&mut credit), [(2, 10)], "25 are left, 40 are needed; a reserve is never lent");
        for _ in 0..2 {
            credit.free(LaneId(0), 5);
            assert!(granted(&mut credit).is_empty(), "credit that others free is collected");
        }
        credit.free(LaneId(0), 5);
        assert_eq!(granted(&mut credit), [(3, 50)]);
        credit.free(LaneId(0), 5);
        assert_eq!(granted(&mut credit), [(1, 5)], "then it is the turn of others");
    }

    proptest! {
        #[test]
        fn credit_is_never_exceeded_and_all_requests_are_granted(
            ops in proptest::collection::vec((0u16..4, 1u64..=50, any::<bool>()), 1..200),
            urgent in 0u16..5
        ) {
            let mut credit = Credit::new(TERMS, 4);
            credit.set_urgent(|lane| lane.0 == urgent);
            let mut held = [0u64; 4];
            let mut waiting = [false; 4];
            let take = |credit: &mut Credit, held: &mut [u64; 4], waiting: &mut [bool; 4]| {
                while let Some((lane, bytes)) = credit.poll_granted() {
                    held[usize::from(lane.0)] += bytes;
                    waiting[usize::from(lane.0)] = false;
                }
            };
            for (lane, bytes, ack) in ops {
                let index = usize::from(lane);
                if ack && held[index] > 0 {
                    credit.free(LaneId(lane), held[index]);
                    held[index] = 0;
                } else if !waiting[index] {
                    waiting[index] = true;
                    credit.request(LaneId(lane), bytes);
                }
                take(&mut credit, &mut held, &mut waiting);
                prop_assert_eq!(credit.used(), held.iter().sum::<u64>());
                prop_assert!(credit.used() <= credit.total());
                prop_assert!(held.iter().all(|&used| used <= 60));
                prop_assert!(held.iter().map(|used| used.saturating_sub(10)).sum::<u64>() <= 100);
            }
            for _ in 0..8 {
                for lane in 0..4u16 {
                    let index = usize::from(lane);
                    if held[index] > 0 {
                        credit.free(LaneId(lane), held[index]);
                        held[index] = 0;
                    }
                    take(&mut credit, &mut held, &mut waiting);
                }
            }
            prop_assert!(waiting.iter().all(|waits| !waits), "no request waits permanently");
        }
    }
}
