//! Which lane carries a partition, and which lanes a class has (wire-format.md#lanes). Both ends must answer
//! alike: a partition begins in the lane that the default class has for it, and is moved from there.

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::LaneId;
use crate::limits::LANES_MAX;

/// The hash's name, as stored and as said in a hello.
pub const LANE_HASH: &str = "xxh3-64";

/// The class of what no other class matches. It has the lanes that the link was made with.
pub const DEFAULT_CLASS: &str = "default";

/// A class as a sender asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClassRequest {
    /// Its name.
    pub name: String,
    /// How many lanes it is to have.
    pub lanes: u16,
    /// Whether it goes before every class that is not strict, in this session.
    pub strict: bool,
}

/// A class and the lanes that it owns for the life of the link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClassLanes {
    /// Its name.
    pub name: String,
    /// Its first lane.
    pub first: u16,
    /// How many lanes it has, at least 1.
    pub count: u16,
}

/// Every class that a link has ever had, in order of their lanes, the default class first. It only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassTable(Vec<ClassLanes>);

/// Why classes cannot have the lanes that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// The table is not one that [`ClassTable::append`] makes.
    #[error("the table of classes is damaged: {0}")]
    Damaged(&'static str),
    /// A class was made with another number of lanes.
    #[error(
        "class {name:?} was made with {stored} lanes, {asked} are asked for: `lanes` of a class is fixed for the life of a link; set it back or use another class name"
    )]
    LanesChanged {
        /// Which.
        name: String,
        /// What it has.
        stored: u16,
        /// What is wanted.
        asked: u16,
    },
    /// There are no lanes left.
    #[error(
        "class {name:?} needs {asked} lanes, {left} of {LANES_MAX} are left: classes that were taken out of the configuration keep theirs; give it fewer, or use the name of an old one"
    )]
    NoneLeft {
        /// Which.
        name: String,
        /// What it wants.
        asked: u16,
        /// What there is.
        left: u16,
    },
}

impl ClassLanes {
    /// The lane of a partition: a topic's partitions go to consecutive lanes, so that they spread evenly.
    pub fn lane(&self, topic: &str, partition: i32) -> LaneId {
        let count = u64::from(self.count.max(1));
        let lane = (xxh3_64(topic.as_bytes()) % count + partition.max(0) as u64) % count;
        LaneId(self.first + lane as u16)
    }

    /// Whether a lane is this class's.
    pub fn owns(&self, lane: LaneId) -> bool {
        (self.first..self.end()).contains(&lane.0)
    }

    fn end(&self) -> u16 {
        self.first.saturating_add(self.count)
    }
}

impl ClassTable {
    /// A link that has only the default class, with `lanes` lanes.
    pub fn new(lanes: u16) -> Self {
        Self(vec![ClassLanes { name: DEFAULT_CLASS.to_owned(), first: 0, count: lanes }])
    }

    /// A table as it is stored or said by the other end.
    ///
    /// # Errors
    /// [`ClassError::Damaged`] where ranges do not follow each other from 0 or names repeat.
    pub fn of(classes: Vec<ClassLanes>) -> Result<Self, ClassError> {
        let mut end = 0;
        for (index, class) in classes.iter().enumerate() {
            if class.count == 0 || class.first != end || class.end() > LANES_MAX {
                return Err(ClassError::Damaged("its ranges of lanes do not follow each other"));
            }
            if classes[..index].iter().any(|other| other.name == class.name) {
                return Err(ClassError::Damaged("two classes have one name"));
            }
            end = class.end();
        }
        match classes.first() {
            Some(first) if first.name == DEFAULT_CLASS => Ok(Self(classes)),
            _ => Err(ClassError::Damaged("the default class is not the first")),
        }
    }

