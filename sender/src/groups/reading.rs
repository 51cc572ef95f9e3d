//! Reading of the offsets that the matching groups have committed in carried topics.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use kafka::groups::{GroupOffset, GroupSummary};
use service::topics::TopicFilter;
use wire::ids::Position;
use wire::limits::{OFFSET_METADATA_MAX, STRING_MAX};
use wire::partition::Partition;

use crate::source::promotion::Promotion;

/// Most offsets of one reading.
const OFFSETS_MAX: usize = 100_000;
/// Memory of one reading: names, metadata, and about so much for each offset besides.
const BYTES_MAX: usize = 32 << 20;
const OFFSET_BYTES: usize = 128;
/// Offsets of one reading that are searched in the maps of a promoted link.
const BACK_MAX: usize = 1_000;

/// Groups to read, and the topics whose offsets count.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) groups: TopicFilter,
    pub(crate) topics: HashSet<Arc<str>>,
}

/// Committed offsets of all matching groups.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) groups: BTreeMap<Arc<str>, GroupReading>,
    /// Entries of `groups.include` that are names of groups which the source does not have.
    pub(crate) unmatched: Vec<String>,
    /// Problems, in sentences.
    pub(crate) trouble: Vec<String>,
    /// Offsets that are not carried: beyond the limits, or with metadata that is too long.
    pub(crate) left_out: usize,
    pub(crate) began: Instant,
}

/// Committed offsets of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupReading {
    pub(crate) has_members: bool,
    pub(crate) offsets: BTreeMap<Partition, Committed>,
}

/// Committed offset and its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) position: Position,
    /// Its place in the target, where that is the log from which a promoted link brought the records.
    pub(crate) back: Option<Position>,
    pub(crate) metadata: Arc<str>,
}

impl Reading {
    /// Makes a reading without groups.
    pub(crate) fn empty(began: Instant) -> Self {
        Self { groups: BTreeMap::new(), unmatched: Vec::new(), trouble: Vec::new(), left_out: 0, began }
    }

    /// Reads the groups. What cannot be read now is kept from the reading before.
    pub(crate) fn read(catalog: &dyn Catalog, wanted: &Wanted, before: Option<&Self>) -> Result<Self, KafkaError> {
        let mut reading = Self::empty(Instant::now());
        let list = catalog.groups()?;
        let mut members: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for GroupSummary { name, has_members } in list.groups {
            if wanted.groups.matches(&name) {
                members.insert(name.into(), has_members);
            }
        }
        let listed: BTreeSet<_> = members.keys().cloned().collect();
        // A group that is named is asked for even if it is not listed: the source hides groups that one may not describe.
        for name in wanted.names() {
            members.entry(name.into()).or_default();
        }
        if let Some(error) = list.incomplete {
            reading.trouble.push(format!("groups: {error}"));
            let known = before.iter().flat_map(|before| &before.groups);
            let known = known.filter(|(name, _)| wanted.groups.matches(name));
            for (name, group) in known {
                members.entry(Arc::clone(name)).or_insert(group.has_members);
            }
        }
        members.retain(|name, _| {
            let fits = name.len() <= STRING_MAX;
            if !fits {
                reading.trouble.push(format!("groups: a name of {} bytes; {STRING_MAX} are carried", name.len()));
            }
            fits
        });
        let names: Vec<String> = members.keys().map(ToString::to_string).collect();
        let answers = catalog.committed(&names)?;
        let mut room = Room::default();
        let mut unread = Vec::new();
        for ((name, has_members), answer) in members.into_iter().zip(answers) {
            match answer {
                Ok(offsets) if offsets.is_empty() && !listed.contains(&name) => {
                    reading.unmatched.push(name.to_string());
                }
                Ok(offsets) => {
                    let offsets = reading.take(wanted, offsets, &mut room);
                    reading.groups.insert(name, GroupReading { has_members, offsets });
                }
                Err(error) => {
                    unread.push(error);
                    if let Some(kept) = before.and_then(|before| before.groups.get(&name)) {
                        reading.groups.insert(name, kept.clone());
                    }
                }
            }
        }
        if let Some(first) = unread.first() {
            reading.trouble.push(format!("groups: {} of {} cannot be read: {first}", unread.len(), names.len()));
        }
        if room.refused > 0 {
            let limit = format!("{OFFSETS_MAX} offsets, {} MiB", BYTES_MAX >> 20);
            reading.trouble.push(format!("groups: {} offsets are beyond the limit of {limit}", room.refused));
        }
        Ok(reading)
    }

