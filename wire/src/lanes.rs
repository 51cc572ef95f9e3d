//! Lanes of partitions and of classes (wire-format.md#lanes). Both ends must compute the same: a partition begins in its
//! lane of the default class, and is handed over from there.

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::LaneId;
use crate::limits::LANES_MAX;

/// Name of the lane hash, in the state and in a hello.
pub const LANE_HASH: &str = "xxh3-64";

/// Class of all topics that no other class matches. It has the lanes that the link was created with.
pub const DEFAULT_CLASS: &str = "default";

/// Class that a sender requests.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClassRequest {
    /// Name of the class.
    pub name: String,
    /// Number of lanes that it requests.
    pub lanes: u16,
    /// Strict priority over every class that is not strict, in this session.
    pub strict: bool,
}

/// Class with the lanes that it owns for the life of the link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClassLanes {
    /// Name of the class.
    pub name: String,
    /// First lane of the class.
    pub first: u16,
    /// Number of lanes, at least 1.
    pub count: u16,
}

/// Table of all classes that a link has ever had, in order of lanes, the default class first. It only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassTable(Vec<ClassLanes>);

/// Error in a request for lanes of classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// The table cannot be a result of [`ClassTable::append`].
    #[error("the table of classes is damaged: {0}")]
    Damaged(&'static str),
    /// A class was created with another number of lanes.
    #[error(
        "class {name:?} was made with {stored} lanes, {asked} are asked for: `lanes` of a class is fixed for the life of a link; set it back or use another class name"
    )]
    LanesChanged {
        /// Name of the class.
        name: String,
        /// Number of lanes that the class has.
        stored: u16,
        /// Number of lanes that were requested.
        asked: u16,
    },
    /// The link has too few lanes left.
    #[error(
        "class {name:?} needs {asked} lanes, {left} of {LANES_MAX} are left: classes that were taken out of the configuration keep theirs; give it fewer, or use the name of an old one"
    )]
    NoneLeft {
        /// Name of the class.
        name: String,
        /// Number of lanes that were requested.
        asked: u16,
        /// Number of lanes that are left.
        left: u16,
    },
}

impl ClassLanes {
    /// Returns the lane of a partition. A topic's partitions use consecutive lanes, so that they spread evenly.
    pub fn lane(&self, topic: &str, partition: i32) -> LaneId {
        let count = u64::from(self.count.max(1));
        let lane = (xxh3_64(topic.as_bytes()) % count + partition.max(0) as u64) % count;
        LaneId(self.first + lane as u16)
    }

    /// Returns whether the class owns this lane.
    pub fn owns(&self, lane: LaneId) -> bool {
        (self.first..self.end()).contains(&lane.0)
    }

    fn end(&self) -> u16 {
        self.first.saturating_add(self.count)
    }
}

impl ClassTable {
    /// Makes the table of a link that has only the default class, with `lanes` lanes.
    pub fn new(lanes: u16) -> Self {
        Self(vec![ClassLanes { name: DEFAULT_CLASS.to_owned(), first: 0, count: lanes }])
    }

    /// Checks a table from the state or from the other end.
    ///
    /// # Errors
    /// [`ClassError::Damaged`] if ranges do not follow each other from 0, or names repeat.
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

    /// Returns the table with new lanes at its end for each new class.
    ///
    /// # Errors
    /// A class that has another number of lanes already, or too few lanes left.
    pub fn append(&self, requests: &[ClassRequest]) -> Result<Self, ClassError> {
        let mut table = self.clone();
        for ClassRequest { name, lanes, .. } in requests {
            let name = name.clone();
            let asked = *lanes;
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

    /// Returns the number of lanes of all classes.
    pub fn lanes(&self) -> u16 {
        self.0.last().map_or(0, ClassLanes::end)
    }

    /// Returns the class in which every partition begins.
    pub fn default_class(&self) -> &ClassLanes {
        &self.0[0]
    }

    /// Returns the class with this name.
    pub fn class(&self, name: &str) -> Option<&ClassLanes> {
        self.0.iter().find(|class| class.name == name)
    }

    /// Returns the class that owns a lane.
    pub fn class_of(&self, lane: LaneId) -> Option<&ClassLanes> {
        self.0.iter().find(|class| class.owns(lane))
    }

    /// Returns all classes.
    pub fn classes(&self) -> &[ClassLanes] {
        &self.0
    }

    /// Returns whether `other` is this table, possibly with more classes at its end.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, lanes: u16) -> ClassRequest {
        ClassRequest { name: name.into(), lanes, strict: false }
    }

    #[test]
    fn the_routing_of_released_versions_never_changes() {
        // Links store these lanes: with another result, partitions would begin in two lanes.
        assert_eq!(xxh3_64(b"orders"), 12_145_308_562_482_623_739);
        let table = ClassTable::new(8);
        assert_eq!(table.default_class().lane("orders", 0), LaneId(3));
        assert_eq!(table.default_class().lane("orders", 7), LaneId(2));
    }

    #[test]
    fn a_topic_spreads_over_all_lanes_of_its_class_and_no_other() {
        let table = ClassTable::new(3).append(&[request("bulk", 5)]).unwrap();
        let bulk = table.class("bulk").unwrap();
        let mut lanes: Vec<_> = (0..5).map(|partition| bulk.lane("orders", partition)).collect();
        lanes.sort();
        assert_eq!(lanes, (3..8).map(LaneId).collect::<Vec<_>>());
        assert!(lanes.iter().all(|&lane| bulk.owns(lane) && !table.default_class().owns(lane)));
    }

    #[test]
    fn lanes_are_only_ever_appended() {
        let first = ClassTable::new(8);
        let two = first.append(&[request("critical", 2), request("bulk", 4)]).unwrap();
        assert_eq!((two.class("critical").unwrap().first, two.class("bulk").unwrap().first, two.lanes()), (8, 10, 14));
        let other_order = two.append(&[request("bulk", 4), request("new", 1), request("critical", 2)]).unwrap();
        assert_eq!((other_order.class("new").unwrap().first, other_order.lanes()), (14, 15));
        assert!(first.is_prefix_of(&two) && two.is_prefix_of(&other_order) && !other_order.is_prefix_of(&two));
        assert_eq!(two.append(&[]), Ok(two.clone()), "a class that vanished keeps its lanes");
        let error = two.append(&[request("bulk", 3)]).unwrap_err().to_string();
        assert!(error.contains("\"bulk\" was made with 4 lanes, 3 are asked for"), "{error}");
        let error = two.append(&[request("huge", 51)]).unwrap_err().to_string();
        assert!(error.contains("needs 51 lanes, 50 of 64 are left"), "{error}");
    }

    #[test]
    fn a_table_that_appending_cannot_make_is_refused() {
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
