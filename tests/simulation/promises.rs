//! The promise of exactly once, in order, while everything fails, and what follows from it.

use std::cell::RefCell;

use receiver::Counts;
use sender::config::Start;
use wire::lanes::{ClassRequest, ClassTable};

use crate::scenario::Scenario;
use crate::{SEEDS, for_seeds, number};

/// Events in all runs, by which a test shows that it tested something.
#[derive(Debug, Default)]
struct Events {
    receiver: Counts,
    halts_resumed: u64,
    records_skipped: u64,
    frames_resent: u64,
    resent_in_vain: u64,
    pauses: u64,
    frames_remembered: u64,
}

impl Events {
    /// Checks whether each event happened at least once.
    fn are_complete(&self) -> bool {
        let Self { receiver, halts_resumed, records_skipped, frames_resent, resent_in_vain, pauses, frames_remembered } =
            self;
        let counts = [
            receiver.recoveries,
            receiver.replayed,
            receiver.holes,
            receiver.frames_dropped,
            receiver.runs_dropped,
            receiver.halts,
            receiver.moves,
            receiver.escapes,
            receiver.skipped,
            *halts_resumed,
            *records_skipped,
            *frames_resent,
            *resent_in_vain,
            *pauses,
            *frames_remembered,
        ];
        !counts.contains(&0)
    }
}

#[test]
fn target_has_a_prefix_of_the_source_and_in_the_end_all_of_it() {
    let events = RefCell::new(Events::default());
    for_seeds(
        number("SIM_SEEDS").unwrap_or(SEEDS),
        |_| (),
        |world| {
            world.run()?;
            let mut events = events.borrow_mut();
            world.links[0].receiver.add_counts(&mut events.receiver);
            events.halts_resumed += world.oracle.lifted;
            events.records_skipped += world.oracle.skipped;
            events.frames_resent += world.resent;
            events.resent_in_vain += world.dropped;
            events.pauses += world.pauses;
            events.frames_remembered += world.remembered;
            Ok(())
        },
    );
    let events = events.into_inner();
    assert!(number("SEED").is_some() || events.are_complete(), "some of these events never happened: {events:?}");
}

#[test]
fn target_hiccup_sends_nothing_over_the_wan_twice() {
    let only_hiccups = |scenario: &mut Scenario| {
        scenario.losing = 0;
        scenario.killing = 0;
        scenario.others.clear();
        scenario.troubling = 0;
        scenario.hanging = 0;
        scenario.moving = 0;
        scenario.poisons = 0;
        scenario.trimming = 0;
        scenario.failing = 40;
        scenario.dying = 0;
    };
    for_seeds(50, only_hiccups, |world| {
        world.run()?;
        if world.links[0].receiver.recoveries == 0 {
            return Err("there was no hiccup".to_owned());
        }
        let sent = world.oracle.records_sent;
        let seen = world.oracle.records_seen;
        if sent == seen { Ok(()) } else { Err(format!("{sent} records were sent, {seen} arrived")) }
    });
}

#[test]
fn quiet_latest_topic_misses_nothing_written_after_a_restart() {
    for_seeds(
        50,
        |scenario| scenario.start = Start::Latest,
        |world| {
            world.scenario.failing = 0;
            world.scenario.expiring = 0;
            world.heal();
            world.finish()?;
            let before = world.oracle.records_seen;
            let partitions: Vec<_> = world.source.lock().unwrap().logs.keys().cloned().collect();
            world.restart(0);
            for tp in &partitions {
                world.source.lock().unwrap().append_one(tp, &world.dice);
            }
            world.finish()?;
            let arrived = world.oracle.records_seen - before;
            let written = partitions.len() as u64;
            if arrived == written { Ok(()) } else { Err(format!("{written} records written, {arrived} arrived")) }
        },
    );
}

#[test]
fn policy_leaves_out_what_the_target_refuses_without_halts() {
    let poisoned = |scenario: &mut Scenario| {
        scenario.poisons = 20;
        scenario.skipping = 1000;
        scenario.trimming = 0;
        scenario.lifting = 0;
        scenario.huge = 0;
    };
    let skipped = RefCell::new(0);
    for_seeds(100, poisoned, |world| {
        world.run()?;
        *skipped.borrow_mut() += world.oracle.skipped;
        if world.oracle.any_halted() { Err("a partition is halted".to_owned()) } else { Ok(()) }
    });
    assert!(number("SEED").is_some() || skipped.into_inner() > 500, "few records were left out");
}

#[test]
fn partitions_change_lanes_while_everything_fails() {
    let moved = RefCell::new(0);
    let restless = |scenario: &mut Scenario| {
        scenario.classes = ClassTable::new(2).append(&[class("critical", 1), class("bulk", 2)]).unwrap();
        scenario.moving = 60;
        scenario.losing = 10;
        scenario.killing = 10;
        scenario.failing = 20;
    };
    for_seeds(100, restless, |world| {
        world.run()?;
        let mut total = Counts::default();
        world.links[0].receiver.add_counts(&mut total);
        *moved.borrow_mut() += total.moves;
        Ok(())
    });
    assert!(number("SEED").is_some() || moved.into_inner() > 200, "few partitions were moved");
}

#[test]
fn processes_contend_while_transactions_hang() {
    let escapes = RefCell::new(0);
    let seeds = number("SIM_SEEDS").unwrap_or(100);
    for_seeds(seeds, Scenario::contend, |world| {
        world.run()?;
        let mut total = Counts::default();
        world.links[0].receiver.add_counts(&mut total);
        *escapes.borrow_mut() += total.escapes;
        Ok(())
    });
    assert!(number("SEED").is_some() || escapes.into_inner() > 20, "few lanes changed their transactional ids");
}

#[test]
fn what_another_program_writes_is_in_a_gap_that_is_read() {
    let totals = RefCell::new((0, 0, 0));
    let written_to = |scenario: &mut Scenario| {
        // A process that dies forgets the gaps that it has found last.
        scenario.losing = 0;
        scenario.killing = 0;
        scenario.moving = 0;
        scenario.others.clear();
        scenario.poisons = 0;
        scenario.trimming = 0;
        scenario.foreign = 60;
        scenario.failing = scenario.failing.min(20);
    };
    for_seeds(number("SIM_SEEDS").unwrap_or(200), written_to, |world| {
        world.run()?;
        let (foreign, read) = world.check_gaps()?;
        let mut total = Counts::default();
        world.links[0].receiver.add_counts(&mut total);
        let mut totals = totals.borrow_mut();
        *totals = (totals.0 + foreign, totals.1 + read, totals.2 + total.recoveries);
        Ok(())
    });
    let totals = totals.into_inner();
    println!("{} records of another program, {} offsets to read, {} recoveries", totals.0, totals.1, totals.2);
    assert!(number("SEED").is_some() || (totals.0 > 500 && totals.2 > 100), "little happened: {totals:?}");
}

fn class(name: &str, lanes: u16) -> ClassRequest {
    ClassRequest { name: name.to_owned(), lanes, strict: false }
}
