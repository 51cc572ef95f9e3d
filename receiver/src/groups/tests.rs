//! Rounds of groups against a target in memory, as the task makes them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kafka::groups::{CommitError, GroupOffset};
use wire::control::{CommittedOffset, GroupOffsets};
use wire::ids::Position;
use wire::partition::Partition;

use super::ledger::Ledger;
use super::sync::{Commit, GroupSync, OffsetState, ReturnsTo, TargetGroup};
use crate::target::{StateEntry, TargetPartition};
use crate::translate::aim::{Aim, SourcePosition, TargetPosition};

const STEP: Duration = Duration::from_secs(61);

/// A link that has carried the source's first `carried` positions to twice their offsets.
struct World {
    sync: GroupSync,
    now: Instant,
    carried: i64,
    target: TargetGroup,
    stored: BTreeMap<Vec<u8>, StateEntry>,
    /// Position of the link's first record in the target.
    own: Position,
}

fn target(partition: i32) -> TargetPartition {
    TargetPartition::new("fra.orders", partition)
}

impl World {
    fn new() -> Self {
        let sync = GroupSync::new(1 << 20);
        let target = TargetGroup::default();
        Self { sync, now: Instant::now(), carried: 1000, target, stored: BTreeMap::new(), own: Position(60) }
    }

    fn source_commits(&mut self, offset: i64, metadata: &str) {
        let offset = CommittedOffset { partition: 0, offset: Position(offset), metadata: metadata.to_owned() };
        let groups = vec![GroupOffsets { group: "g".into(), topic: "orders".into(), offsets: vec![offset] }];
        self.sync.handle_offsets(groups, true, self.now);
    }

    /// Partition 0 came from the target, which has the first 50 positions of it.
    fn goes_back(&mut self) {
        let to = ReturnsTo { partition: target(0), since: Position(5), common: Position(50) };
        self.sync.handle_returning(Partition::new("orders", 0), to);
    }

    fn source_commits_back(&mut self, offset: i64) {
        let offset = CommittedOffset { partition: 0, offset: Position(offset), metadata: "m".to_owned() };
        let groups = vec![GroupOffsets { group: "g".into(), topic: "orders".into(), offsets: vec![offset] }];
        self.sync.handle_back(groups, self.now);
    }

    /// Another client, or nothing, is what the target has.
    fn target_has(&mut self, offset: Option<i64>) {
        self.target.committed.clear();
        if let Some(offset) = offset {
            let partition = target(0);
            let one =
                GroupOffset { partition: partition.clone(), position: Position(offset), metadata: "x".to_owned() };
            self.target.committed.insert(partition, one);
        }
    }

    fn committed(&self) -> Option<i64> {
        self.target.committed.get(&target(0)).map(|one| one.position.0)
    }

    fn state(&self) -> OffsetState {
        let (_, states) = self.sync.states().next().expect("a group");
        *states.keys().next().expect("an offset")
    }

    fn aim(&self, asked: &SourcePosition) -> Result<Aim, String> {
        if asked.position.0 < 100 {
            return Ok(Aim::BeforeMap);
        }
        let is_exact = asked.position.0 <= self.carried;
        let position = Position(2 * asked.position.0.min(self.carried));
        Ok(Aim::At(TargetPosition { partition: target(asked.partition.partition), position, is_exact, own: self.own }))
    }

    /// Decides about what is due, and stores the ledger.
    fn decide(&mut self) -> Vec<Commit> {
        let asked = self.sync.poll_positions(self.now);
        let aims: HashMap<_, _> = asked.into_iter().map(|asked| (asked.clone(), self.aim(&asked))).collect();
        self.sync.handle_aims(&aims, self.now);
        let groups = self.sync.candidates(self.now);
        let commits = groups.iter().flat_map(|group| self.sync.decide(group, &self.target, self.now)).collect();
        for entry in self.sync.take_ledger_changes() {
            self.stored.insert(entry.key.clone(), entry);
        }
        commits
    }

    fn apply(&mut self, commit: &Commit) {
        let offset = commit.offset.clone();
        self.target.committed.insert(offset.partition.clone(), offset);
    }

    fn round(&mut self) {
        let arrived = self.sync.arrived();
        for commit in self.decide() {
            self.apply(&commit);
            self.sync.handle_outcome("g", &commit, Ok(()), self.now);
        }
        self.sync.end_round(arrived);
    }

