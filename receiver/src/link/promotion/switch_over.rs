//! Wait of a switch-over: until the source is quiet, and everything is carried. Nothing is changed until then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use service::format::duration;
use transport::clock::unix_millis;

use super::attempt::Progress;
use super::losses::Facts;
use super::quiet::{Obstacle, QuietWatch};
use crate::link::ServedLink;
use crate::link::source_ends::EndsReading;
use crate::translate::known_maps::KnownMaps;

/// Interval at which the sender is asked for a reading.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Age in ms from which a reading is old: the sender does not answer.
const WORD_OLD: i64 = 15_000;

/// Conditions of a switch-over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Time for which no end of the source may move.
    pub(super) quiet: Duration,
    /// Longest wait.
    pub(super) within: Duration,
}

/// Waits until everything of the source is carried and nothing has been written to it for the agreed time. Returns since
/// when, in ms since the Unix epoch. Error: a sentence that says why the link was not changed.
pub(super) async fn wait_until_quiet(link: &ServedLink, terms: Terms, progress: &Progress) -> Result<i64, String> {
    let mut wait = Wait { link, watch: QuietWatch::new(terms.quiet), newest: None, quiet: Err(Obstacle::Begun) };
    let began = Instant::now();
    loop {
        link.source_ends.ask();
        let obstacle = match wait.look().await? {
            Ok(since) if progress.begin() => return Ok(since),
            Ok(_) => Obstacle::NotAsked,
            Err(obstacle) => obstacle,
        };
        let left = |why: String| Err(format!("{why}; the link was not changed: {obstacle}"));
        if began.elapsed() >= terms.within {
            return left(format!("timed out after {}", duration(terms.within.as_secs_f64())));
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
    watch: QuietWatch,
    /// Newest reading that the watch has.
    newest: Option<i64>,
    /// Since when the source is quiet, by that reading.
    quiet: Result<i64, Obstacle>,
}

impl Wait<'_> {
    /// Looks once. Outer error: waiting is of no use.
    async fn look(&mut self) -> Result<Result<i64, Obstacle>, String> {
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
        if self.newest.replace(reading.heard) != Some(reading.heard) {
            self.quiet = self.watch.handle(&reading);
        }
        let since = match &self.quiet {
            Ok(since) => *since,
            Err(obstacle) => return Ok(Err(obstacle.clone())),
        };
        let obstacle = match self.not_carried(&reading).await {
            Some(obstacle) => Some(obstacle),
            None => self.groups_behind(since),
        };
        Ok(obstacle.map_or(Ok(since), Err))
    }

    async fn not_carried(&self, reading: &EndsReading) -> Option<Obstacle> {
        let lanes = self.link.overview().lanes;
        let Some(maps) = KnownMaps::of_sources(&lanes, reading.ends.keys().cloned().collect()).await else {
            return Some(Obstacle::NoLanes);
        };
        let mut ends = BTreeMap::new();
        reading.add_to(&mut ends);
        Obstacle::of(&Facts { ends: &ends, maps: &maps, written: &BTreeMap::new() }.partitions())
    }

    /// Consumer groups are to be committed as of a reading since the source is quiet.
    fn groups_behind(&self, since: i64) -> Option<Obstacle> {
        let sync = self.link.groups.sync()?;
        let sync = sync.lock();
        if let Some(trouble) = sync.trouble().into_iter().next() {
            return Some(Obstacle::Groups(Some(trouble)));
        }
        let age = Duration::from_millis(u64::try_from(unix_millis() - since).unwrap_or(0));
        let is_covered = sync.covered().is_some_and(|at| at.elapsed() <= age);
        (!is_covered).then_some(Obstacle::Groups(None))
    }
}
