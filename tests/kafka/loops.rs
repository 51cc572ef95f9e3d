//! Links in circles: two clusters that carry everything to each other under other names, and a circle of three under
//! the same names, while new topics appear. No topic may return to where it came from, also after some of the links were
//! promoted.
//!
//! `CAUSEWAY_LOOP_SECONDS` sets how long new topics appear: 60 unless set, in which a sender lists the source's topics
//! 24 times.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use harness::cluster::Cluster;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::pair::Machine;
use harness::process::{HALTED, Process};
use harness::record::{Contents, Record};
use harness::topics::{self, Listing};
use harness::{journal, verify, wait};
use serde_json::Value;

const DELIVERED: Duration = Duration::from_secs(120);

/// Time during which new topics appear, unless the environment sets another.
const RUNNING: Duration = Duration::from_secs(60);

/// Interval at which new topics appear.
const EVERY: Duration = Duration::from_millis(3_300);

/// Number of records in each topic.
const RECORDS: i64 = 3;

/// Topic, the cluster in which it is written, and those where it arrives, each with the rule for its name there.
type Late = (&'static str, usize, &'static [(usize, &'static str)]);

/// Topics that appear after two links were promoted.
const LATE: [Late; 5] = [
    ("own.0.late", 0, &[]),
    ("own.1.late", 1, &[(0, "from-the-other.{topic}")]),
    ("ring.0.late", 0, &[]),
    ("ring.1.late", 1, &[(2, "{topic}"), (0, "{topic}")]),
    ("ring.2.late", 2, &[(0, "{topic}")]),
];

/// Time in which a sender would have listed a topic that must not return: it lists them every 2.5 s.
const LISTED: Duration = Duration::from_secs(8);

/// Three clusters, and the records written to each.
struct Three {
    clusters: [Cluster; 3],
    listings: [Listing; 3],
    /// Records for the two clusters that carry to each other, by the cluster that they were written to.
    pair: [Contents; 2],
    /// Records for the circle of three, by the cluster that they were written to.
    ring: [Contents; 3],
    /// Topics of the circle that are still empty. A topic that has one name everywhere can only return while it is
    /// empty.
    empty: Vec<EmptyTopic>,
    // Last, so that the clusters are gone before the next test begins.
    _machine: Machine,
}

/// An empty topic, and the cluster that it was created in.
struct EmptyTopic {
    cluster: usize,
    name: String,
}

/// A running link. The files are last, so that they outlive the processes.
struct Running {
    sender: Process,
    receiver: Process,
    _files: LinkFiles,
}

impl Three {
    fn start() -> Result<Self> {
        let machine = Machine::share();
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
        let empty = Vec::new();
        Ok(Self { clusters, listings, pair: Default::default(), ring: Default::default(), empty, _machine: machine })
    }

    fn link(&self, name: &str, from: usize, to: usize, configure: impl Fn(&mut LinkFiles)) -> Result<Running> {
        let mut files = LinkFiles::new(name, &self.clusters[from], &self.clusters[to], &[".*"])?;
        files.sender.set("lanes", "count", "1");
        configure(&mut files);
        let (receiver, sender) = files.start()?;
        Ok(Running { sender, receiver, _files: files })
    }

    /// Creates a topic of cluster `at` for the pair, and one for the circle, which is empty until [`Three::fill`].
    fn add(&mut self, at: usize, number: u32) -> Result<()> {
        let cluster = &self.clusters[at];
        let own = format!("own.{at}.{number}");
        let ring = format!("ring.{at}.{number}");
        if let Some(pair) = self.pair.get_mut(at) {
            topics::create(cluster, &own, 1, &[])?;
            pair.merge(&journal::write(cluster, &own, 0, &records())?.written);
        }
        self.empty.push(EmptyTopic { cluster: at, name: ring.clone() });
        topics::create(cluster, &ring, 1, &[])
    }

    /// Writes to the circle's topics.
    fn fill(&mut self) -> Result<()> {
        for EmptyTopic { cluster, name } in self.empty.drain(..) {
            let written = journal::write(&self.clusters[cluster], &name, 0, &records())?.written;
            self.ring[cluster].merge(&written);
        }
        Ok(())
    }

    /// Returns the names of the topics that a cluster may have.
    fn allowed(&self, at: usize) -> BTreeSet<String> {
        let filled = self.ring.iter().flat_map(Contents::topics).map(str::to_owned);
        let ring = filled.chain(self.empty.iter().map(|empty| empty.name.clone()));
        let own = self.pair.get(at).into_iter().flat_map(Contents::topics).map(str::to_owned);
        let brought = self.pair.get(1 - at.min(1)).filter(|_| at < 2).into_iter().flat_map(Contents::topics);
        ring.chain(own).chain(brought.map(|topic| format!("from-the-other.{topic}"))).collect()
    }

    fn ensure_nothing_else(&self) -> Result<()> {
        for at in 0..3 {
            let found = self.listings[at].names()?;
            let allowed = self.allowed(at);
            let more: Vec<_> = found.difference(&allowed).collect();
            ensure!(more.is_empty(), "cluster {at} has {} topics that it should not have: {more:?}", more.len());
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

    /// After the links `there` and `r01` were promoted: what is new goes as far as the others carry it, and nothing returns.
    fn ensure_others_continue(&self) -> Result<()> {
        let mut allowed = [0, 1, 2].map(|at| self.allowed(at));
        for (topic, at, arrives) in LATE {
            topics::create(&self.clusters[at], topic, 1, &[])?;
            allowed[at].insert(topic.to_owned());
            for (cluster, rename) in arrives {
                allowed[*cluster].insert(verify::renamed(rename, topic));
            }
        }
        for (topic, at, arrives) in LATE {
            let written = journal::write(&self.clusters[at], topic, 0, &records())?.written;
            for (cluster, rename) in arrives {
                verify::wait_until_delivered(&written, &self.clusters[*cluster], rename, DELIVERED)?;
                verify::ensure_exactly_once(&written, &self.clusters[*cluster], rename)?;
            }
        }
        wait::through(LISTED, || {
            let found = (0..3).map(|at| self.listings[at].names()).collect::<Result<Vec<_>>>()?;
            ensure!(found == allowed, "topics {found:?} where {allowed:?} are expected");
            Ok(())
        })
    }

    /// Returns the records written, the cluster that must have them, and the rename rule. The circle's topics have the
    /// same name in the cluster that they come from: records that returned there would be doubled.
    fn expected(&self) -> impl Iterator<Item = (&Contents, &Cluster, &'static str)> {
        let pair = [(&self.pair[0], &self.clusters[1]), (&self.pair[1], &self.clusters[0])].into_iter();
        let ring = self.ring.iter().flat_map(|written| self.clusters.iter().map(move |at| (written, at)));
        let renamed = pair.map(|(written, at)| (written, at, "from-the-other.{topic}"));
        renamed.chain(ring.map(|(written, at)| (written, at, "{topic}")))
    }
}

/// Makes records that are too young for retention to delete them during the test.
fn records() -> Vec<Record> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let record =
        |n: i64| Record { key: None, value: Some(n.to_be_bytes().to_vec()), headers: Vec::new(), timestamp: now - n };
    (0..RECORDS).map(record).collect()
}

fn running_time() -> Result<Duration> {
    match std::env::var("CAUSEWAY_LOOP_SECONDS") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse().context("CAUSEWAY_LOOP_SECONDS")?)),
        Err(_) => Ok(RUNNING),
    }
}

/// Waits until the sender does not carry `topics` topics for `reason`.
fn wait_until_not_carried(running: &Running, reason: &str, topics: usize) -> Result<Value> {
    let count = |status: &Value| {
        let not_carried = status["not_carried"].as_array().map_or(&[][..], Vec::as_slice);
        not_carried.iter().filter(|topic| topic["reason"] == reason).count()
    };
    let what = format!("{topics} topics not to be carried because {reason}");
    let status = running.sender.admin.wait_for(&what, DELIVERED, |status| count(status) == topics)?;
    let metric = format!("causeway_sender_not_carried_topics{{link={},reason=\"{reason}\"}}", status["link"]);
    ensure!(running.sender.admin.metric(&metric)? == topics as f64, "the metric has another value");
    Ok(status)
}

#[test]
fn no_topic_returns_to_its_origin() -> Result<()> {
    let mut three = Three::start()?;
    (0..3).try_for_each(|at| three.add(at, 0))?;
    let both_ways = |files: &mut LinkFiles| {
        files.sender.set("source", "exclude", "[\"ring\\\\..*\"]");
        files.receiver.set("[links]", "rename", "\"from-the-other.{topic}\"");
    };
    let around = |files: &mut LinkFiles| {
        files.sender.set("source", "topics", "[\"ring\\\\..*\"]").set("source", "forward", "[\".*\"]");
    };
    let there = three.link("there", 0, 1, both_ways)?;
    let back = three.link("back", 1, 0, both_ways)?;
    let ring = [three.link("r01", 0, 1, around)?, three.link("r12", 1, 2, around)?, three.link("r20", 2, 0, around)?];

    let mut number = 0;
    let began = Instant::now();
    wait::through(running_time()?, || {
        // Senders list the topics every 2.5 s, so some of these topics appear right before that.
        if began.elapsed() > EVERY * number {
            number += 1;
            three.add(number as usize % 3, number)?;
        }
        three.ensure_nothing_else()
    })?;
    three.fill()?;
    three.ensure_all_delivered()?;
    println!("topics appeared {number} times");

    wait_until_not_carried(&there, "returns", three.pair[1].topics().len())?;
    let status = wait_until_not_carried(&back, "returns", three.pair[0].topics().len())?;
    ensure!(status["lag_records"] == 0, "topics that are not carried count as lag: {}", status["lag_records"]);
    ensure!(status["not_carried"][0]["by"] == "there", "{}", status["not_carried"][0]);
    for (at, running) in ring.iter().enumerate() {
        // Each sender sees all of the circle's topics; those of the next cluster would return to it.
        let status = wait_until_not_carried(running, "returns", three.ring[(at + 1) % 3].topics().len())?;
        ensure!(status["halted"] == serde_json::json!([]), "{}", status["halted"]);
    }
    three.ensure_exactly_once()?;
    three.ensure_nothing_else()?;

    // Applications move from cluster 0 to cluster 1; the other links continue.
    let [first, _second, _third] = ring;
    promote(there, "there")?;
    promote(first, "r01")?;
    three.ensure_others_continue()
}

/// Switches a link over: it carries nothing any more.
fn promote(mut running: Running, link: &str) -> Result<()> {
    run_at(&running.receiver, &["switch-over", "--link", link])?.expect(0, "and all of it is carried")?;
    ensure!(running.sender.wait(DELIVERED)? == HALTED, "the sender did not halt");
    Ok(())
}
