//! A seeded simulation of a whole link: the product's lanes, offers and credit between a source and a transactional
//! target in memory, in virtual time, on one thread. The seed decides everything that happens.
//!
//! `SIM_SEEDS=n` runs n seeds in place of 500, from `SIM_FIRST` on; `SEED=x` runs only that seed and prints what happens.
//! `LIE_STEPS=n` tells that many messages of a peer that lies, at each end.

// A panic here fails a test, and names the place.
#![allow(clippy::unwrap_used)]

mod bugs;
mod cluster;
mod dice;
mod frame_reader;
mod lies;
mod logs;
mod lying_peers;
mod lying_receiver;
mod lying_sender;
mod offset_map;
mod oracle;
mod path;
mod pausable;
mod payload;
mod planted_bugs;
mod process;
mod promises;
mod promotion;
mod receiver_end;
mod scenario;
mod sender_end;
mod source;
mod stripes;
mod target;
mod transactional_id;
mod way_back;
mod world;

use dice::Dice;
use scenario::Scenario;
use world::World;

const SEEDS: u64 = 500;

/// Number of broken seeds after which a test ends.
const BROKEN_MAX: usize = 10;

/// Makes the world of a seed, with a changed scenario.
fn world(seed: u64, traced: bool, change: impl FnOnce(&mut Scenario)) -> World {
    let dice = Dice::new(seed);
    let mut scenario = Scenario::draw(&dice);
    change(&mut scenario);
    if traced {
        eprintln!("seed {seed}: {scenario:?}");
    }
    World::new(scenario, dice, traced)
}

/// Returns an environment variable that is a number.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs the seeds and panics if any breaks the promise.
fn for_seeds(seeds: u64, change: impl Fn(&mut Scenario), check: impl Fn(&mut World) -> Result<(), String>) {
    let one = number("SEED");
    let first = one.or_else(|| number("SIM_FIRST")).unwrap_or(0);
    let seeds = first..first + one.map_or(seeds, |_| 1);
    let broken = seeds.filter_map(|seed| {
        let mut world = world(seed, one.is_some(), &change);
        check(&mut world).err().map(|broken| format!("seed {seed}: {broken}"))
    });
    let broken: Vec<_> = broken.take(BROKEN_MAX).collect();
    let replay = "replay: SEED=x cargo test -p causeway-tests --test simulation";
    assert!(broken.is_empty(), "{}\n{replay}", broken.join("\n"));
}
