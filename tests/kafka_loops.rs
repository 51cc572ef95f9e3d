//! Links that could make circles do not: two clusters that carry everything to each other under other names, and
//! a ring of three under the same names, while topics keep coming.
//!
//! `CAUSEWAY_LOOP_SECONDS` says how long they may try; a minute is two dozen looks at the source.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::process::Process;
use harness::record::{Contents, Record};
use harness::topics::{self, Listing};
use harness::{journal, verify, wait};
use serde_json::Value;

const DELIVERED: Duration = Duration::from_secs(120);
const TRY: Duration = Duration::from_secs(60);

/// How often new topics come.
const EVERY: Duration = Duration::from_millis(3_300);

/// Records of each topic.
const RECORDS: i64 = 3;

/// Three clusters, and what was written to each.
struct Three {
    clusters: [Cluster; 3],
    listings: [Listing; 3],
    /// Topics that a cluster's own producers write, by cluster: for the pair and for the ring.
    pair: [Contents; 2],
    ring: [Contents; 3],
    /// Ring topics that are still empty, and where they began: under one name everywhere, a circle needs that.
    empty: Vec<(usize, String)>,
}

/// A running link. The files come last, to outlive their processes.
struct Running {
    sender: Process,
    _receiver: Process,
    _files: LinkFiles,
}

impl Three {
    fn start() -> Result<Self> {
        let clusters = thread::scope(|scope| {
            let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| Cluster::start(1))).collect();
            let join = |handle: thread::ScopedJoinHandle<'_, Result<Cluster>>| {
                handle.join().map_err(|_| anyhow!("starting a cluster panicked"))?
            };
            starting.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let clusters: [Cluster; 3] = clusters.try_into().map_err(|_| anyhow!("not three clusters"))?;
        let [a, b, c] = &clusters;
        let listings = [Listing::of(a)?, Listing::of(b)?, Listing::of(c)?];
        Ok(Self { clusters, listings, pair: Default::default(), ring: Default::default(), empty: Vec::new() })
    }

    fn link(&self, name: &str, (from, to): (usize, usize), configure: impl Fn(&mut LinkFiles)) -> Result<Running> {
        let mut files = LinkFiles::new(name, &self.clusters[from], &self.clusters[to], &[".*"])?;
        files.sender.set("lanes", "count", "1");
        configure(&mut files);
        Ok(Running { _receiver: files.receiver.start()?, sender: files.sender.start()?, _files: files })
    }

    /// A topic of cluster `at` for the pair, and one for the ring, which is empty until [`Three::fill`].
    fn add(&mut self, at: usize, number: u32) -> Result<()> {
        let cluster = &self.clusters[at];
        let (own, ring) = (format!("own.{at}.{number}"), format!("ring.{at}.{number}"));
        if let Some(pair) = self.pair.get_mut(at) {
            topics::create(cluster, &own, 1, &[])?;
            pair.merge(&journal::write(cluster, &own, 0, &records())?.written);
        }
        self.empty.push((at, ring.clone()));
        topics::create(cluster, &ring, 1, &[])
    }

    /// Writes to the ring's topics.
    fn fill(&mut self) -> Result<()> {
        for (at, topic) in self.empty.drain(..) {
            self.ring[at].merge(&journal::write(&self.clusters[at], &topic, 0, &records())?.written);
        }
        Ok(())
    }

    /// What a cluster may ever have.
    fn allowed(&self, at: usize) -> BTreeSet<String> {
        let filled = self.ring.iter().flat_map(Contents::topics).map(str::to_owned);
        let ring = filled.chain(self.empty.iter().map(|(_, topic)| topic.clone()));
        let own = self.pair.get(at).into_iter().flat_map(Contents::topics).map(str::to_owned);
        let brought = self.pair.get(1 - at.min(1)).filter(|_| at < 2).into_iter().flat_map(Contents::topics);
        ring.chain(own).chain(brought.map(|topic| format!("from-the-other.{topic}"))).collect()
    }

    fn ensure_nothing_else(&self) -> Result<()> {
        for at in 0..3 {
            let found = self.listings[at].names()?;
            let allowed = self.allowed(at);
            let more: Vec<_> = found.difference(&allowed).collect();
            ensure!(more.is_empty(), "cluster {at} has {} topics that nobody wanted: {more:?}", more.len());
        }
        Ok(())
    }

    fn ensure_all_delivered(&self) -> Result<()> {
        for at in 0..3 {
            let allowed = self.allowed(at);
            let all = || self.listings[at].names().ok().filter(|found| *found == allowed);
            wait::until(&format!("cluster {at} to have its {} topics", allowed.len()), DELIVERED, all)?;
        }
        for (written, target, rename) in self.expected() {
            verify::wait_until_delivered(written, target, rename, DELIVERED)?;
        }
        Ok(())
    }

    fn ensure_exactly_once(&self) -> Result<()> {
        for (written, target, rename) in self.expected() {
            verify::ensure_exactly_once(written, target, rename)?;
        }
        (0..2).try_for_each(|at| verify::ensure_exactly_once(&self.pair[at], &self.clusters[at], "{topic}").map(drop))
    }

    /// What was written, where it has to be, and under which name. The ring's topics have one name where they
    /// began, too: there a circle would show as doubled records.
    fn expected(&self) -> impl Iterator<Item = (&Contents, &Cluster, &'static str)> {
        let pair = [(&self.pair[0], &self.clusters[1]), (&self.pair[1], &self.clusters[0])].into_iter();
        let ring = self.ring.iter().flat_map(|written| self.clusters.iter().map(move |at| (written, at)));
        let renamed = pair.map(|(written, at)| (written, at, "from-the-other.{topic}"));
        renamed.chain(ring.map(|(written, at)| (written, at, "{topic}")))
    }
}

