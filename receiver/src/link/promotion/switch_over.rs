//! Wait of a switch-over: until the source is quiet, and everything is carried. Nothing is changed until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::format::duration;
use transport::clock::unix_millis;
use wire::partition::Partition;

use super::attempt::Progress;
use super::losses::Facts;
use super::quiet::{Obstacle, QuietWatch, Since};
use super::topics;
use crate::link::ServedLink;
use crate::link::source_ends::EndsReading;
use crate::translate::known_maps::KnownMaps;

/// Interval at which the sender is asked for a reading.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Age in ms from which a reading is old: the sender does not answer.
const WORD_OLD: i64 = 15_000;

/// Age of a session after which its sender has said its first groups, if it follows any.
const GROUPS_WITHIN: Duration = Duration::from_secs(10);

/// Conditions of a switch-over.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Topics that are switched over alone; empty for the whole link.
    pub(super) topics: BTreeSet<String>,
    /// Time for which no end of the source may move.
    pub(super) quiet: Duration,
    /// Longest wait.
    pub(super) within: Duration,
}

/// Waits until everything of the source is carried and nothing has been written to it for the agreed time. Returns since
/// when, in ms since the Unix epoch. Error: a sentence that says why the link was not changed.
pub(super) async fn wait_until_quiet(link: &ServedLink, terms: Terms, progress: &Progress) -> Result<i64, String> {
    let began = Instant::now();
    let watch = QuietWatch::new(terms.quiet, began);
    let Terms { topics, within, .. } = terms;
    let mut wait = Wait { link, topics, watch, newest: None, quiet: Err(Obstacle::Begun), complete: None };
    loop {
        link.source_ends.ask();
        let obstacle = match wait.look().await? {
            Ok(since) if progress.begin() => return Ok(since.millis),
            Ok(_) => Obstacle::NotAsked,
            Err(obstacle) => obstacle,
        };
        let left = |why: String| Err(format!("{why}; the link was not changed: {obstacle}"));
        if began.elapsed() >= within {
            return left(format!("timed out after {}", duration(within.as_secs_f64())));
        }
        if let Some(why) = progress.abandoned() {
            return left(why);
        }
        progress.set_step(format!("waiting: {obstacle}"));
        let _ = tokio::time::timeout(ASK_EVERY, link.source_ends.said()).await;
    }
}

struct Wait<'a> {
    link: &'a ServedLink,
    topics: BTreeSet<String>,
    watch: QuietWatch,
    /// Newest reading that the watch has.
    newest: Option<i64>,
    /// Since when the source is quiet, by that reading.
    quiet: Result<Since, Obstacle>,
    /// The reading by which everything was carried at first. A newer one decides: the lanes may have needed long to get there,
    /// and more may have been written meanwhile.
    complete: Option<i64>,
}

impl Wait<'_> {
    /// Looks once. Outer error: waiting is of no use.
    async fn look(&mut self) -> Result<Result<Since, Obstacle>, String> {
        if self.link.overview().sender.is_none() {
            return Ok(Err(Obstacle::NoSender));
        }
        let now = unix_millis();
        let newest = self.link.source_ends.newest();
        let Some(reading) = newest.filter(|reading| now.saturating_sub(reading.heard) < WORD_OLD) else {
            return Ok(Err(Obstacle::NoWord));
        };
        if reading.is_partial {
            return Err(
                "the sender has more partitions than this receiver remembers, so that not all can be proven to be \
                        carried; raise `memory`; the link was not changed"
                    .to_owned(),
            );
        }
        let Some((reading, obstacle)) = self.due(reading).await else { return Ok(Err(Obstacle::NoLanes)) };
        if self.newest.replace(reading.heard) != Some(reading.heard) {
            self.quiet = self.watch.handle(&reading, Instant::now());
        }
        let since = match &self.quiet {
            Ok(since) => *since,
            Err(obstacle) => {
                self.complete = None;
                return Ok(Err(obstacle.clone()));
            }
        };
        let obstacle = obstacle.or_else(|| self.groups_behind(since));
        if let Some(obstacle) = obstacle {
            self.complete = None;
            return Ok(Err(obstacle));
        }
        let complete = *self.complete.get_or_insert(reading.heard);
        Ok(if reading.heard > complete { Ok(since) } else { Err(Obstacle::Begun) })
    }

    /// Returns the part of a reading that is about what is switched over, and what of it is not carried. `None` while not all
    /// lanes answer.
    async fn due(&self, mut reading: EndsReading) -> Option<(EndsReading, Option<Obstacle>)> {
        let lanes = self.link.overview().lanes;
        let maps = KnownMaps::of_sources(&lanes, reading.ends.keys().cloned().collect()).await?;
        let mut ends = BTreeMap::new();
        reading.add_to(&mut ends);
        let all = Facts { ends: &ends, maps: &maps, written: &BTreeMap::new() }.partitions();
        let count = all.len();
        let due = topics::due(&self.topics, all);
        let of_due: BTreeSet<_> = due.iter().map(|one| Partition::new(one.topic.as_str(), one.partition)).collect();
        Arc::make_mut(&mut reading.ends).retain(|at, _| of_due.contains(at));
        Some((reading, topics::obstacle(&self.topics, count, due)))
    }

    /// Consumer groups are to be committed as of a reading since the source is quiet.
    fn groups_behind(&self, since: Since) -> Option<Obstacle> {
        let Some(sync) = self.link.groups.sync() else {
            // The sender says them within seconds, if it follows any.
            let is_new = self.link.source_ends.session_age().is_none_or(|age| age < GROUPS_WITHIN);
            return is_new.then_some(Obstacle::Groups(None));
        };
        let sync = sync.lock();
        if let Some(trouble) = sync.trouble().into_iter().next() {
            return Some(Obstacle::Groups(Some(trouble)));
        }
        let is_covered = sync.covered().is_some_and(|at| at >= since.at);
        (!is_covered).then_some(Obstacle::Groups(None))
    }
}