    fn later(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Begins again with what is stored, as a receiver that was killed does.
    fn restart(&mut self, offset: i64) {
        let stored: Vec<_> = self.stored.values().cloned().collect();
        self.sync = GroupSync::new(1 << 20);
        self.sync.set_ledger(Ledger::fold(&stored).expect("a ledger"));
        self.source_commits(offset, "m");
    }
}

#[test]
fn an_offset_is_followed_forward_and_backward() {
    let mut world = World::new();
    world.source_commits(200, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(400), OffsetState::Synced));
    assert_eq!(world.target.committed[&target(0)].metadata, "m");
    for offset in [500, 150] {
        world.source_commits(offset, "m");
        world.round();
        assert_eq!((world.committed(), world.state()), (Some(2 * offset), OffsetState::Synced));
    }
    world.source_commits(150, "n");
    world.round();
    assert_eq!(world.target.committed[&target(0)].metadata, "n");
    assert!(world.sync.covered() == world.sync.arrived() && world.sync.covered().is_some());
}

#[test]
fn nothing_beyond_what_is_carried_is_committed() {
    let mut world = World::new();
    world.source_commits(1_200, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(2_000), OffsetState::Behind));
    world.carried = 1_199;
    world.later(Duration::from_secs(6));
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(2_398), OffsetState::Behind));
    world.carried = 5_000;
    world.later(Duration::from_millis(600));
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(2_400), OffsetState::Synced));
}

#[test]
fn a_link_that_is_behind_does_not_commit_each_step() {
    let mut world = World::new();
    world.source_commits(100_000, "m");
    let mut commits = 0;
    for _ in 0..20 {
        world.carried += 10;
        let made = world.decide();
        commits += made.len();
        for commit in made {
            world.apply(&commit);
            world.sync.handle_outcome("g", &commit, Ok(()), world.now);
        }
        world.later(Duration::from_millis(500));
    }
    assert_eq!(commits, 2, "in 10 s");
}

#[test]
fn a_group_that_another_client_committed_for_is_left_alone() {
    let mut world = World::new();
    world.source_commits(200, "m");
    world.round();
    world.target_has(Some(444));
    world.source_commits(300, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(444), OffsetState::TakenOver));
    // Also if the other client comes back to an offset that was ours, and after a restart.
    world.target_has(Some(400));
    world.later(STEP);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(400), OffsetState::TakenOver));
    world.restart(350);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(400), OffsetState::TakenOver));
    // An operator deletes the offset.
    world.target_has(None);
    world.later(STEP);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(700), OffsetState::Synced));
}

#[test]
fn an_offset_that_was_there_before_the_link_is_left_alone() {
    let mut world = World::new();
    world.target_has(Some(7));
    world.source_commits(200, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(7), OffsetState::TakenOver));
}

#[test]
fn a_group_goes_back_unless_it_has_read_what_was_never_carried() {
    for (was, committed, state) in [(50, 400, OffsetState::Synced), (51, 51, OffsetState::TakenOver)] {
        let mut world = World::new();
        world.goes_back();
        world.target_has(Some(was));
        world.source_commits(200, "m");
        world.round();
        assert_eq!((world.committed(), world.state()), (Some(committed), state), "it was at {was}");
    }
    for (was, own) in [(4, 60), (50, 49)] {
        let mut world = World { own: Position(own), ..World::new() };
        world.goes_back();
        world.target_has(Some(was));
        world.source_commits(200, "m");
        world.round();
        assert_eq!(world.state(), OffsetState::TakenOver, "before what was brought, or behind what the link wrote");
    }
    let mut world = World::new();
    world.goes_back();
    world.source_commits(200, "m");
    world.round();
    world.target_has(Some(30));
    world.source_commits(300, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(30), OffsetState::TakenOver), "another client's since");
}

#[test]
fn an_offset_within_what_was_brought_goes_back_to_its_place() {
    let mut world = World::new();
    world.goes_back();
    world.target_has(Some(50));
    world.source_commits_back(37);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(37), OffsetState::Synced));
    world.source_commits_back(51);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(37), OffsetState::NotCarried), "no such place is common");
    world.source_commits(200, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(400), OffsetState::Synced), "it has read further");
    let mut other = World::new();
    other.source_commits_back(37);
    other.round();
    assert_eq!((other.committed(), other.state()), (None, OffsetState::NotCarried), "the topic does not go back");
}

