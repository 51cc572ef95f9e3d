//! A broker that hangs without closing its connections, as a paused virtual machine does.

use std::time::Duration;

use anyhow::Result;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::pair::Pair;
use harness::record::{Contents, small};
use harness::{journal, topics, verify};

const PATIENCE: Duration = Duration::from_secs(120);

/// Less than the 60 s for which a client waits for an answer by default.
const WITHOUT_ITS_LEADER: Duration = Duration::from_secs(45);

#[test]
fn hung_source_leader_costs_its_partitions_a_part_of_a_minute() -> Result<()> {
    let pair = Pair::start(3, 1)?;
    let topic = topics::create_unique(&pair.source, "hung", 1)?;
    let files = LinkFiles::new("hung", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let mut written = Contents::default();
    written.merge(&journal::write(&pair.source, &topic, 0, &small(0..10))?.written);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    let hung = pair.source.suspend_leader(&topic, 0, PATIENCE)?;
    written.merge(&journal::write(&pair.source, &topic, 0, &small(10..20))?.written);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", WITHOUT_ITS_LEADER)?;
    pair.source.signal(hung, Signal::Cont);
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
