//! A seeded simulation of a whole link: the product's lanes, offers and credit between a source and a transactional
//! target in memory, in virtual time, on one thread. The seed decides everything that happens.
//!
//! `SIM_SEEDS=n` runs n seeds in place of 500; `SEED=x` runs only that seed and prints what happens.

// A panic here fails a test, and names the place.
#![allow(clippy::unwrap_used)]

mod bugs;
mod cluster;
mod dice;
mod oracle;
mod path;
mod payload;
mod planted_bugs;
mod promises;
mod receiver_end;
mod scenario;
mod sender_end;
mod source;
mod stripes;
mod target;
mod world;

use dice::Dice;
use scenario::Scenario;
use world::World;

const SEEDS: u64 = 500;

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

/// Runs the seeds and panics at the first one that breaks the promise.
fn for_seeds(seeds: u64, change: impl Fn(&mut Scenario), check: impl Fn(&mut World) -> Result<(), String>) {
    let one = number("SEED");
    let seeds = one.map_or(0..seeds, |seed| seed..seed + 1);
    for seed in seeds {
        let mut world = world(seed, one.is_some(), &change);
        if let Err(broken) = check(&mut world) {
            panic!("seed {seed}: {broken}\nreplay: SEED={seed} cargo test -p causeway-tests --test simulation");
        }
    }
}
