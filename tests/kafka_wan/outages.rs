//! Sessions that survive a WAN that is down for a second, slow for a while, or drops large packets. It does not matter
//! here if the emulator is late.

use std::time::Duration;

use anyhow::Result;
use harness::journal::Load;
use harness::pair::Pair;
use harness::{topics, wait};
use netem::DropCause;

use crate::link::{PARTITIONS, WanLink};

/// Time that a load runs before and after a change of the path.
const STRETCH: Duration = Duration::from_secs(2);

/// Runs `story` while a link carries a load. All records must arrive in the first session.
fn survives(stem: &str, knobs: &str, story: impl FnOnce(&WanLink<'_>) -> Result<()>) -> Result<()> {
    let pair = Pair::shared_alone()?;
    let topic = topics::create_unique(&pair.source, stem, PARTITIONS)?;
    let link = WanLink::start(&pair, stem, knobs, &[&topic])?;
    let load = Load::new(&topic, PARTITIONS).rate(2_000).start(&pair.source)?;
    wait::through(STRETCH, || Ok(()))?;
    story(&link)?;
    wait::through(STRETCH, || Ok(()))?;
    let journal = load.stop()?;
    let outcome = link.ensure_delivered_in_one_session(&journal);
    println!("{stem}: {} records\n{}", journal.written.len(), link.report());
    outcome
}

#[test]
fn session_survives_an_outage_of_one_second() -> Result<()> {
    survives("outage", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("down")?;
        wait::through(Duration::from_secs(1), || Ok(()))?;
        link.set("up")?;
        link.wait_until_dropped(DropCause::Down)
    })
}

#[test]
fn session_survives_a_path_that_slows_down_and_recovers() -> Result<()> {
    survives("rate-step", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("rate 10 Mbit/s")?;
        wait::through(2 * STRETCH, || Ok(()))?;
        link.set("rate 50 Mbit/s")
    })
}

#[test]
fn link_works_over_a_path_with_a_small_mtu() -> Result<()> {
    survives("small-mtu", "rate 50 Mbit/s, limit 200 ms, mtu 1280 B", |link| link.wait_until_dropped(DropCause::Mtu))
}

#[test]
fn session_survives_a_path_whose_mtu_becomes_smaller() -> Result<()> {
    survives("mtu-hole", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("mtu 1280 B")?;
        link.wait_until_dropped(DropCause::Mtu)
    })
}
