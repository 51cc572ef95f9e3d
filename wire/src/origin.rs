//! What a link's state tells other links: which topics it brings to its cluster, and which clusters each has
//! passed on its way there. The receiver writes it, senders beside that cluster read it, so that no topic
//! goes round in circles.
//!
//! Keys and values begin with the [`FORMAT`] of all state; a key goes on with a number of its own, so that
//! whoever reads can tell these records from the others, which are the receiver's alone.

use bincode::{Decode, Encode};

use crate::codec::{from_bytes, to_bytes};
use crate::error::DecodeError;
use crate::ids::TopicId;

/// The format of all keys and values in a state topic, as this version writes them.
pub const FORMAT: u8 = 1;

/// Second byte of an origin's key; the receiver's other records count theirs from 0.
const KIND: u8 = 16;

/// What is remembered of a topic that a link brings.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// Its name in the target.
    pub target_topic: String,
    /// Its incarnation there; unknown while it is about to be made.
    pub target_topic_id: TopicId,
    /// Kafka's ids of the clusters it has passed, the oldest first, the link's own source last.
    pub clusters: Vec<String>,
}

/// Why an entry of a state topic cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// A newer version wrote it.
    #[error("has format {0}; this version reads {FORMAT}: use a newer one")]
    Format(u8),
    /// There is nothing where at least a format should be.
    #[error("is empty")]
    Empty,
    /// This version's format, and yet not readable.
    #[error("is damaged: {0}")]
    Damaged(DecodeError),
}

/// The state topic of a link.
pub fn state_topic(link: &str) -> String {
    format!("__causeway.{link}.state")
}

/// The link whose state topic this is.
pub fn link_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("__causeway.")?.strip_suffix(".state").filter(|link| !link.is_empty())
}

/// A stored key or value: its format, and what that format says.
pub fn encode(record: &impl Encode) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend(to_bytes(record));
    bytes
}

/// What [`encode`] made, of this version.
///
/// # Errors
/// [`StoredError`], each a complaint about the record: the caller says which.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, StoredError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => from_bytes(body).map_err(StoredError::Damaged),
        Some((&format, _)) => Err(StoredError::Format(format)),
        None => Err(StoredError::Empty),
    }
}

/// The key under which a source topic's origin is stored.
pub fn key(source_topic: &str) -> Vec<u8> {
    let mut bytes = vec![FORMAT, KIND];
    bytes.extend(to_bytes(&source_topic));
    bytes
}

/// The source topic whose origin `key` names; `None` for a key of another record.
///
/// # Errors
/// [`StoredError`]
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
    fn an_origin_is_found_under_its_key_and_other_keys_are_not_it() {
        assert_eq!(source_topic(&key("orders")), Ok(Some("orders".to_owned())));
        assert_eq!(source_topic(&encode(&0u8)), Ok(None));
        assert_eq!(source_topic(&[2, KIND]), Err(StoredError::Format(2)));
        assert_eq!(source_topic(&[]), Err(StoredError::Empty));
        let cut = source_topic(&key("orders")[..5]);
        assert!(matches!(cut, Err(StoredError::Damaged(_))), "{cut:?}");
    }

    #[test]
    fn a_state_topic_says_whose_it_is() {
        assert_eq!(link_of(&state_topic("fra.to-sin")), Some("fra.to-sin"));
        for other in ["__causeway..state", "__causeway.a.map", "causeway.a.state", "__consumer_offsets"] {
            assert_eq!(link_of(other), None, "{other}");
        }
    }
}
