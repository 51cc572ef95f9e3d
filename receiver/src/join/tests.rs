//! Tests of the decisions about offered partitions.

use super::*;
use wire::ids::Epoch;

const FILTER: u64 = 7;

fn offered() -> Offered {
    Offered {
        partition: OfferedPartition {
            slot: Slot(0),
            topic: "orders".to_owned(),
            partition: 3,
            topic_id: TopicId([1; 16]),
            partitions: 4,
            log_start: Position(10),
            log_end: Position(100),
            start: Position(100),
            jump: None,
        },
        target: Ok(OfferedTarget {
            partition: TargetPartition { topic: "fra.orders".into(), partition: 3 },
            topic_id: TopicId([2; 16]),
            end: Position(0),
            clusters: ["s".to_owned()].into(),
        }),
        skips_refused: None,
        returning: None,
        room: None,
        was_deferred: false,
    }
}

fn lane(filter_hash: Option<u64>) -> LaneRecord {
    LaneRecord {
        link: "l".into(),
        lanes: 1,
        lane_hash: "h".into(),
        epoch: Epoch(1),
        source_cluster: "s".into(),
        target_cluster: "t".into(),
        filter_hash,
        sender: "a".into(),
        classes: vec![],
    }
}

fn begun(offered: &Offered, filter_hash: Option<u64>, carried: bool) -> PartitionRecord {
    match offered.answer(None, &lane(filter_hash), FILTER, Some(carried)) {
        Answer::Begin(record) => *record,
        other => panic!("{other:?}"),
    }
}

fn halted(answer: Answer) -> String {
    match answer {
        Answer::Halt(halt) => halt.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_start_policy_applies_to_first_starts_and_new_topics() {
    let offered = offered();
    assert_eq!(begun(&offered, None, false).position, Position(100), "first start");
    assert_eq!(begun(&offered, Some(FILTER), false).position, Position(10), "same filter: a new topic or partition");
    assert_eq!(begun(&offered, Some(FILTER + 1), true).position, Position(10), "carried already: a new partition");
    assert_eq!(begun(&offered, Some(FILTER + 1), false).position, Position(100), "newly matched");
}

#[test]
fn a_topic_of_unknown_origin_joins_only_where_it_was_carried() {
    let stored = begun(&offered(), None, false);
    let mut unsure = offered();
    unsure.partition.jump = Some(Jump::carried_only());
    assert_eq!(halted(unsure.answer(None, &lane(None), FILTER, None)), "origin-unknown");
    unsure.partition.log_start = Position(0);
    assert_eq!(unsure.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None), Answer::Resume);
    let kept = PartitionRecord { halt: Some(HaltRecord::new(HaltReason::Corrupt, "a batch")), ..stored.clone() };
    assert_eq!(halted(unsure.answer(Some(&kept), &lane(Some(FILTER)), FILTER, None)), "corrupt", "it lifts no halt");
    unsure.partition.topic_id = TopicId([9; 16]);
    assert_eq!(halted(unsure.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None)), "topic-recreated");
}

#[test]
fn no_position_is_decided_before_all_lanes_were_read() {
    assert_eq!(offered().answer(None, &lane(None), FILTER, None), Answer::Wait);
}

#[test]
fn a_target_with_other_records_halts() {
    let mut offered = offered();
    offered.target.as_mut().expect("there").end = Position(1);
    assert_eq!(halted(offered.answer(None, &lane(None), FILTER, Some(false))), "target-not-empty");
}

#[test]
fn a_log_that_does_not_fit_the_stored_position_halts() {
    let stored = PartitionRecord { position: Position(50), target_end: Position(40), ..begun(&offered(), None, false) };
    let answer = |change: &dyn Fn(&mut Offered)| {
        let mut offered = offered();
        offered.target.as_mut().expect("there").end = Position(40);
        change(&mut offered);
        offered.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None)
    };
    assert_eq!(answer(&|_| ()), Answer::Resume);
    assert_eq!(halted(answer(&|o| o.partition.topic_id = TopicId([9; 16]))), "topic-recreated");
    assert_eq!(halted(answer(&|o| o.partition.log_start = Position(51))), "retention-overtook");
    assert_eq!(halted(answer(&|o| o.partition.log_end = Position(49))), "truncated");
    let replace = |o: &mut Offered| o.target.as_mut().expect("there").topic_id = TopicId([9; 16]);
    assert_eq!(halted(answer(&replace)), "target-replaced");
    let truncate = |o: &mut Offered| o.target.as_mut().expect("there").end = Position(39);
    assert_eq!(halted(answer(&truncate)), "target-replaced");
}