    /// The same, with lanes behind the last for every class that is new.
    ///
    /// # Errors
    /// Where a class is known with another number of lanes, or there are too few left.
    pub fn append(&self, wishes: &[ClassRequest]) -> Result<Self, ClassError> {
        let mut table = self.clone();
        for ClassRequest { name, lanes, .. } in wishes {
            let (name, asked) = (name.clone(), *lanes);
            match table.class(&name) {
                Some(class) if class.count == asked => {}
                Some(class) => return Err(ClassError::LanesChanged { name, stored: class.count, asked }),
                None => {
                    let left = LANES_MAX - table.lanes();
                    if asked == 0 || asked > left {
                        return Err(ClassError::NoneLeft { name, asked, left });
                    }
                    let first = table.lanes();
                    table.0.push(ClassLanes { name, first, count: asked });
                }
            }
        }
        Ok(table)
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> u16 {
        self.0.last().map_or(0, ClassLanes::end)
    }

    /// The class that every partition begins in.
    pub fn default_class(&self) -> &ClassLanes {
        &self.0[0]
    }

    /// The class of that name.
    pub fn class(&self, name: &str) -> Option<&ClassLanes> {
        self.0.iter().find(|class| class.name == name)
    }

    /// The class that owns a lane.
    pub fn class_of(&self, lane: LaneId) -> Option<&ClassLanes> {
        self.0.iter().find(|class| class.owns(lane))
    }

    /// Every class.
    pub fn classes(&self) -> &[ClassLanes] {
        &self.0
    }

    /// Whether `other` is this table, or this table with more appended.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str, lanes: u16) -> ClassRequest {
        ClassRequest { name: name.into(), lanes, strict: false }
    }

    #[test]
    fn the_routing_of_released_versions_never_changes() {
        // Stored in links' state: another answer here would have partitions begin in two lanes.
        assert_eq!(xxh3_64(b"orders"), 12_145_308_562_482_623_739);
        let table = ClassTable::new(8);
        assert_eq!(table.default_class().lane("orders", 0), LaneId(3));
        assert_eq!(table.default_class().lane("orders", 7), LaneId(2));
    }

    #[test]
    fn a_topic_spreads_over_all_lanes_of_its_class_and_no_other() {
        let table = ClassTable::new(3).append(&[wish("bulk", 5)]).unwrap();
        let bulk = table.class("bulk").unwrap();
        let mut lanes: Vec<_> = (0..5).map(|partition| bulk.lane("orders", partition)).collect();
        lanes.sort();
        assert_eq!(lanes, (3..8).map(LaneId).collect::<Vec<_>>());
        assert!(lanes.iter().all(|&lane| bulk.owns(lane) && !table.default_class().owns(lane)));
    }

    #[test]
    fn lanes_are_only_ever_appended() {
        let first = ClassTable::new(8);
        let two = first.append(&[wish("critical", 2), wish("bulk", 4)]).unwrap();
        assert_eq!((two.class("critical").unwrap().first, two.class("bulk").unwrap().first, two.lanes()), (8, 10, 14));
        let other_order = two.append(&[wish("bulk", 4), wish("new", 1), wish("critical", 2)]).unwrap();
        assert_eq!((other_order.class("new").unwrap().first, other_order.lanes()), (14, 15));
        assert!(first.is_prefix_of(&two) && two.is_prefix_of(&other_order) && !other_order.is_prefix_of(&two));
        assert_eq!(two.append(&[]), Ok(two.clone()), "a class that vanished keeps its lanes");
        let said = two.append(&[wish("bulk", 3)]).unwrap_err().to_string();
        assert!(said.contains("\"bulk\" was made with 4 lanes, 3 are asked for"), "{said}");
        let said = two.append(&[wish("huge", 51)]).unwrap_err().to_string();
        assert!(said.contains("needs 51 lanes, 50 of 64 are left"), "{said}");
    }

    #[test]
    fn a_table_that_was_not_made_by_appending_is_refused() {
        let class = |name: &str, first, count| ClassLanes { name: name.into(), first, count };
        let good = vec![class("default", 0, 8), class("bulk", 8, 4)];
        assert!(ClassTable::of(good.clone()).is_ok());
        for bad in [
            vec![],
            vec![class("bulk", 0, 8)],
            vec![class("default", 0, 8), class("bulk", 9, 4)],
            vec![class("default", 0, 8), class("bulk", 7, 4)],
            vec![class("default", 0, 8), class("bulk", 8, 0)],
            vec![class("default", 0, 8), class("bulk", 8, 57)],
            vec![class("default", 0, 8), class("bulk", 8, u16::MAX)],
            vec![class("default", 0, 8), class("bulk", 8, 1), class("bulk", 9, 1)],
        ] {
            assert!(ClassTable::of(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
