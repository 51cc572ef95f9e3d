//! Router of partitions to lanes: the class of the topic, and the lane within the class. The classes are configured at
//! the sender; their lanes are stored in the target and stated in the welcome.

use service::topics::TopicFilter;
use wire::ids::LaneId;
use wire::lanes::{ClassLanes, ClassTable};

#[derive(Debug, Clone)]
pub struct Router {
    table: ClassTable,
    /// Topics and lanes of each class, in the order written: the first that matches a topic counts.
    classes: Vec<(TopicFilter, ClassLanes)>,
}

impl Router {
    /// Creates the router of a link that has only the default class.
    pub fn plain(lanes: u16) -> Self {
        Self::new(ClassTable::new(lanes), std::iter::empty())
    }

    /// Creates a router over the lanes of `table`. Topics of a class that is not in the table go to the default class.
    pub fn new<'c>(table: ClassTable, classes: impl Iterator<Item = (&'c str, &'c TopicFilter)>) -> Self {
        let lanes = |(name, topics): (&str, &TopicFilter)| Some((topics.clone(), table.class(name)?.clone()));
        let classes = classes.filter_map(lanes).collect();
        Self { table, classes }
    }

    pub fn lane(&self, topic: &str, partition: i32) -> LaneId {
        let class = self.classes.iter().find(|(topics, _)| topics.matches(topic)).map(|(_, class)| class);
        class.unwrap_or_else(|| self.table.default_class()).lane(topic, partition)
    }

    pub fn lanes(&self) -> u16 {
        self.table.lanes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::topics::TopicPattern;
    use wire::lanes::ClassRequest;

    fn topics(pattern: &str) -> TopicFilter {
        TopicFilter::new(vec![TopicPattern::parse(pattern).unwrap()], Vec::new())
    }

    #[test]
    fn the_first_matching_class_has_the_topic() {
        let request = |name: &str, lanes| ClassRequest { name: name.into(), lanes, strict: false };
        let table =
            ClassTable::new(8).append(&[request("critical", 1), request("gone", 2), request("bulk", 3)]).unwrap();
        let critical = topics("orders");
        let bulk = topics("orders.*|clicks");
        let router = Router::new(table.clone(), [("bulk", &bulk), ("critical", &critical)].into_iter());
        let class = |topic| {
            let lane = router.lane(topic, 5);
            table.class_of(lane).map(|class| class.name.clone()).unwrap()
        };
        assert_eq!((class("clicks").as_str(), class("orders").as_str()), ("bulk", "bulk"));
        assert_eq!(class("payments"), "default");
        let router = Router::new(table.clone(), [("critical", &critical), ("bulk", &bulk)].into_iter());
        assert_eq!(router.lane("orders", 5), LaneId(8));
        assert_eq!(router.lanes(), 14);
    }
}
