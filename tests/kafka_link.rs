//! A link between two real clusters: what is written at the source arrives at the target, exactly once.

use std::time::Duration;

use anyhow::Result;
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::{topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);

#[test]
fn records_arrive_exactly_once_over_many_partitions_and_lanes() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "happy", 200)?;
    let files = LinkFiles::new("happy", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    let sender = files.sender.start()?;
    let journal = Load::new(&topic, 200).limit(100_000).seed(1).start(&pair.source)?.finish()?;
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal.written, &pair.target, "{topic}")?;
    drop((sender, receiver));
    Ok(())
}
