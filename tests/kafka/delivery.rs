//! Exactly-once delivery between two clusters on which nothing fails.

use std::time::Duration;

use anyhow::Result;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::{topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);

#[test]
fn exactly_once_over_many_partitions_and_lanes() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "happy", 200)?;
    let files = LinkFiles::new("happy", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let journal = Load::new(&topic, 200).limit(100_000).seed(1).start(&pair.source)?.finish()?;
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal.written, &pair.target, "{topic}").map(drop)
}

#[test]
fn exactly_once_between_the_oldest_kafka_clusters() -> Result<()> {
    let pair = Pair::start_old()?;
    let topic = topics::create_unique(&pair.source, "old", 4)?;
    let files = LinkFiles::new("old", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let load = Load::new(&topic, 4).limit(20_000).seed(1).transactional(20);
    let journal = load.start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}").map(drop)
}
