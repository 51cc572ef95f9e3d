//! Rules of the source as the sender sends them: a reading in one or more messages, which replaces the one before.

use std::sync::Arc;

use wire::acl::Acl;

/// Memory of a rule or a name besides its texts.
const ENTRY_BYTES: usize = 128;
/// Most memory of a reading, however much the link has: about what a sender may send.
const BYTES_MAX: u64 = 8 << 20;

/// Complete reading of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) rules: Vec<Acl>,
    /// Carried topics to which some of them apply.
    pub(crate) topics: Vec<String>,
    /// Carried groups to which some of them apply.
    pub(crate) groups: Vec<String>,
}

/// Assembly of readings, which takes bounded memory.
#[derive(Debug)]
pub(crate) struct Assembly {
    open: Snapshot,
    bytes: usize,
    bytes_max: usize,
    complete: Option<Arc<Snapshot>>,
    /// True if the newest reading did not fit.
    too_large: bool,
}

impl Assembly {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max.min(BYTES_MAX)).unwrap_or(usize::MAX);
        Self { open: Snapshot::default(), bytes: 0, bytes_max, complete: None, too_large: false }
    }

    /// Takes a part of a reading. Returns whether it was the last one.
    pub(crate) fn add(&mut self, part: Snapshot, last: bool) -> bool {
        let names = part.topics.iter().chain(&part.groups).map(|name| ENTRY_BYTES + name.len());
        let rules = part.rules.iter().map(|rule| ENTRY_BYTES + rule.text_bytes());
        self.bytes = self.bytes.saturating_add(names.chain(rules).sum());
        if self.bytes > self.bytes_max {
            self.open = Snapshot::default();
        } else {
            self.open.rules.extend(part.rules);
            self.open.topics.extend(part.topics);
            self.open.groups.extend(part.groups);
        }
        if last {
            self.too_large = self.bytes > self.bytes_max;
            let open = std::mem::take(&mut self.open);
            if !self.too_large {
                self.complete = Some(Arc::new(open));
            }
            self.bytes = 0;
        }
        last
    }

    /// Returns the newest reading.
    /// Error: a sentence if it did not fit. Then nothing is made or taken away.
    pub(crate) fn newest(&self) -> Result<Option<Arc<Snapshot>>, String> {
        if self.too_large {
            let limit = self.bytes_max >> 10;
            return Err(format!(
                "the sender's rules need more than {limit} KiB, the limit of this link: raise `memory`"
            ));
        }
        Ok(self.complete.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(topics: &[&str]) -> Snapshot {
        Snapshot { topics: topics.iter().map(|&topic| topic.to_owned()).collect(), ..Snapshot::default() }
    }

    #[test]
    fn a_reading_counts_once_it_is_complete() {
        let mut assembly = Assembly::new(1 << 20);
        assert!(!assembly.add(part(&["a"]), false));
        assert_eq!(assembly.newest(), Ok(None), "half a reading says nothing");
        assert!(assembly.add(part(&["b"]), true));
        assert_eq!(assembly.newest().unwrap().unwrap().topics, ["a", "b"]);
        assembly.add(part(&["c"]), false);
        assert_eq!(assembly.newest().unwrap().unwrap().topics, ["a", "b"]);
        assembly.add(part(&[]), true);
        assert_eq!(assembly.newest().unwrap().unwrap().topics, ["c"]);
    }

    #[test]
    fn a_reading_that_is_too_large_is_refused_as_a_whole() {
        let mut assembly = Assembly::new(1_000);
        assembly.add(part(&["a"]), true);
        let name = "x".repeat(600);
        assert!(!(0..1_000).any(|_| assembly.add(part(&[&name]), false)));
        assert!(assembly.open.topics.len() <= 1);
        assembly.add(part(&["b"]), true);
        assert!(assembly.newest().unwrap_err().contains("limit of this link"));
        assembly.add(part(&["b"]), true);
        assert_eq!(assembly.newest().unwrap().unwrap().topics, ["b"]);
    }
}
