//! The verdict: what should have arrived against what did, partition by partition, record by record.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::reader::{Isolation, Reader, read};
use crate::record::{Contents, Entry};

/// How many records share a fault, and where the first of them is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// How many.
    pub count: u64,
    /// The first one, for the message.
    pub example: Option<String>,
}

impl Finding {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        self.example.get_or_insert_with(example);
    }
}

/// What a comparison found. Displayed, it is the line to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records that should be there.
    pub expected: u64,
    /// Records that are there.
    pub seen: u64,
    /// Missing.
    pub lost: Finding,
    /// There once more than expected.
    pub doubled: Finding,
    /// There after a record that was written later.
    pub reordered: Finding,
    /// There with other content: an unknown record where one is missing.
    pub changed: Finding,
    /// Unknown, and none is missing for it.
    pub foreign: Finding,
}

impl Verdict {
    /// Whether everything arrived in order, once, unchanged, and nothing else did.
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

/// A link's rename rule: `{topic}` in `rule` stands for the source topic's name.
pub fn renamed(rule: &str, topic: &str) -> String {
    rule.replace("{topic}", topic)
}

/// Compares. `seen` has its topics under the names that `rename` gives them.
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

/// Waits until the target shows at least as many committed records of each partition as expected.
///
/// It is about being late, not about being right: [`ensure_exactly_once`] has the last word.
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

/// Reads the target from its start to its end, `read_committed`, and refuses any difference.
pub fn ensure_exactly_once(expected: &Contents, target: &Cluster, rename: &str) -> Result<Verdict> {
    let names: Vec<String> = expected.topics().into_iter().map(|topic| renamed(rename, topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let verdict = compare(expected, &read(target, &names, Isolation::Committed)?, rename);
    if !verdict.is_clean() {
        bail!("not exactly once: {verdict}");
    }
    Ok(verdict)
}
