//! Custody of a lane: which process may write it, and through which transactional id.
//!
//! The state partition itself is the register. A process that wants the lane appends a *bid* on the custody that it has
//! read, in a transaction of the id that it will write through. The first committed bid on a custody, in the order of the
//! log, is the next custody; all later ones are void. So two bidders never both win, even if both have read an old state.
//! The winner then fences every id through which an earlier holder may write, and only then commits the custody record.
//!
//! Bids have keys of their own, each used once: a bid under the custody record's key could be overwritten by the holder
//! that it supersedes, and compaction could remove the first of two bids with one key.

use std::collections::BTreeSet;
use std::fmt;

use bincode::{Decode, Encode};
use wire::ids::LaneId;

/// Number of transactional ids of a writer. One hangs as long as a partition of its last transaction cannot be written; two
/// that hang at a time leave one more.
const IDS: usize = 3;

/// Transactional id that a lane is written through.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct WriterId(String);

impl WriterId {
    /// Returns the ids of the writer `name` of a process, the preferred one first. They are the same after a restart: the
    /// brokers keep what they know of an id for days.
    pub fn of_writer(instance: &str, name: &str) -> Vec<Self> {
        (0..IDS).map(|number| Self(format!("causeway.{instance}.{name}+{number}"))).collect()
    }

    /// Returns the only id of a lane in releases that stored no custody.
    pub fn of_lane(link: &str, lane: LaneId) -> Self {
        Self(format!("causeway.{link}.{lane}"))
    }

    /// Makes an id of any name, for tests.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Random number of a lane in a process, drawn when the process begins to serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Holder(pub u128);

/// Stored record of a custody whose holder has fenced every earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CustodyRecord {
    /// Number of the custody: it grows by one with each change of the holder or of the id.
    pub number: u64,
    pub writer: WriterId,
    pub holder: Holder,
}

/// Stored bid for a lane.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BidRecord {
    /// Number of the custody that the bidder has read.
    pub succeeds: u64,
    pub writer: WriterId,
    pub holder: Holder,
}

/// Name of a bid: each is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BidName {
    pub holder: Holder,
    /// Number of the bid among those of its holder.
    pub number: u32,
}

/// Custody of a lane, folded from its state partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custody {
    /// The custody that counts: the stored one, or that of the last bid that won.
    pub present: CustodyRecord,
    /// Stored custody and those of the bids that won since, the oldest first. The last is the present one.
    chain: Vec<CustodyRecord>,
    /// The custody record of the present custody is not stored.
    undecided: bool,
    /// Every stored bid.
    bids: BTreeSet<BidName>,
}

impl Custody {
    /// Folds the stored custody and the bids in the order of the log.
    ///
    /// A lane without a stored custody was written by a release that knew none, through `first` and by an unknown process;
    /// or by no one yet, which is `None`.
    pub(super) fn fold(stored: Option<CustodyRecord>, bids: &[(BidName, BidRecord)], first: Option<WriterId>) -> Self {
        let is_new = stored.is_none() && first.is_none();
        let none = WriterId(String::new());
        let unknown = || CustodyRecord { number: 0, writer: first.unwrap_or(none), holder: Holder(0) };
        let mut present = stored.unwrap_or_else(unknown);
        let mut chain = if is_new { Vec::new() } else { vec![present.clone()] };
        let mut undecided = false;
        for (_, bid) in bids {
            if bid.succeeds == present.number {
                undecided = true;
                let BidRecord { succeeds, writer, holder } = bid.clone();
                present = CustodyRecord { number: succeeds + 1, writer, holder };
                chain.push(present.clone());
            }
        }
        Self { present, chain, undecided, bids: bids.iter().map(|(name, _)| *name).collect() }
    }

    pub fn is_held_by(&self, holder: Holder) -> bool {
        self.present.holder == holder
    }

    /// Returns the ids through which another process may still write the lane, except `own`, whose instances before the
    /// present one are fenced. A holder that has bid again for its own lane had destroyed its instance before.
    pub fn others(&self, holder: Holder, own: &WriterId) -> BTreeSet<WriterId> {
        let successors = self.chain.iter().skip(1).map(Some).chain([None]);
        let left = |successor: Option<&CustodyRecord>| successor.map(|successor| successor.holder);
        let foreign = self.chain.iter().zip(successors).filter(|(held, successor)| {
            held.holder != holder && held.writer != *own && left(*successor) != Some(held.holder)
        });
        foreign.map(|(held, _)| held.writer.clone()).collect()
    }

    /// Returns whether the present custody comes from a bid: its custody record is not stored.
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// Returns every stored bid. All are decided once the custody record of the present custody stands.
    pub fn bids(&self) -> impl Iterator<Item = BidName> {
        self.bids.iter().copied()
    }
}

/// Names of custody in memory of a state that was never stored.
impl Default for Custody {
    fn default() -> Self {
        Self::fold(None, &[], None)
    }
}

/// The bids that a process has made for a lane.
#[derive(Debug)]
pub struct Bidder {
    holder: Holder,
    made: u32,
}

