//! A lane at the receiver: frames in, transactions out, exactly once.
//!
//! A lane owns its state partition, and shares a transactional producer with other lanes of its process. It holds no
//! socket, spawns no task and reads no clock; the target cluster is an argument. Driving contract: after [`Lane::open`],
//! pass in frames and offers; while [`Lane::has_work`], give it a part in a transaction ([`Lane::prepare`],
//! [`Lane::await_delivery`], the commit, [`Lane::complete`]); after one that fails ([`Lane::fail`]) with
//! [`LaneError::Target`], call [`Lane::recover`] until it succeeds; take replies with [`Lane::poll_reply`] after
//! every call.
//!
//! - `open_lane`: the lane's types; frames, offers and halts arrive here
//! - `opening`, `terms`, `classes`: checks before it fences, takes the lane, commits the lane record
//! - `ownership`: custody of the lane, fences, and the reading that decides
//! - `stored`, `slots`, `offers`, `claims`: parts of an open lane's memory
//! - `part`: the lane's part in a transaction, which it may share with other lanes
//! - `transaction`, `draft`, `changes`: offers, records and positions of one transaction
//! - `map`, `blocks`, `known_map`: where the records went
//! - `gaps`, `uncovered`: where another program may have written
//! - `orphans`, `forget`: positions that no one offers, and requests to drop them
//! - `gone_since`, `marks`: since when topics are gone that a policy will forget
//! - `source_ends`, `waiting_ends`: what the sender last said of the source's ends
//! - `handover`: partitions that change lanes
//! - `rejected_record`, `unauthorized_partition`: which record or partition a refusal of the target is about
//! - `careful`, `skipped_records`: what happens to refused records, those that a policy leaves out among them
//! - `rebuilt`: state of a cluster that an operator accepts in place of another
//! - `promote`: the end of a lane, which carries nothing any more
//! - `recover`: what to do after a transaction whose outcome is unknown
//! - `left_out`: partitions that cannot be written now, which the lane continues without
//! - `handle`, `runner`: a lane at work, with its commands, retries and replies
//!
//! Invariant: whichever call fails, a partition's stored position is the one after the last record that
//! `read_committed` readers see, because both are written in one transaction and nowhere else.

pub(crate) mod attention;
mod blocks;
mod careful;
mod changes;
mod claims;
mod classes;
mod draft;
mod forget;
mod gaps;
mod gone_since;
pub(crate) mod handle;
mod handover;
pub(crate) mod inbox;
pub(crate) mod known_map;
mod left_out;
mod map;
mod marks;
pub(crate) mod memory;
mod offers;
mod open_lane;
mod opening;
mod orphans;
mod ownership;
mod part;
mod promote;
mod rebuilt;
mod recover;
mod rejected_record;
pub(crate) mod runner;
pub(crate) mod size;
mod skipped_records;
mod slots;
mod source_ends;
mod stored;
pub(crate) mod switched_topics;
pub(crate) mod terms;
pub(crate) mod timings;
mod transaction;
mod unauthorized_partition;
pub(crate) mod uncovered;
mod waiting_ends;

pub use claims::Claim;
pub use draft::{Committed, Company, Draft, Prepared};
pub use forget::{ForgetStep, ForgetTopic};
pub use gaps::{Gap, Gaps};
pub use gone_since::MarkGone;
pub use handover::{HandoverRequest, LaneMessage};
pub use open_lane::{Counts, Lane, LaneError, OpenLane};
pub(crate) use opening::fold_stored;
pub use recover::RecoverError;
pub use switched_topics::SwitchedTopics;
pub use terms::{AcceptedCluster, MapTerms, OpenError, Terms};
