//! Where the way back begins after a promotion, compared with what the link has appended.

use std::collections::BTreeMap;

use receiver::state::LaneState;
use wire::ids::Position;
use wire::returning::PromotedLink;

use crate::bugs::Bug;
use crate::offset_map::Truth;
use crate::source::Tp;

/// Checks that each partition goes back exactly behind the last record that the link appended: one lower, and a record would
/// come back; one higher, and what an application wrote behind it would not.
pub(crate) fn check(
    truths: &BTreeMap<Tp, Truth>,
    states: &[LaneState],
    ends: impl Fn(&str, i32) -> i64,
    bug: Option<Bug>,
) -> Result<(), String> {
    let mut brought = receiver::brought("sim", states.to_vec())?;
    plant(&mut brought, ends, bug);
    for (topic, returning) in &brought.topics {
        for one in &returning.partitions {
            let tp = (returning.from.as_str().into(), one.partition);
            let expected = truths.get(&tp).map_or(0, Truth::end);
            if one.begins.0 != expected {
                let partition = one.partition;
                return Err(format!("{topic}/{partition} goes back from {}, the link ended at {expected}", one.begins));
            }
        }
    }
    Ok(())
}

fn plant(brought: &mut PromotedLink, ends: impl Fn(&str, i32) -> i64, bug: Option<Bug>) {
    for (topic, returning) in &mut brought.topics {
        for one in &mut returning.partitions {
            one.begins = match bug {
                Some(Bug::ReturnsTooLow) => Position((one.begins.0 - 1).max(0)),
                Some(Bug::ReturnsTooHigh) => Position(one.begins.0 + 1),
                Some(Bug::ReturnsFromLogEnd) => Position(ends(topic, one.partition)),
                _ => one.begins,
            };
        }
    }
}
