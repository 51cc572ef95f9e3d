//! Origins: the topics that a link brings to its target cluster, and the clusters that each has passed. The receiver
//! writes them to the link's state. Senders that read from that cluster read them, so that no topic travels in a circle.
//!
//! Keys and values begin with the [`FORMAT`] of all state. The next byte of a key tells an origin from the receiver's
//! other records.

use bincode::{Decode, Encode};

use crate::codec::{from_bytes, to_bytes};
use crate::error::DecodeError;
use crate::ids::TopicId;

/// Format of all keys and values that this version writes to a state topic.
pub const FORMAT: u8 = 1;

/// Second byte of an origin's key. The receiver's other records use numbers from 0.
const KIND: u8 = 16;

/// Second byte of the key of a promotion, which has nothing else.
const PROMOTION_KIND: u8 = 8;

/// Origin of a topic that a link brings to its target.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// Topic name in the target.
    pub target_topic: String,
    /// Topic id in the target; unknown until the topic has been created.
    pub target_topic_id: TopicId,
    /// Kafka's ids of the clusters that the topic has passed, from the oldest to the link's own source.
    pub clusters: Vec<String>,
}

/// Error in an entry of a state topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// A newer version wrote the entry.
    #[error("has format {0}; this version reads {FORMAT}: use a newer one")]
    Format(u8),
    /// The entry has no bytes, not even a format.
    #[error("is empty")]
    Empty,
    /// The entry has this version's format, but cannot be decoded.
    #[error("is damaged: {0}")]
    Damaged(DecodeError),
}

/// Returns the name of a link's state topic.
pub fn state_topic(link: &str) -> String {
    format!("__causeway.{link}.state")
}

/// Returns the name of the topic that has the older ranges of a link's offset maps.
pub fn map_topic(link: &str) -> String {
    format!("__causeway.{link}.map")
}

/// Returns whether this is the map topic of a link.
pub fn is_map_topic(topic: &str) -> bool {
    topic.starts_with("__causeway.") && topic.ends_with(".map")
}

/// Returns the name of the link that this state topic belongs to.
pub fn link_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("__causeway.")?.strip_suffix(".state").filter(|link| !link.is_empty())
}

/// Returns the name of the topic with which a sender proves that its source is not the target.
pub fn probe_topic(link: &str, process: u128) -> String {
    format!("__causeway.{link}.probe.{process:032x}")
}

/// Returns whether this is a probe topic of a link.
pub fn is_probe_of(topic: &str, link: &str) -> bool {
    let number = topic.strip_prefix(&format!("__causeway.{link}.probe."));
    number.is_some_and(|number| number.len() == 32 && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Encodes a key or value, with its format.
pub fn encode(record: &impl Encode) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend(to_bytes(record));
    bytes
}

/// Decodes bytes from [`encode`] of this version.
///
/// # Errors
/// [`StoredError`], which does not name the record: the caller does.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, StoredError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => from_bytes(body).map_err(StoredError::Damaged),
        Some((&format, _)) => Err(StoredError::Format(format)),
        None => Err(StoredError::Empty),
    }
}

/// Returns whether this is the key of a link's promotion: its topics belong to the applications of this cluster from then on.
pub fn is_promotion(key: &[u8]) -> bool {
    key == [FORMAT, PROMOTION_KIND]
}

/// Returns the key of a source topic's origin.
pub fn key(source_topic: &str) -> Vec<u8> {
    let mut bytes = vec![FORMAT, KIND];
    bytes.extend(to_bytes(&source_topic));
    bytes
}

/// Returns the source topic of an origin's key; `None` for the key of another record.
pub fn source_topic(key: &[u8]) -> Result<Option<String>, StoredError> {
    match key {
        [FORMAT, KIND, topic @ ..] => from_bytes(topic).map(Some).map_err(StoredError::Damaged),
        [FORMAT, _, ..] => Ok(None),
        [FORMAT] | [] => Err(StoredError::Empty),
        [format, ..] => Err(StoredError::Format(*format)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_of_an_origin_names_its_topic() {
        assert_eq!(source_topic(&key("orders")), Ok(Some("orders".to_owned())));
        assert_eq!(source_topic(&encode(&0u8)), Ok(None));
        assert_eq!(source_topic(&[2, KIND]), Err(StoredError::Format(2)));
        assert_eq!(source_topic(&[]), Err(StoredError::Empty));
        let cut = source_topic(&key("orders")[..5]);
        assert!(matches!(cut, Err(StoredError::Damaged(_))), "{cut:?}");
    }

    #[test]
    fn a_probe_topic_is_no_state_and_belongs_to_its_link() {
        let topic = probe_topic("a.probe", 7);
        assert_eq!(topic, format!("__causeway.a.probe.probe.{:0>32}", 7));
        assert!(is_probe_of(&topic, "a.probe") && !is_probe_of(&topic, "a"));
        assert_eq!(link_of(&topic), None);
        assert!(!is_probe_of("__causeway.a.probe.state", "a"));
    }

    #[test]
    fn a_state_topic_names_its_link() {
        assert_eq!(link_of(&state_topic("fra.to-sin")), Some("fra.to-sin"));
        for other in ["__causeway..state", "__causeway.a.map", "causeway.a.state", "__consumer_offsets"] {
            assert_eq!(link_of(other), None, "{other}");
        }
    }
}
