//! Ownership of a lane: takes its custody, fences whoever may still write it, and reads the state that decides.
//!
//! Three cases, which differ in what is committed before the reading:
//! - the custody is this process's, through the id of the present producer: a barrier
//! - the custody is this process's, through another id, which hangs or is that of another writer: a bid. If the last
//!   transaction through that id failed, its instance is destroyed, so that only this transaction is open. If commit was
//!   called, it wrote to the state partition before, and the reading passes the bid, hence it is decided.
//! - the custody is another process's: a bid, and afterwards a fence of every id that may write the lane
//!
//! The client that reads is not the client that writes. It may ask a broker that no longer leads the state partition and
//! does not know it yet, for example because it was suspended. Such a broker shows an old end, and positions read from it
//! would be carried again. So a reading that decides goes through a record that was committed after the fence.

use std::time::Duration;

use kafka::{KafkaError, KafkaFault};
use wire::ids::{LaneId, Offset};

use crate::target::custody::{Bidder, Custody, CustodyRecord, WriterId};
use crate::target::state::{self, LaneState};
use crate::target::{Extent, LaneTarget, StateEntry, TargetError, TargetPartition};

/// Time limit of the fence of another process: the target may have to end its transaction first.
const FOREIGN_WITHIN: Duration = Duration::from_secs(20);
/// First time limit of a fence of an own id: as slow as a busy cluster may be. It doubles once each id was tried.
const OWN_WITHIN: Duration = Duration::from_secs(3);
/// Time limit of the fences of one call, and of one fence: the lane's thread has to look after its messages.
const CALL_WITHIN: Duration = Duration::from_secs(12);

/// The custody of a lane as this process seeks it.
#[derive(Debug)]
pub(super) struct Ownership {
    bidder: Bidder,
    /// The last attempt failed.
    failing: bool,
    /// Successive fences of own ids that failed.
    failed: u32,
}

/// Attempt to own a lane, with the functions that fold its state.
pub(super) struct Attempt<'a, T, F> {
    pub(super) target: &'a mut T,
    pub(super) lane: LaneId,
    /// The lane's state partition.
    pub(super) state: TargetPartition,
    /// The state partition may be why the lane's last transaction failed.
    pub(super) suspected: bool,
    /// Folds and checks the entries of the state partition.
    pub(super) fold: F,
}

impl<T, F, E> Attempt<'_, T, F>
where
    T: LaneTarget,
    F: FnMut(Vec<StateEntry>) -> Result<LaneState, E>,
    E: From<TargetError>,
{
    /// Returns an error if the state partition cannot be written now: the attempt would cost other lanes their producer.
    fn ensure_writable(&mut self) -> Result<(), TargetError> {
        // A target that does not answer shows that soon enough.
        let unwritable = self.target.unwritable(std::slice::from_ref(&self.state)).unwrap_or_default();
        unwritable.into_iter().next().map_or(Ok(()), |unwritable| Err(unwritable.into()))
    }

    fn read_through(&mut self, end: Offset) -> Result<LaneState, E> {
        (self.fold)(self.target.read_state(Extent::Through(end))?)
    }
}

/// Result of an attempt that the target did not fail.
pub(super) enum Secured {
    /// This process has the lane, and this is its state. The custody record is not stored if there was a bid.
    Owned(Box<LaneState>),
    /// Another process has it.
    Lost(CustodyRecord),
}

impl Ownership {
    pub(super) fn new(bidder: Bidder) -> Self {
        Self { bidder, failing: false, failed: 0 }
    }

    pub(super) fn holds(&self, custody: &Custody) -> bool {
        custody.is_held_by(self.bidder.holder())
    }