impl Bidder {
    pub fn new(holder: Holder) -> Self {
        Self { holder, made: 0 }
    }

    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Returns a bid on the `present` custody, to be written through `writer`, with a name that was never used.
    pub fn bid(&mut self, present: &CustodyRecord, writer: WriterId) -> (BidName, BidRecord) {
        self.made += 1;
        let name = BidName { holder: self.holder, number: self.made };
        (name, BidRecord { succeeds: present.number, writer, holder: self.holder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(name: &str) -> WriterId {
        WriterId::named(name)
    }

    fn bid(holder: u128, number: u32, succeeds: u64, name: &str) -> (BidName, BidRecord) {
        let holder = Holder(holder);
        (BidName { holder, number }, BidRecord { succeeds, writer: writer(name), holder })
    }

    fn stored(number: u64, name: &str, holder: u128) -> CustodyRecord {
        CustodyRecord { number, writer: writer(name), holder: Holder(holder) }
    }

    #[test]
    fn first_bid_on_a_custody_wins() {
        let bids = [bid(2, 1, 5, "w1"), bid(3, 1, 5, "w2"), bid(4, 1, 4, "w3")];
        let custody = Custody::fold(Some(stored(5, "w0", 1)), &bids, Some(writer("w0")));
        assert_eq!(custody.present, stored(6, "w1", 2));
        assert_eq!(custody.bids().count(), 3, "void bids are removed by the holder too");
    }

    #[test]
    fn every_id_since_the_stored_custody_is_fenced() {
        // Process 2 won and died before it fenced process 1; process 3 must fence both.
        let bids = [bid(2, 1, 5, "w1"), bid(3, 1, 6, "w2")];
        let custody = Custody::fold(Some(stored(5, "w0", 1)), &bids, Some(writer("w0")));
        assert!(custody.is_held_by(Holder(3)));
        assert_eq!(custody.others(Holder(3), &writer("w2")), BTreeSet::from([writer("w0"), writer("w1")]));
    }

    #[test]
    fn own_earlier_ids_need_no_fence() {
        let bids = [bid(1, 1, 5, "w1")];
        let custody = Custody::fold(Some(stored(5, "w0", 1)), &bids, Some(writer("w0")));
        assert!(custody.others(Holder(1), &writer("w1")).is_empty());
        assert_eq!(custody.others(Holder(9), &writer("w2")), BTreeSet::from([writer("w1")]));
    }

    #[test]
    fn id_that_its_holder_has_left_needs_no_fence() {
        // Process 1 escaped to w1 and died before it stored that; w0 may hang.
        let bids = [bid(1, 1, 5, "w1"), bid(3, 1, 6, "w2")];
        let custody = Custody::fold(Some(stored(5, "w0", 1)), &bids, Some(writer("w0")));
        assert_eq!(custody.others(Holder(3), &writer("w2")), BTreeSet::from([writer("w1")]));
        // Process 2 won w0 and died, and process 1 may still have an instance of it.
        let bids = [bid(2, 1, 5, "w0"), bid(2, 2, 6, "w1"), bid(3, 1, 7, "w2")];
        let custody = Custody::fold(Some(stored(5, "w0", 1)), &bids, Some(writer("w0")));
        assert_eq!(custody.others(Holder(3), &writer("w2")), BTreeSet::from([writer("w0"), writer("w1")]));
    }

    #[test]
    fn lane_of_a_release_without_custody_has_an_id_to_fence() {
        let of_lane = WriterId::of_lane("a-b", LaneId(3));
        assert_eq!(of_lane.as_str(), "causeway.a-b.3");
        let custody = Custody::fold(None, &[], Some(of_lane.clone()));
        assert_eq!(custody.others(Holder(1), &writer("w0")), BTreeSet::from([of_lane]));
    }

    #[test]
    fn lane_that_no_one_has_written_has_no_id_to_fence() {
        let custody = Custody::fold(None, &[], None);
        assert!(custody.others(Holder(1), &writer("w0")).is_empty() && !custody.is_undecided());
        let custody = Custody::fold(None, &[bid(2, 1, 0, "w1"), bid(1, 1, 0, "w0")], None);
        assert!(custody.is_held_by(Holder(2)) && custody.is_undecided());
        assert_eq!(custody.others(Holder(1), &writer("w0")), BTreeSet::from([writer("w1")]));
    }

    #[test]
    fn writers_of_a_process_have_ids_of_their_own() {
        let [bulk, spare] = ["bulk-0", "spare"].map(|name| WriterId::of_writer("hub-1", name));
        assert_eq!(bulk[1].as_str(), "causeway.hub-1.bulk-0+1");
        assert!(bulk.iter().all(|id| !spare.contains(id)));
    }

    #[test]
    fn no_bid_uses_the_name_of_another() {
        let mut bidder = Bidder::new(Holder(7));
        let present = stored(0, "w0", 0);
        let (first, record) = bidder.bid(&present, writer("w1"));
        let (second, _) = bidder.bid(&present, writer("w1"));
        assert_ne!(first, second);
        assert_eq!(record.succeeds, 0);
    }
}