fn jumping(expected: i64, to: i64, accepts: Accepts) -> Offered {
    let mut offered = offered();
    let jump = Jump { expected: Position(expected), to: Position(to), accepts, asked: 0, reason: "test".into() };
    offered.partition.jump = Some(jump);
    offered.target.as_mut().expect("there").end = Position(40);
    offered
}

fn halted_at(position: i64, reason: HaltReason) -> PartitionRecord {
    let halt = Some(HaltRecord::new(reason, "as stored"));
    PartitionRecord { position: Position(position), target_end: Position(40), halt, ..begun(&offered(), None, false) }
}

fn moved(offered: &Offered, stored: &PartitionRecord) -> PartitionRecord {
    match offered.answer(Some(stored), &lane(Some(FILTER)), FILTER, None) {
        Answer::Begin(record) => *record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stored_halt_stays_until_a_jump_lifts_it() {
    let stored = halted_at(50, HaltReason::RecordRejected);
    let mut plain = jumping(50, 50, Accepts::Nothing);
    let record = moved(&plain, &stored);
    assert_eq!((record.halt, record.position, record.skipped), (None, Position(50), 0));
    plain.partition.jump = None;
    assert_eq!(halted(plain.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None)), "record-rejected");
    let record = moved(&jumping(50, 51, Accepts::Nothing), &stored);
    assert_eq!((record.halt, record.position, record.skipped), (None, Position(51), 1), "exactly one is skipped");
    let record = moved(&jumping(50, 20, Accepts::Nothing), &stored);
    assert_eq!((record.position, record.skipped), (Position(20), 0), "back again");
}

#[test]
fn a_jump_that_does_not_fit_the_stored_state_is_refused() {
    let stored = halted_at(50, HaltReason::RecordRejected);
    let answer = |offered: &Offered| halted(offered.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None));
    assert_eq!(answer(&jumping(49, 51, Accepts::Nothing)), "jump-refused");
    assert_eq!(answer(&jumping(50, 9, Accepts::Nothing)), "jump-refused", "below the log");
    assert_eq!(answer(&jumping(50, 101, Accepts::Nothing)), "jump-refused", "beyond the log");
    let mut recreated = jumping(50, 10, Accepts::Nothing);
    recreated.partition.topic_id = TopicId([9; 16]);
    assert_eq!(answer(&recreated), "topic-recreated");
    let mut truncated = jumping(50, 50, Accepts::NewIncarnation);
    truncated.target.as_mut().expect("there").end = Position(39);
    assert_eq!(answer(&truncated), "target-replaced");
    let unknown = jumping(50, 51, Accepts::Nothing);
    assert_eq!(halted(unknown.answer(None, &lane(None), FILTER, Some(false))), "jump-refused");
}

#[test]
fn a_jump_that_was_applied_before_only_joins() {
    let done = PartitionRecord { halt: None, ..halted_at(51, HaltReason::RecordRejected) };
    let again = jumping(50, 51, Accepts::Nothing);
    assert_eq!(again.answer(Some(&done), &lane(Some(FILTER)), FILTER, None), Answer::Resume);
}

#[test]
fn an_accepted_incarnation_replaces_any_stored_halt() {
    let stored = PartitionRecord { leader_epoch: 7, ..halted_at(50, HaltReason::Truncated) };
    let mut offered = jumping(50, 10, Accepts::NewIncarnation);
    offered.partition.topic_id = TopicId([9; 16]);
    let record = moved(&offered, &stored);
    let expected = (TopicId([9; 16]), Position(10), -1, 0);
    assert_eq!((record.topic_id, record.position, record.leader_epoch, record.skipped), expected);
    offered.partition.jump = None;
    assert_eq!(halted(offered.answer(Some(&stored), &lane(None), FILTER, None)), "topic-recreated");
}

