//! Headers that say where a copied record was: which link, which partition, which offset.

use wire::frame::{HeaderBlock, Headers};
use wire::ids::Offset;
use wire::partition::Partition;

const LINK: &[u8] = b"causeway.link";
const TOPIC: &[u8] = b"causeway.topic";
const PARTITION: &[u8] = b"causeway.partition";
const OFFSET: &[u8] = b"causeway.offset";
/// Number of these headers: the last ones of a record.
const COUNT: usize = 4;

/// Where a record was that a link did not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coordinates {
    /// Name of the link.
    pub(super) link: String,
    /// Partition of its source.
    pub(super) partition: Partition,
    pub(super) offset: Offset,
}

impl Coordinates {
    /// Appends the headers, as text that every client can show.
    pub(super) fn write(&self, headers: &mut HeaderBlock) {
        headers.push(LINK, Some(self.link.as_bytes()));
        headers.push(TOPIC, Some(self.partition.topic.as_bytes()));
        headers.push(PARTITION, Some(self.partition.partition.to_string().as_bytes()));
        headers.push(OFFSET, Some(self.offset.0.to_string().as_bytes()));
    }

    /// Reads the last headers of a record; `None` if another program wrote it.
    pub(super) fn read(headers: &Headers<'_>) -> Option<Self> {
        let last = headers.len().checked_sub(COUNT)?;
        let mut last = headers.iter().skip(last);
        let mut text = |name: &[u8]| {
            let (key, value) = last.next()?;
            std::str::from_utf8(value?).ok().filter(|_| key == name)
        };
        let link = text(LINK)?.to_owned();
        let topic = text(TOPIC)?;
        let partition = Partition::new(topic, text(PARTITION)?.parse().ok()?);
        Some(Self { link, partition, offset: Offset(text(OFFSET)?.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_a_copied_record_say_where_it_was() {
        let coordinates =
            Coordinates { link: "fra".to_owned(), partition: Partition::new("orders", 3), offset: Offset(70) };
        let mut headers = HeaderBlock::default();
        headers.push(b"trace", None);
        headers.push(OFFSET, Some(b"1"));
        assert_eq!(Coordinates::read(&headers.as_headers()), None, "an application's");
        coordinates.write(&mut headers);
        assert_eq!(Coordinates::read(&headers.as_headers()), Some(coordinates));
        headers.push(b"trace", None);
        assert_eq!(Coordinates::read(&headers.as_headers()), None, "another program has copied it further");
        assert_eq!(Coordinates::read(&Headers::EMPTY), None);
    }
}
