//! Comparison of the records that should have arrived with those that did, partition by partition.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::reader::{Isolation, Reader, read};
use crate::record::{Contents, Entry};
use crate::wait::until_ok;

/// Records with the same fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Number of records with the fault.
    pub count: u64,
    /// Place of the first one, for the message.
    pub example: Option<String>,
}

impl Finding {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        self.example.get_or_insert_with(example);
    }
}

/// Result of a comparison. Its `Display` is the line to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Number of records that should be there.
    pub expected: u64,
    /// Number of records that are there.
    pub seen: u64,
    /// Records that are missing.
    pub lost: Finding,
    /// Records that are there more often than expected.
    pub doubled: Finding,
    /// Records that are there after a record that was written later.
    pub reordered: Finding,
    /// Unknown records where one is missing: its content was changed.
    pub changed: Finding,
    /// Unknown records where none is missing.
    pub foreign: Finding,
}

impl Verdict {
    /// Checks whether every record arrived in order, once and unchanged, and nothing else did.
    pub fn is_clean(&self) -> bool {
        self.faults().iter().all(|(_, finding)| finding.count == 0)
    }

    fn faults(&self) -> [(&'static str, &Finding); 5] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("reordered", &self.reordered),
            ("changed", &self.changed),
            ("foreign", &self.foreign),
        ]
    }

    fn add_partition(&mut self, place: &str, expected: &[Entry], seen: &[Entry]) {
        self.expected += expected.len() as u64;
        self.seen += seen.len() as u64;
        let mut ranks: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for (rank, entry) in expected.iter().enumerate() {
            ranks.entry(entry.digest).or_default().push_back(rank);
        }
        let mut arrived = vec![false; expected.len()];
        let mut unknown = VecDeque::new();
        let mut latest = None;
        for entry in seen {
            let at = || format!("{place}, target offset {}", entry.offset);
            match ranks.get_mut(&entry.digest).map(VecDeque::pop_front) {
                None => unknown.push_back(entry.offset),
                Some(None) => self.doubled.add(at),
                Some(Some(rank)) => {
                    arrived[rank] = true;
                    if latest > Some(rank) {
                        self.reordered.add(at);
                    }
                    latest = latest.max(Some(rank));
                }
            }
        }
        for (entry, _) in expected.iter().zip(arrived).filter(|(_, arrived)| !arrived) {
            match unknown.pop_front() {
                Some(offset) => {
                    self.changed.add(|| format!("{place}, source offset {}, target offset {offset}", entry.offset))
                }
                None => self.lost.add(|| format!("{place}, source offset {}", entry.offset)),
            }
        }
        unknown.iter().for_each(|offset| self.foreign.add(|| format!("{place}, target offset {offset}")));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records expected, {} seen", self.expected, self.seen)?;
        for (name, finding) in self.faults() {
            write!(f, ", {} {name}", finding.count)?;
        }
        for (name, finding) in self.faults() {
            if let Some(example) = &finding.example {
                write!(f, "\n  first {name}: {example}")?;
            }
        }
        Ok(())
    }
}

/// Applies a link's rename rule: replaces `{topic}` in `rule` with the source topic's name.
pub fn renamed(rule: &str, topic: &str) -> String {
    rule.replace("{topic}", topic)
}

/// Compares the records. `seen` has its topics under the names that `rename` gives them.
pub fn compare(expected: &Contents, seen: &Contents, rename: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for (topic, partition, entries) in expected.iter() {
        let target = renamed(rename, topic);
        let place =
            if target == topic { format!("{topic}/{partition}") } else { format!("{topic} as {target}/{partition}") };
        verdict.add_partition(&place, entries, seen.partition(&target, partition));
    }
    let sources = expected.topics();
    for (topic, partition, entries) in seen.iter() {
        let known = sources.iter().find(|source| renamed(rename, source) == topic);
        if known.is_none_or(|source| expected.partition(source, partition).is_empty()) {
            verdict.add_partition(&format!("{topic}/{partition}"), &[], entries);
        }
    }
    verdict
}

/// Waits until the target's partition has these committed records, in this order and no others.
pub fn wait_until_holds(
    target: &Cluster,
    topic: &str,
    partition: i32,
    digests: &[u64],
    timeout: Duration,
) -> Result<()> {
    until_ok(&format!("{} records in {topic}/{partition}", digests.len()), timeout, || {
        let seen = read(target, &[topic], Isolation::Committed)?;
        Ok((seen.digests(topic, partition) == digests).then_some(()))
    })
}

/// Waits until the target shows at least as many committed records of each partition as expected. Their content does
/// not matter here: [`ensure_exactly_once`] compares it.
pub fn wait_until_delivered(expected: &Contents, target: &Cluster, rename: &str, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    for topic in expected.topics() {
        let name = renamed(rename, topic);
        let mut reader = Reader::new(target, &name, Isolation::Committed)?;
        let partitions: Vec<(i32, usize)> =
            expected.iter().filter(|(other, ..)| *other == topic).map(|(_, p, entries)| (p, entries.len())).collect();
        let complete = |seen: &Contents| partitions.iter().all(|(p, count)| seen.partition(&name, *p).len() >= *count);
        if !reader.read_until(deadline, complete)? {
            let seen = read(target, &[&name], Isolation::Committed).unwrap_or_default();
            let mut of_topic = Contents::default();
            expected
                .iter()
                .filter(|(other, ..)| *other == topic)
                .for_each(|(_, p, entries)| entries.iter().for_each(|&entry| of_topic.add(topic, p, entry)));
            bail!("{topic} has not arrived within {timeout:?}: {}", compare(&of_topic, &seen, rename));
        }
    }
    Ok(())
}

/// Reads the target from its start to its end, `read_committed`, and fails on any difference.
pub fn ensure_exactly_once(expected: &Contents, target: &Cluster, rename: &str) -> Result<Verdict> {
    let names: Vec<String> = expected.topics().into_iter().map(|topic| renamed(rename, topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let verdict = compare(expected, &read(target, &names, Isolation::Committed)?, rename);
    if !verdict.is_clean() {
        bail!("not exactly once: {verdict}");
    }
    Ok(verdict)
}
