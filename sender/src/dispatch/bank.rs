//! The session's credit, shared by the lanes' threads: asks on their behalf and rings whoever is granted.

use std::sync::{Mutex, PoisonError};

use service::bell::Bell;
use wire::control::CreditTerms;
use wire::ids::LaneId;

use crate::dispatch::credit::Credit;

/// [`Credit`] behind a lock, with a bell per lane.
#[derive(Debug)]
pub struct CreditBank {
    inner: Mutex<Inner>,
    bells: Vec<Bell>,
}

#[derive(Debug)]
struct Inner {
    credit: Credit,
    granted: Vec<Option<u64>>,
}

impl CreditBank {
    /// The credit of a session whose lanes sleep on `bells`.
    pub fn new(terms: CreditTerms, bells: Vec<Bell>) -> Self {
        let lanes = bells.len() as u16;
        let inner = Inner { credit: Credit::new(terms, lanes), granted: vec![None; bells.len()] };
        Self { inner: Mutex::new(inner), bells }
    }

    /// Asks for `bytes`; [`CreditBank::take`] has them once the lane's bell rang.
    pub fn request(&self, lane: LaneId, bytes: u64) {
        self.with(|credit| credit.request(lane, bytes));
    }

    /// What was granted to `lane` since the last call.
    pub fn take(&self, lane: LaneId) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.granted[usize::from(lane.0)].take()
    }

    /// Gives back what is not needed any more.
    pub fn free(&self, lane: LaneId, bytes: u64) {
        if bytes > 0 {
            self.with(|credit| credit.free(lane, bytes));
        }
    }

    /// Gives back all that a closed lane held.
    pub fn close_lane(&self, lane: LaneId) {
        self.take(lane);
        self.with(|credit| credit.close_lane(lane));
        self.take(lane);
    }

    /// Says which lanes go before others, from now on.
    pub fn set_urgent(&self, is_urgent: impl Fn(LaneId) -> bool) {
        self.with(|credit| credit.set_urgent(is_urgent));
    }

    /// The most one request may ask for.
    pub fn request_max(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).credit.request_max()
    }

    /// Bytes in use, and all there are.
    pub fn usage(&self) -> (u64, u64) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.credit.used(), inner.credit.total())
    }

    fn with(&self, act: impl FnOnce(&mut Credit)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut inner.credit);
        while let Some((lane, bytes)) = inner.credit.poll_granted() {
            let index = usize::from(lane.0);
            inner.granted[index] = Some(bytes);
            self.bells[index].ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_waits_for_the_lane_that_asked() {
        let bells = vec![Bell::default(), Bell::default()];
        let bank = CreditBank::new(CreditTerms { reserve: 10, pool: 20 }, bells);
        for lane in [0, 0, 1, 1] {
            bank.request(LaneId(lane), 10);
            assert_eq!(bank.take(LaneId(lane)), Some(10));
        }
        bank.request(LaneId(0), 10);
        bank.close_lane(LaneId(1));
        assert_eq!(bank.take(LaneId(0)), None, "at its own cap of 20");
        bank.free(LaneId(0), 10);
        assert_eq!(bank.take(LaneId(0)), Some(10));
    }
}