/// Not so old that retention takes them before they are looked at.
fn records() -> Vec<Record> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let record =
        |n: i64| Record { key: None, value: Some(n.to_be_bytes().to_vec()), headers: Vec::new(), timestamp: now - n };
    (0..RECORDS).map(record).collect()
}

fn try_for() -> Result<Duration> {
    match std::env::var("CAUSEWAY_LOOP_SECONDS") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse().context("CAUSEWAY_LOOP_SECONDS")?)),
        Err(_) => Ok(TRY),
    }
}

/// Waits until the sender leaves out `topics` topics for `reason`.
fn wait_until_left_out(running: &Running, reason: &str, topics: usize) -> Result<Value> {
    let count = |status: &Value| {
        let left_out = status["not_carried"].as_array().map_or(&[][..], Vec::as_slice);
        left_out.iter().filter(|topic| topic["reason"] == reason).count()
    };
    let what = format!("{topics} topics to be left out because {reason}");
    let status = running.sender.admin.wait_for(&what, DELIVERED, |status| count(status) == topics)?;
    let metric = format!("causeway_sender_not_carried_topics{{link={},reason=\"{reason}\"}}", status["link"]);
    ensure!(running.sender.admin.metric(&metric)? == topics as f64);
    Ok(status)
}

#[test]
fn no_topic_goes_round_between_two_clusters_or_in_a_ring_of_three() -> Result<()> {
    let mut three = Three::start()?;
    (0..3).try_for_each(|at| three.add(at, 0))?;
    let both_ways = |files: &mut LinkFiles| {
        files.sender.set("source", "exclude", "[\"ring\\\\..*\"]");
        files.receiver.set("[links]", "rename", "\"from-the-other.{topic}\"");
    };
    let around = |files: &mut LinkFiles| {
        files.sender.set("source", "topics", "[\"ring\\\\..*\"]").set("source", "forward", "[\".*\"]");
    };
    let there = three.link("there", (0, 1), both_ways)?;
    let back = three.link("back", (1, 0), both_ways)?;
    let ring =
        [three.link("r01", (0, 1), around)?, three.link("r12", (1, 2), around)?, three.link("r20", (2, 0), around)?];

    let (mut number, began) = (0, Instant::now());
    wait::through(try_for()?, || {
        // One look at a source is 2.5 s after the other: some of these come right before one.
        if began.elapsed() > EVERY * number {
            number += 1;
            three.add(number as usize % 3, number)?;
        }
        three.ensure_nothing_else()
    })?;
    three.fill()?;
    three.ensure_all_delivered()?;
    println!("{number} times topics came, and stayed what they were");

    wait_until_left_out(&there, "returns", three.pair[1].topics().len())?;
    let status = wait_until_left_out(&back, "returns", three.pair[0].topics().len())?;
    ensure!(status["lag_records"] == 0, "what is left out is no lag: {}", status["lag_records"]);
    ensure!(status["not_carried"][0]["by"] == "there");
    for (at, running) in ring.iter().enumerate() {
        // It has all of the ring's topics; those that began at the next cluster have been there.
        let status = wait_until_left_out(running, "returns", three.ring[(at + 1) % 3].topics().len())?;
        ensure!(status["halted"] == serde_json::json!([]), "{}", status["halted"]);
    }
    three.ensure_exactly_once()?;
    three.ensure_nothing_else()
}