#[test]
fn the_same_topic_is_not_carried_from_its_start_again() {
    let stored = halted_at(50, HaltReason::TopicRecreated);
    let answer = |to| jumping(50, to, Accepts::NewIncarnation).answer(Some(&stored), &lane(Some(FILTER)), FILTER, None);
    assert_eq!(halted(answer(10)), "jump-refused");
    assert!(matches!(answer(50), Answer::Begin(record) if record.halt.is_none()), "it continues at its position");
}

#[test]
fn an_adopted_target_is_written() {
    let adopting = jumping(-1, -1, Accepts::Target);
    let Answer::Begin(record) = adopting.answer(None, &lane(Some(FILTER)), FILTER, Some(false)) else { panic!() };
    assert_eq!((record.position, record.target_end), (Position(10), Position(40)));
    let at = |to| jumping(-1, to, Accepts::Target).answer(None, &lane(Some(FILTER)), FILTER, Some(false));
    assert!(matches!(at(60), Answer::Begin(record) if record.position == Position(60)), "at its former position");
    assert_eq!(halted(at(101)), "jump-refused", "beyond the log");
    let again = adopting.answer(Some(&record), &lane(Some(FILTER)), FILTER, None);
    assert_eq!(again, Answer::Resume, "its commit was unknown, and happened");
    let stored = PartitionRecord { target_end: Position(400), ..halted_at(50, HaltReason::TargetReplaced) };
    let mut adopting = jumping(50, 50, Accepts::Target);
    adopting.target.as_mut().expect("there").topic_id = TopicId([9; 16]);
    let record = moved(&adopting, &stored);
    assert_eq!((record.target_topic_id, record.target_end), (TopicId([9; 16]), Position(40)));
    adopting.partition.log_start = Position(60);
    let record = moved(&adopting, &stored);
    assert_eq!((record.position, record.skipped), (Position(50), 0), "nothing is skipped without a request");
    let joins = PartitionRecord { target_end: Position(0), ..record };
    adopting.partition.jump = None;
    let answer = adopting.answer(Some(&joins), &lane(Some(FILTER)), FILTER, None);
    assert_eq!(halted(answer), "retention-overtook");
}

/// Offer of a partition that a promoted link brought from `fra.orders` of cluster t.
fn returning(begins: i64, common: i64) -> Offered {
    let from = returns::Provenance {
        link: "there".to_owned(),
        cluster: "t".to_owned(),
        topic: "fra.orders".to_owned(),
        topic_id: TopicId([2; 16]),
    };
    let returning = Returning { from: Arc::new(from), begins: Position(begins), common: Position(common) };
    let mut offered = Offered { returning: Some(returning), ..offered() };
    offered.target.as_mut().expect("there").end = Position(40);
    offered
}

#[test]
fn a_partition_that_goes_back_begins_where_it_was_brought_to() {
    for stored in [None, Some(FILTER), Some(FILTER + 1)] {
        for carried in [false, true] {
            let record = begun(&returning(50, 30), stored, carried);
            assert_eq!((record.position, record.target_end), (Position(50), Position(40)), "{stored:?} {carried}");
        }
    }
    let logged = returning(50, 30).logged_jump().expect("it is logged");
    assert!(
        logged.reason.ends_with("target offsets 30 to 39 were never carried: 10, markers included"),
        "{}",
        logged.reason
    );
    let answer = |offered: Offered| halted(offered.answer(None, &lane(None), FILTER, Some(false)));
    assert_eq!(answer(returning(50, 41)), "target-replaced");
    assert_eq!(answer(returning(9, 30)), "retention-overtook");
    assert_eq!(answer(returning(101, 30)), "truncated");
}

#[test]
fn an_adopted_target_does_not_get_again_what_was_brought() {
    let adopt =
        |to| Jump { expected: Position(-1), to: Position(to), accepts: Accepts::Target, asked: 0, reason: "".into() };
    let mut offered = returning(50, 41);
    offered.partition.jump = Some(adopt(-1));
    assert_eq!(begun(&offered, Some(FILTER), true).position, Position(50));
    offered.partition.jump = Some(adopt(70));
    assert_eq!(begun(&offered, Some(FILTER), true).position, Position(70), "an operator decides");
}