#[test]
fn a_kill_between_store_and_commit_loses_nothing() {
    for is_committed in [false, true] {
        let mut world = World::new();
        world.source_commits(200, "m");
        world.round();
        world.source_commits(300, "m");
        let commits = world.decide();
        if is_committed {
            world.apply(&commits[0]);
        }
        world.restart(300);
        world.round();
        assert_eq!((world.committed(), world.state()), (Some(600), OffsetState::Synced), "committed: {is_committed}");
    }
}

#[test]
fn a_commit_without_an_answer_may_arrive_late() {
    let mut world = World::new();
    world.source_commits(200, "m");
    world.round();
    world.source_commits(300, "m");
    let late = world.decide().remove(0);
    let error = kafka::KafkaError::misused("commit", "no answer");
    world.sync.handle_outcome("g", &late, Err(CommitError::Kafka(error)), world.now);
    assert_eq!(world.state(), OffsetState::Failed);
    world.later(STEP);
    world.source_commits(400, "m");
    let next = world.decide().remove(0);
    world.apply(&next);
    world.apply(&late);
    world.sync.handle_outcome("g", &next, Ok(()), world.now);
    world.restart(400);
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(800), OffsetState::Synced));
}

#[test]
fn a_group_with_members_is_not_touched_until_they_leave() {
    let mut world = World::new();
    world.target.has_members = true;
    world.source_commits(200, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (None, OffsetState::HasMembers));
    // The members joined after the list: the broker says so.
    world.target.has_members = false;
    world.later(Duration::from_secs(5));
    let commit = world.decide().remove(0);
    world.sync.handle_outcome("g", &commit, Err(CommitError::HasMembers), world.now);
    assert_eq!((world.committed(), world.state()), (None, OffsetState::HasMembers));
    world.later(Duration::from_secs(5));
    world.round();
    assert_eq!((world.committed(), world.state()), (Some(400), OffsetState::Synced));
}

#[test]
fn an_offset_that_stays_is_renewed_before_it_expires() {
    let mut world = World::new();
    world.source_commits(200, "m");
    world.round();
    let mut commits = 0;
    for _ in 0..24 * 60 {
        world.later(Duration::from_secs(60));
        let made = world.decide();
        commits += made.len();
        made.iter().for_each(|commit| world.sync.handle_outcome("g", commit, Ok(()), world.now));
    }
    assert!((3..=4).contains(&commits), "{commits} in a day");
    // It expired while the link was down.
    world.target_has(None);
    world.later(STEP);
    world.round();
    assert_eq!(world.committed(), Some(400));
}

#[test]
fn offsets_before_the_map_and_gone_ones_are_left_out() {
    let mut world = World::new();
    world.source_commits(50, "m");
    world.round();
    assert_eq!((world.committed(), world.state()), (None, OffsetState::BeforeMap));
    world.source_commits(-1, "");
    assert_eq!((world.sync.states().count(), world.sync.bytes(), world.sync.next_due()), (0, 0, None));
}

#[test]
fn what_a_sender_announces_takes_bounded_memory() {
    let mut world = World::new();
    world.sync = GroupSync::new(100_000);
    for group in 0..1_000 {
        let offsets = |position| {
            let offset =
                |partition| CommittedOffset { partition, offset: Position(position), metadata: "m".repeat(1000) };
            GroupOffsets { group: format!("g{group}"), topic: "t".into(), offsets: (0..10).map(offset).collect() }
        };
        world.sync.handle_offsets(vec![offsets(5)], true, world.now);
        world.sync.handle_offsets(vec![offsets(6)], true, world.now);
    }
    assert!(world.sync.bytes() <= 100_000 && world.sync.bytes() > 90_000, "{}", world.sync.bytes());
    assert!(world.sync.trouble()[0].contains("had no room in 97 KiB"), "{:?}", world.sync.trouble());
    for group in 0..1_000 {
        let gone = |partition| CommittedOffset { partition, offset: Position(-1), metadata: String::new() };
        let offsets = (0..10).map(gone).collect();
        let groups = vec![GroupOffsets { group: format!("g{group}"), topic: "t".into(), offsets }];
        world.sync.handle_offsets(groups, true, world.now);
    }
    assert_eq!(world.sync.bytes(), 0);
}
