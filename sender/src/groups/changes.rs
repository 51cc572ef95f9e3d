//! Messages about the offsets that differ from those of the reading before.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::control::{CommittedOffset, Control, GroupOffsets};
use wire::ids::Position;
use wire::limits::{CONTROL_BYTES_MAX, GROUP_OFFSETS_MAX, GROUP_TOPICS_MAX};
use wire::partition::Partition;

use super::reading::{Committed, GroupReading, Reading};

/// Bytes of a message up to which more is added to it.
const MESSAGE_BYTES: usize = CONTROL_BYTES_MAX / 4;
/// Most bytes of an offset besides its metadata, and of an entry besides its names.
const NUMBERS_BYTES: usize = 20;

/// Returns the messages that lead from one reading to the next. The last one ends the reading, and may be empty.
pub(crate) fn messages(before: Option<&Reading>, now: &Reading) -> Vec<Control> {
    let none = BTreeMap::new();
    let known = before.map_or(&none, |before| &before.groups);
    let gone = known.keys().filter(|name| !now.groups.contains_key(*name));
    let mut messages = Kinds::default();
    for name in now.groups.keys().chain(gone) {
        let empty = GroupReading::default();
        let before = &known.get(name).unwrap_or(&empty).offsets;
        let now = &now.groups.get(name).unwrap_or(&empty).offsets;
        let changed = now.iter().filter(|(at, committed)| before.get(at) != Some(*committed));
        for (at, Committed { position, back, metadata }) in changed {
            messages.of(back.is_some()).add(name, at, back.unwrap_or(*position), metadata);
        }
        for at in before.keys().filter(|at| !now.contains_key(at)) {
            messages.of(false).add(name, at, Position(-1), "");
        }
    }
    messages.finish()
}

/// Messages of both kinds.
#[derive(Default)]
struct Kinds {
    forward: Messages,
    back: Messages,
}

impl Kinds {
    fn of(&mut self, is_back: bool) -> &mut Messages {
        if is_back { &mut self.back } else { &mut self.forward }
    }

    fn finish(self) -> Vec<Control> {
        let Messages { full, open, .. } = self.back;
        let back = full.into_iter().chain(Some(open).filter(|open| !open.is_empty()));
        let Messages { full, open, .. } = self.forward;
        let forward = full.into_iter().map(|groups| Control::Groups { groups, last: false });
        let last = Control::Groups { groups: open, last: true };
        back.map(|groups| Control::GroupsBack { groups }).chain(forward).chain([last]).collect()
    }
}

#[derive(Default)]
struct Messages {
    full: Vec<Vec<GroupOffsets>>,
    open: Vec<GroupOffsets>,
    offsets: usize,
    bytes: usize,
}