    /// Makes the lane this process's, with a new producer, if no other process is faster.
    ///
    /// `found` is the custody as read before, which may be old: a broker that no longer leads may have answered. After an
    /// error the producer must be discarded.
    pub(super) fn secure<T, F, E>(&mut self, attempt: &mut Attempt<'_, T, F>, found: &Custody) -> Result<Secured, E>
    where
        T: LaneTarget,
        F: FnMut(Vec<StateEntry>) -> Result<LaneState, E>,
        E: From<TargetError>,
    {
        attempt.suspected |= self.failing;
        let secured = self.try_secure(attempt, found);
        self.failing = secured.is_err();
        secured
    }

    fn try_secure<T, F, E>(&mut self, attempt: &mut Attempt<'_, T, F>, found: &Custody) -> Result<Secured, E>
    where
        T: LaneTarget,
        F: FnMut(Vec<StateEntry>) -> Result<LaneState, E>,
        E: From<TargetError>,
    {
        let holder = self.bidder.holder();
        if !self.holds(found) {
            // Before anything else, because an id may hang.
            expel(attempt.target, found.others(holder, &attempt.target.ids()[0]))?;
        }
        if attempt.suspected {
            attempt.ensure_writable()?;
        }
        let own = self.initialise(attempt)?;
        let end = if self.holds(found) && own == found.present.writer {
            attempt.target.commit_entries(vec![StateEntry::new(state::barrier_key(), None)])?
        } else {
            let (name, bid) = self.bidder.bid(&found.present, own.clone());
            attempt.target.commit_entries(vec![StateEntry::new(state::bid_key(name), Some(state::encode(&bid)))])?
        };
        let state = attempt.read_through(end)?;
        let is_held = self.holds(&state.custody);
        if is_held && state.custody.present.writer != own {
            // Others would fence the id that is stored, and not this one.
            return Err(outdated(attempt.lane).into());
        }
        let others = state.custody.others(holder, &own);
        if !is_held || others.is_empty() {
            return Ok(self.outcome(state));
        }
        // Again, although it was done before: only an instance that begins after the bid stands sees it.
        expel(attempt.target, others)?;
        let end = attempt.target.commit_entries(vec![StateEntry::new(state::barrier_key(), None)])?;
        Ok(self.outcome(attempt.read_through(end)?))
    }

    fn outcome(&self, state: LaneState) -> Secured {
        if self.holds(&state.custody) { Secured::Owned(Box::new(state)) } else { Secured::Lost(state.custody.present) }
    }

    /// Provides a producer with one of the ids that this process may use here.
    fn initialise<T: LaneTarget, F>(&mut self, attempt: &mut Attempt<'_, T, F>) -> Result<WriterId, TargetError> {
        let ids = attempt.target.ids();
        let count = ids.len() as u32;
        loop {
            let within = (OWN_WITHIN * 2u32.pow((self.failed / count).min(2))).min(CALL_WITHIN);
            let id = &ids[self.failed as usize % ids.len()];
            match attempt.target.fence(id, within) {
                Ok(()) => {
                    self.failed = 0;
                    return Ok(id.clone());
                }
                // Another id may be initialised although this one was not.
                Err(error) if error.is_unanswered() => {
                    tracing::debug!(lane = %attempt.lane, ?id, %error, "transactional id cannot be initialised now");
                    self.failed = self.failed.wrapping_add(1);
                    // Every id once, or as many as the time of a call permits.
                    if self.failed.is_multiple_of(count) || within > OWN_WITHIN {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the custody record and the ends of the bids. They come first: a reading may end between two entries.
pub(super) fn custody_entries(custody: &Custody) -> Vec<StateEntry> {
    let present = StateEntry::new(state::custody_key(), Some(state::encode(&custody.present)));
    let ended = custody.bids().map(|bid| StateEntry::new(state::bid_key(bid), None));
    std::iter::once(present).chain(ended).collect()
}

fn expel(target: &mut impl LaneTarget, ids: impl IntoIterator<Item = WriterId>) -> Result<(), TargetError> {
    ids.into_iter().try_for_each(|id| target.expel(&id, FOREIGN_WITHIN))
}

fn outdated(lane: LaneId) -> TargetError {
    let reason = "the broker that answered first does not lead the state partition any more".to_owned();
    KafkaError { doing: format!("taking of lane {lane}"), reason, fault: KafkaFault::Unavailable }.into()
}