    /// Returns the offsets that are carried.
    fn take(&mut self, wanted: &Wanted, offsets: Vec<GroupOffset>, room: &mut Room) -> BTreeMap<Partition, Committed> {
        let mut taken = BTreeMap::new();
        for GroupOffset { partition, position, metadata } in offsets {
            let Some(topic) = wanted.topics.get(&*partition.topic) else { continue };
            if metadata.len() > OFFSET_METADATA_MAX || !room.take(metadata.len()) {
                self.left_out += 1;
                continue;
            }
            let partition = Partition { topic: Arc::clone(topic), ..partition };
            taken.insert(partition, Committed { position, back: None, metadata: metadata.into() });
        }
        taken
    }

    /// Finds the places in the target of offsets that go back. Those of the reading before are not asked for again.
    pub(crate) fn find_back(&mut self, promotion: &Promotion, before: Option<&Self>) {
        // Who has announced it has read it.
        let Ok(promoted) = promotion.get() else { return };
        let is_brought = |at: &Partition, position| promoted.begins(at).is_some_and(|end| position <= end);
        let mut asked = Vec::new();
        for (group, reading) in &mut self.groups {
            let known = before.and_then(|before| before.groups.get(group));
            for (at, committed) in &mut reading.offsets {
                match known.and_then(|known| known.offsets.get(at)).filter(|known| known.position == committed.position)
                {
                    Some(known) => committed.back = known.back,
                    None if is_brought(at, committed.position) => asked.push((at.clone(), committed.position)),
                    None => {}
                }
            }
        }
        asked.sort_unstable();
        asked.dedup();
        let later = asked.split_off(asked.len().min(BACK_MAX));
        let (back, failed) = match promotion.groups_back(&asked) {
            Ok(back) => (back, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        // Those that are not known now are said with a later reading.
        let unknown: HashSet<_> = asked.iter().skip(back.len()).chain(&later).cloned().collect();
        let back: HashMap<_, _> = asked.into_iter().zip(back).collect();
        for reading in self.groups.values_mut() {
            reading.offsets.retain(|at, committed| !unknown.contains(&(at.clone(), committed.position)));
            for (at, committed) in &mut reading.offsets {
                if let Some(found) = back.get(&(at.clone(), committed.position)) {
                    committed.back = *found;
                }
            }
        }
        self.trouble.extend(failed.map(|error| format!("groups: {error}")));
    }

    /// Number of offsets.
    pub(crate) fn offsets(&self) -> usize {
        self.groups.values().map(|group| group.offsets.len()).sum()
    }
}

impl Wanted {
    /// Returns the entries of `groups.include` that are names.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.groups.topics().iter().filter_map(|entry| entry.exact());
        names.filter(|name| self.groups.matches(name))
    }
}

/// Room for the offsets of one reading.
#[derive(Debug, Default)]
struct Room {
    offsets: usize,
    bytes: usize,
    refused: usize,
}

impl Room {
    fn take(&mut self, metadata: usize) -> bool {
        let fits = self.offsets < OFFSETS_MAX && self.bytes + OFFSET_BYTES + metadata <= BYTES_MAX;
        if fits {
            self.offsets += 1;
            self.bytes += OFFSET_BYTES + metadata;
        } else {
            self.refused += 1;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use kafka::catalog::Answers;
    use kafka::groups::GroupList;
    use service::lock::Lock;
    use service::topics::TopicPattern;

    use super::*;

    /// Groups of a source, with the offset of partition 0 of `orders`; `None` cannot be read.
    #[derive(Default)]
    struct Source {
        groups: Vec<(&'static str, Option<i64>)>,
        lists: usize,
        asked: Lock<Vec<String>>,
        incomplete: bool,
    }

    impl Catalog for Source {
        fn groups(&self) -> Result<GroupList, KafkaError> {
            let listed = self.groups.iter().take(self.lists);
            let groups = listed.map(|(name, _)| GroupSummary { name: (*name).to_owned(), has_members: true }).collect();
            let incomplete = self.incomplete.then(|| KafkaError::unknown_topic("list of groups"));
            Ok(GroupList { groups, incomplete })
        }

        fn committed(&self, groups: &[String]) -> Answers<Vec<GroupOffset>> {
            *self.asked.lock() = groups.to_vec();
            let of = |name: &String| {
                let found = self.groups.iter().find(|(group, _)| group == name);
                let offset = |topic: &str, position| GroupOffset {
                    partition: Partition::new(topic, 0),
                    position: Position(position),
                    metadata: "m".to_owned(),
                };
                match found {
                    None => Ok(Vec::new()),
                    Some((_, None)) => Err(KafkaError::unknown_topic("offsets")),
                    Some((_, Some(at))) => Ok(vec![offset("orders", *at), offset("other", 1)]),
                }
            };
            Ok(groups.iter().map(of).collect())
        }
    }

    fn wanted(include: &[&str]) -> Wanted {
        let patterns = include.iter().map(|entry| TopicPattern::parse(entry).unwrap()).collect();
        let exclude = vec![TopicPattern::parse("billing-test").unwrap()];
        Wanted { groups: TopicFilter::new(patterns, exclude), topics: HashSet::from([Arc::from("orders")]) }
    }

    fn positions(reading: &Reading) -> Vec<(&str, i64)> {
        let of = |group: &GroupReading| group.offsets.values().next().map_or(-1, |one| one.position.0);
        reading.groups.iter().map(|(name, group)| (&**name, of(group))).collect()
    }

    #[test]
    fn only_matching_groups_and_carried_topics_are_read() {
        let groups = vec![("billing-a", Some(1)), ("billing-test", Some(2)), ("other", Some(3))];
        let source = Source { groups, lists: 3, ..Source::default() };
        let reading = Reading::read(&source, &wanted(&["billing-.*", "gone"]), None).unwrap();
        assert_eq!(positions(&reading), [("billing-a", 1)]);
        assert_eq!((reading.offsets(), reading.unmatched.as_slice()), (1, &["gone".to_owned()][..]));
    }

    #[test]
    fn a_group_that_cannot_be_read_keeps_its_offsets() {
        let mut source = Source { groups: vec![("a", Some(7)), ("b", Some(8))], lists: 2, ..Source::default() };
        let all = wanted(&["a|b"]);
        let before = Reading::read(&source, &all, None).unwrap();
        source.groups = vec![("a", None), ("b", Some(9))];
        let reading = Reading::read(&source, &all, Some(&before)).unwrap();
        assert_eq!(positions(&reading), [("a", 7), ("b", 9)]);
        assert!(reading.trouble[0].starts_with("groups: 1 of 2 cannot be read"), "{:?}", reading.trouble);
        // A broker does not answer, and its groups are missing in the list.
        source.groups = vec![("b", Some(9)), ("a", Some(7))];
        source.lists = 1;
        source.incomplete = true;
        let reading = Reading::read(&source, &all, Some(&before)).unwrap();
        assert_eq!(positions(&reading), [("a", 7), ("b", 9)]);
        source.incomplete = false;
        assert_eq!(positions(&Reading::read(&source, &all, Some(&before)).unwrap()), [("b", 9)], "it is gone");
    }

    #[test]
    fn memory_for_a_reading_is_bounded() {
        let mut room = Room::default();
        let taken = (0..OFFSETS_MAX + 5).filter(|_| room.take(0)).count();
        assert_eq!((taken, room.refused), (OFFSETS_MAX, 5));
        let mut room = Room::default();
        let taken = (0..OFFSETS_MAX).filter(|_| room.take(OFFSET_METADATA_MAX)).count();
        assert!(taken * OFFSET_METADATA_MAX <= BYTES_MAX && taken > 7_000, "{taken}");
    }
}