impl Messages {
    fn add(&mut self, group: &Arc<str>, at: &Partition, position: Position, metadata: &str) {
        let is_same = |entry: &GroupOffsets| *entry.group == **group && *entry.topic == *at.topic;
        let is_new = !self.open.last().is_some_and(is_same);
        if self.offsets >= GROUP_OFFSETS_MAX
            || self.bytes >= MESSAGE_BYTES
            || (is_new && self.open.len() >= GROUP_TOPICS_MAX)
        {
            self.full.push(std::mem::take(&mut self.open));
            self.offsets = 0;
            self.bytes = 0;
        }
        if !self.open.last().is_some_and(is_same) {
            self.bytes += group.len() + at.topic.len() + NUMBERS_BYTES;
            let entry = GroupOffsets { group: group.to_string(), topic: at.topic.to_string(), offsets: Vec::new() };
            self.open.push(entry);
        }
        let offset = CommittedOffset { partition: at.partition, offset: position, metadata: metadata.to_owned() };
        self.offsets += 1;
        self.bytes += metadata.len() + NUMBERS_BYTES;
        self.open.last_mut().expect("an entry was added").offsets.push(offset);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wire::codec::encode_control;

    use super::*;

    fn reading(groups: &[(&str, &[(i32, i64)])], metadata: &str) -> Reading {
        let mut reading = Reading::empty(Instant::now());
        for (name, offsets) in groups {
            let committed = |&(partition, position): &(i32, i64)| {
                let committed = Committed { position: Position(position), back: None, metadata: metadata.into() };
                (Partition::new("orders", partition), committed)
            };
            let offsets = offsets.iter().map(committed).collect();
            reading.groups.insert((*name).into(), GroupReading { has_members: false, offsets });
        }
        reading
    }

    fn named(messages: Vec<Control>) -> Vec<(String, i32, i64)> {
        let mut named = Vec::new();
        let count = messages.len();
        for (at, message) in messages.into_iter().enumerate() {
            let Control::Groups { groups, last } = message else { panic!("another message") };
            assert_eq!(last, at + 1 == count, "the last message ends the reading");
            for GroupOffsets { group, offsets, .. } in groups {
                named.extend(offsets.into_iter().map(|one| (group.clone(), one.partition, one.offset.0)));
            }
        }
        named
    }

    #[test]
    fn a_session_begins_with_everything_and_continues_with_changes() {
        let first = reading(&[("a", &[(0, 5), (1, 6)]), ("b", &[(0, 7)])], "m");
        assert_eq!(
            named(messages(None, &first)),
            [("a".to_owned(), 0, 5), ("a".to_owned(), 1, 6), ("b".to_owned(), 0, 7)]
        );
        assert_eq!(named(messages(Some(&first), &first)), []);
        // Forward, gone, and backwards.
        let second = reading(&[("a", &[(0, 9)]), ("b", &[(0, 2)])], "m");
        let changes = [("a".to_owned(), 0, 9), ("a".to_owned(), 1, -1), ("b".to_owned(), 0, 2)];
        assert_eq!(named(messages(Some(&first), &second)), changes);
        assert_eq!(named(messages(Some(&second), &reading(&[("b", &[(0, 2)])], "m"))), [("a".to_owned(), 0, -1)]);
        let other = reading(&[("a", &[(0, 9)]), ("b", &[(0, 2)])], "n");
        assert_eq!(named(messages(Some(&second), &other)).len(), 2, "metadata is carried too");
    }

    #[test]
    fn an_offset_that_goes_back_is_said_as_a_position_in_the_target() {
        let mut first = reading(&[("a", &[(0, 5), (1, 6)])], "m");
        let committed = first.groups.get_mut("a").unwrap().offsets.get_mut(&Partition::new("orders", 0)).unwrap();
        committed.back = Some(Position(70));
        let mut told = messages(None, &first);
        let back = told.remove(0);
        let Control::GroupsBack { groups } = back else { panic!("another message") };
        assert_eq!((groups[0].offsets[0].partition, groups[0].offsets[0].offset), (0, Position(70)));
        assert_eq!(named(told), [("a".to_owned(), 1, 6)]);
        let second = reading(&[("a", &[(0, 9), (1, 6)])], "m");
        assert_eq!(named(messages(Some(&first), &second)), [("a".to_owned(), 0, 9)], "it has read further");
    }

    #[test]
    fn no_message_exceeds_the_limits_of_the_wire() {
        let names: Vec<String> = (0..200).map(|n| format!("{n:0>1024}")).collect();
        let offsets: Vec<(i32, i64)> = (0..100).map(|partition| (partition, i64::MAX - 1)).collect();
        let all: Vec<(&str, &[(i32, i64)])> = names.iter().map(|name| (name.as_str(), &offsets[..])).collect();
        for metadata in [String::new(), "x".repeat(wire::limits::OFFSET_METADATA_MAX)] {
            let all = reading(&all[..if metadata.is_empty() { 200 } else { 20 }], &metadata);
            let messages = messages(None, &all);
            // It asserts the limits.
            messages.iter().for_each(|message| drop(encode_control(message)));
            assert!(messages.len() > 1);
            assert_eq!(named(messages).len(), all.offsets());
        }
    }
}
