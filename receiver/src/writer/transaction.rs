//! One transaction over the parts of several lanes. Sans-IO: the lanes and the commit are arguments.

use crate::lane::size::TransactionRoom;
use crate::lane::{Committed, Company, Draft, LaneError, Prepared};
use crate::target::TargetError;

/// Lane that may have a part in a transaction.
pub trait Member {
    /// Appends what has arrived, as far as there is `room`. `None` if the lane takes no part.
    fn prepare(&mut self, room: TransactionRoom) -> Option<Prepared>;
    /// Waits until the lane's part is delivered.
    fn await_delivery(&mut self, draft: &mut Draft) -> Result<(), TargetError>;
    /// Applies the committed transaction.
    fn complete(&mut self, draft: Draft) -> Committed;
    /// Takes back the lane's part of a transaction whose outcome is unknown.
    fn fail(&mut self, draft: Draft, error: &LaneError, company: Company);
}

/// Result of a transaction that was committed, or that had nothing to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the records.
    pub bytes: u64,
    /// Number of lanes that had a turn before there was no room left.
    pub asked: usize,
}

/// Failure of a transaction.
#[derive(Debug)]
pub struct TransactionFailed {
    pub error: LaneError,
    /// Number of lanes that had a part in it.
    pub lanes: usize,
}

/// A lane and its part.
struct Part<'a, M> {
    member: &'a mut M,
    draft: Draft,
    /// The lane could append all that it had room for.
    is_complete: bool,
}

/// Writes the parts of these lanes and commits them together. After a failure every lane that had a part must recover.
pub fn write<'a, M: Member + 'a>(
    members: impl ExactSizeIterator<Item = &'a mut M>,
    room: TransactionRoom,
    commit: impl FnOnce() -> Result<(), TargetError>,
) -> Result<Written, Box<TransactionFailed>> {
    let mut parts = Vec::new();
    let mut asked = 0;
    let mut written = prepare(members.inspect(|_| asked += 1), room, &mut parts);
    for part in &mut parts {
        written = written.and_then(|()| Ok(part.member.await_delivery(&mut part.draft)?));
    }
    if written.is_ok() && parts.iter().any(|part| part.draft.has_begun()) {
        written = commit().map_err(LaneError::from);
    }
    match written {
        Ok(()) => {
            let bytes = parts.into_iter().map(|Part { member, draft, .. }| member.complete(draft).bytes).sum();
            Ok(Written { bytes, asked })
        }
        Err(error) => Err(Box::new(fail(parts, error))),
    }
}

/// Has every lane append its part, up to the first that fails.
fn prepare<'a, M: Member>(
    members: impl ExactSizeIterator<Item = &'a mut M>,
    mut room: TransactionRoom,
    parts: &mut Vec<Part<'a, M>>,
) -> Result<(), LaneError> {
    let count = members.len();
    for (number, member) in members.enumerate() {
        let Some(Prepared { draft, result }) = member.prepare(room.share(count - number)) else { continue };
        let left = room.take(draft.size().bytes);
        parts.push(Part { member, draft, is_complete: result.is_ok() });
        result?;
        if !left {
            break;
        }
    }
    Ok(())
}

fn fail<M: Member>(parts: Vec<Part<'_, M>>, error: LaneError) -> TransactionFailed {
    let (failed, unwritten): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| part.draft.has_begun() || !part.is_complete);
    // These lanes had nothing to write, and their parts need no commit.
    for Part { member, draft, .. } in unwritten {
        member.complete(draft);
    }
    let lanes = failed.len();
    for Part { member, draft, is_complete } in failed {
        // A sender that breaks the protocol is that of the lane which could not complete its part.
        let is_own = matches!(error, LaneError::Peer(_)) && !is_complete;
        let company = if lanes > 1 && !is_own { Company::Shared } else { Company::Alone };
        member.fail(draft, &error, company);
    }
    TransactionFailed { error, lanes }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka::{KafkaError, KafkaFault};

    use super::*;
    use crate::lane::size::TransactionSize;

    /// Lane that appends `bytes`, or nothing.
    #[derive(Debug, Default)]
    struct Lane {
        bytes: Option<u64>,
        room: TransactionRoom,
        ended: &'static str,
    }

    impl Member for Lane {
        fn prepare(&mut self, room: TransactionRoom) -> Option<Prepared> {
            self.room = room;
            let mut draft = Draft::default();
            if let Some(bytes) = self.bytes {
                draft.append_for_test(bytes);
            }
            Some(Prepared { draft, result: Ok(()) })
        }

        fn await_delivery(&mut self, _: &mut Draft) -> Result<(), TargetError> {
            Ok(())
        }

        fn complete(&mut self, draft: Draft) -> Committed {
            self.ended = "completed";
            draft.size()
        }

        fn fail(&mut self, _: Draft, _: &LaneError, company: Company) {
            self.ended = if company == Company::Alone { "failed alone" } else { "failed" };
        }
    }

    fn lanes(bytes: &[Option<u64>]) -> Vec<Lane> {
        bytes.iter().map(|bytes| Lane { bytes: *bytes, ..Lane::default() }).collect()
    }

    fn fails() -> Result<(), TargetError> {
        let fault = KafkaFault::Unavailable;
        Err(KafkaError { doing: "commit".to_owned(), reason: "told to".to_owned(), fault }.into())
    }

    fn room() -> TransactionRoom {
        TransactionSize::new(Duration::from_secs(30)).room()
    }

    #[test]
    fn lanes_without_a_part_do_not_fail_with_the_others() {
        let mut three = lanes(&[Some(1), None, Some(1)]);
        assert_eq!(write(three.iter_mut(), room(), fails).unwrap_err().lanes, 2);
        assert_eq!(three.iter().map(|lane| lane.ended).collect::<Vec<_>>(), ["failed", "completed", "failed"]);
        let mut one = lanes(&[None, Some(1)]);
        write(one.iter_mut(), room(), fails).unwrap_err();
        assert_eq!(one[1].ended, "failed alone");
        let mut first = lanes(&[Some(1), None]);
        write(first.iter_mut(), room(), fails).unwrap_err();
        assert_eq!(first.iter().map(|lane| lane.ended).collect::<Vec<_>>(), ["failed alone", "completed"]);
    }

    #[test]
    fn nothing_is_committed_for_lanes_that_write_nothing() {
        let mut idle = lanes(&[None, None]);
        assert_eq!(write(idle.iter_mut(), room(), || panic!("committed")).unwrap(), Written { bytes: 0, asked: 2 });
    }

    #[test]
    fn a_lane_with_much_leaves_room_for_the_others() {
        let mut three = lanes(&[Some(1 << 30), Some(1), Some(1)]);
        assert_eq!(write(three.iter_mut(), room(), || Ok(())).unwrap().asked, 1);
        assert_eq!(three[0].room, room().share(3));
        assert_eq!(three[1].ended, "", "it is full, and they have the next one");
        let mut two = lanes(&[Some(1), Some(1)]);
        assert_eq!(write(two.iter_mut(), room(), || Ok(())).unwrap(), Written { bytes: 2, asked: 2 });
    }
}
