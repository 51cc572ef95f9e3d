//! What a session lives through: a WAN that is gone for a second, one that is slow for a while, and one that lets
//! no large packet pass. How late the emulator is does not matter here: a late one only makes it harder.

use std::time::Duration;

use anyhow::Result;
use harness::cluster::Pair;
use harness::journal::Load;
use harness::{topics, wait};
use netem::DropCause;

use crate::alone;
use crate::link::{PARTITIONS, WanLink};

/// How long a load runs before and after something happens to the path.
const STRETCH: Duration = Duration::from_secs(2);

/// Runs a load over a link and `story` meanwhile; all of it must arrive in the session that was there before.
fn lives_through(stem: &str, knobs: &str, story: impl FnOnce(&WanLink) -> Result<()>) -> Result<()> {
    let _alone = alone();
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, stem, PARTITIONS)?;
    let link = WanLink::start(stem, knobs, &[&topic])?;
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
fn a_session_outlives_a_black_out_of_one_second() -> Result<()> {
    lives_through("black-out", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("down")?;
        wait::through(Duration::from_secs(1), || Ok(()))?;
        link.set("up")?;
        link.wait_until_dropped(DropCause::Down)
    })
}

#[test]
fn a_session_outlives_a_path_that_slows_down_and_recovers() -> Result<()> {
    lives_through("rate-step", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("rate 10 Mbit/s")?;
        wait::through(2 * STRETCH, || Ok(()))?;
        link.set("rate 50 Mbit/s")
    })
}

#[test]
fn a_link_works_over_a_path_that_never_passed_a_large_packet() -> Result<()> {
    lives_through("small-mtu", "rate 50 Mbit/s, limit 200 ms, mtu 1280 B", |link| {
        link.wait_until_dropped(DropCause::Mtu)
    })
}

#[test]
fn a_session_outlives_a_path_that_stops_to_pass_large_packets() -> Result<()> {
    lives_through("mtu-hole", "rate 50 Mbit/s, limit 200 ms", |link| {
        link.set("mtu 1280 B")?;
        link.wait_until_dropped(DropCause::Mtu)
    })
}
