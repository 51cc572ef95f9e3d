//! Ends of the source in a session: tells the receiver up to where its partitions go, so that what is not carried is known
//! once the source is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::control::{Control, PartitionEnd, TopicEnds, Welcome};
use wire::hello::FEATURE_SOURCE_ENDS;
use wire::limits::{ENDS_MAX, ENDS_TOPICS_MAX};
use wire::partition::Partition;

use super::Session;
use super::groups::send;
use crate::source::discovery::SourceEnds;

/// Ends that the receiver knows.
type Sent = BTreeMap<Partition, PartitionEnd>;

/// Starts the task that tells the receiver each reading of the source, in a session.
pub(super) fn start(session: &Session<'_>, welcome: &Welcome, control: &mpsc::Sender<Control>) -> JoinHandle<()> {
    let control = (welcome.features & FEATURE_SOURCE_ENDS != 0).then(|| control.clone());
    tokio::spawn(run(session.board.source_ends().subscribe(), control))
}

async fn run(mut readings: watch::Receiver<Arc<SourceEnds>>, control: Option<mpsc::Sender<Control>>) {
    let Some(control) = control else { return };
    let mut sent = Sent::new();
    // Ends that were read before the session are older than its first word would say.
    while readings.changed().await.is_ok() {
        let reading = Arc::clone(&readings.borrow_and_update());
        if send(&control, messages(&mut sent, &reading)).await.is_err() {
            return;
        }
    }
}

/// Returns the messages about what has changed since the last reading; the last one ends this reading, and may be empty.
fn messages(sent: &mut Sent, reading: &SourceEnds) -> Vec<Control> {
    let mut messages = Vec::new();
    let mut topics: Vec<TopicEnds> = Vec::new();
    let mut count = 0;
    let unknown =
        |at: &Partition| (!reading.contains_key(at)).then(|| (at.clone(), PartitionEnd::unknown(at.partition)));
    // What was said before and cannot be read now is unknown: the receiver must not take it for the source's present end.
    let news: Sent =
        sent.keys().filter_map(unknown).chain(reading.iter().map(|(at, end)| (at.clone(), *end))).collect();
    for (at, end) in &news {
        if sent.get(at) == Some(end) {
            continue;
        }
        sent.insert(at.clone(), *end);
        let is_new = topics.last().is_none_or(|topic| topic.topic != *at.topic);
        if count == ENDS_MAX || (is_new && topics.len() == ENDS_TOPICS_MAX) {
            messages.push(Control::SourceEnds { topics: std::mem::take(&mut topics), last: false });
            count = 0;
        }
        match topics.last_mut() {
            Some(topic) if topic.topic == *at.topic => topic.ends.push(*end),
            _ => topics.push(TopicEnds { topic: at.topic.to_string(), ends: vec![*end] }),
        }
        count += 1;
    }
    messages.push(Control::SourceEnds { topics, last: true });
    messages
}

#[cfg(test)]
mod tests {
    use wire::ids::Position;

    use super::*;

    fn reading(topics: i32, partitions: i32, end: i64) -> SourceEnds {
        let of = |topic| (0..partitions).map(move |partition| (topic, partition));
        let one = |(topic, partition)| {
            let end = PartitionEnd { partition, stable: Position(end), end: Position(end) };
            (Partition::new(format!("topic-{topic:05}"), partition), end)
        };
        (0..topics).flat_map(of).map(one).collect()
    }

    fn sizes(messages: &[Control]) -> Vec<(usize, usize, bool)> {
        let size = |message: &Control| match message {
            Control::SourceEnds { topics, last } => {
                wire::codec::encode_control(message);
                (topics.len(), topics.iter().map(|topic| topic.ends.len()).sum(), *last)
            }
            other => panic!("{other:?}"),
        };
        messages.iter().map(size).collect()
    }

    #[test]
    fn only_what_has_changed_is_sent_and_every_reading_ends() {
        let mut sent = Sent::new();
        assert_eq!(sizes(&messages(&mut sent, &reading(2, 3, 5))), [(2, 6, true)]);
        assert_eq!(sizes(&messages(&mut sent, &reading(2, 3, 5))), [(0, 0, true)]);
        let mut changed = reading(2, 3, 5);
        changed.extend(reading(1, 1, 6));
        assert_eq!(sizes(&messages(&mut sent, &changed)), [(1, 1, true)]);
    }

    #[test]
    fn an_end_that_cannot_be_read_is_said_to_be_unknown_once() {
        let mut sent = Sent::new();
        messages(&mut sent, &reading(1, 2, 5));
        let without = reading(1, 1, 5);
        let [Control::SourceEnds { topics, last: true }] = &messages(&mut sent, &without)[..] else {
            panic!("one message")
        };
        assert_eq!(topics[0].ends, [PartitionEnd::unknown(1)]);
        assert_eq!(sizes(&messages(&mut sent, &without)), [(0, 0, true)]);
        assert_eq!(sizes(&messages(&mut sent, &reading(1, 2, 5))), [(1, 1, true)], "it is known again");
    }

    #[test]
    fn a_message_is_within_its_limits() {
        let many = messages(&mut Sent::new(), &reading(1_500, 1, 5));
        assert_eq!(sizes(&many), [(1_024, 1_024, false), (476, 476, true)]);
        let wide = messages(&mut Sent::new(), &reading(2, 3_000, 5));
        assert_eq!(sizes(&wide), [(2, 4_096, false), (1, 1_904, true)]);
    }
}
