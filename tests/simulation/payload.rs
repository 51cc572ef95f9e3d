//! The content of records, and the values that no link can carry.

use wire::frame::RecordRef;

/// Value that the target always rejects.
pub(crate) const POISON: &[u8] = b"poison";

/// Size of a value that needs more credit than a frame may have.
pub(crate) const HUGE: usize = 20_000;

/// Content of a record. Keys have a number that no other record has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Payload {
    pub(crate) fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        Self {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

    /// Returns the reason for which a partition halts at this record, if it does.
    pub(crate) fn halts(&self) -> Option<&'static str> {
        match self.value.as_deref()? {
            POISON => Some("record-rejected"),
            value if value.len() >= HUGE => Some("record-too-large"),
            _ => None,
        }
    }
}
