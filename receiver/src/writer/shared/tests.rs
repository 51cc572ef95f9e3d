//! A writer that lanes share, over a target that counts.

use super::*;

/// Target that accepts everything, and counts.
#[derive(Clone, Default)]
struct Counting(Arc<Lock<Counts>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    /// Initialisations fail.
    hangs: bool,
    /// Instances have outdated credentials.
    outdated: bool,
    fences: u32,
    begins: u32,
    commits: u32,
    discards: u32,
    offset: i64,
}

struct CountingWriter {
    counts: Counting,
    unreported: Vec<Appended>,
}

impl Target for Counting {
    type Writer = CountingWriter;
    type States = Self;

    fn writer(&self) -> Result<CountingWriter, KafkaError> {
        Ok(CountingWriter { counts: self.clone(), unreported: Vec::new() })
    }

    fn states(&self) -> Result<Self, KafkaError> {
        Ok(self.clone())
    }
}

impl StateAccess for Counting {
    fn read(&mut self, _: &TargetPartition, _: Extent) -> Result<Vec<StateEntry>, TargetError> {
        Ok(Vec::new())
    }

    fn expel(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        Ok(())
    }

    fn unwritable(&mut self, _: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        Ok(Vec::new())
    }
}

impl TargetWriter for CountingWriter {
    fn fence(&mut self, writer: &WriterId, _: Duration) -> Result<(), TargetError> {
        let mut counts = self.counts.0.lock();
        counts.fences += 1;
        if counts.hangs { Err(failed_for_another(writer)) } else { Ok(()) }
    }

    fn is_outdated(&self) -> bool {
        self.counts.0.lock().outdated
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.counts.0.lock().begins += 1;
        Ok(())
    }

    fn produce(&mut self, _: &TargetPartition, _: &RecordRef<'_>, _: &Bytes) -> Result<(), TargetError> {
        Ok(())
    }

    fn write_state(&mut self, state: &TargetPartition, _: &[u8], _: Option<&[u8]>) -> Result<(), TargetError> {
        let mut counts = self.counts.0.lock();
        let at = Offset(counts.offset);
        counts.offset += 1;
        self.unreported.push(Appended { partition: state.clone(), offsets: Offsets::between(at, at) });
        Ok(())
    }

    fn drain(&mut self) -> Result<Vec<Appended>, TargetError> {
        Ok(std::mem::take(&mut self.unreported))
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        self.counts.0.lock().commits += 1;
        Ok(())
    }

    fn discard(&mut self) {
        self.counts.0.lock().discards += 1;
    }
}

fn lanes(target: &Counting) -> (Arc<SharedWriter<CountingWriter>>, [SharedLane<Counting>; 2]) {
    let writer = SharedWriter::new(WriterId::of_writer("a", "bulk"), target.writer().unwrap());
    let lane = |id| SharedLane::new(&writer, target.states().unwrap(), "l", LaneId(id));
    let mut lanes = [0, 1].map(lane);
    let id = lanes[0].ids()[0].clone();
    lanes.iter_mut().for_each(|lane| lane.fence(&id, Duration::ZERO).unwrap());
    (writer, lanes)
}

#[test]
fn lanes_share_one_instance_and_one_transaction() {
    let target = Counting::default();
    let (writer, mut lanes) = lanes(&target);
    let group = writer.group();
    for lane in &mut lanes {
        lane.begin().unwrap();
        lane.write_state(b"k", None).unwrap();
    }
    let ends = lanes.each_mut().map(|lane| lane.drain().unwrap().state_end);
    assert_eq!(ends, [Some(Offset(0)), Some(Offset(1))], "each lane has the report of its own entry");
    group.commit().unwrap();
    let Counts { fences, begins, commits, .. } = *target.0.lock();
    assert_eq!((fences, begins, commits), (1, 1, 1));
}

#[test]
fn changed_credentials_end_an_instance_between_two_transactions() {
    let target = Counting::default();
    let (writer, [mut writes, idles]) = lanes(&target);
    writer.renew();
    assert!(writes.is_granted() && idles.is_granted(), "nothing has changed");
    target.0.lock().outdated = true;
    let group = writer.group();
    writes.begin().unwrap();
    writes.write_state(b"k", None).unwrap();
    let renewing = Arc::clone(&writer);
    let renews = std::thread::spawn(move || renewing.renew());
    writes.drain().unwrap();
    group.commit().unwrap();
    writes.end_part();
    assert!(writes.is_granted(), "the turn has not ended");
    drop(group);
    renews.join().unwrap();
    assert!(!writes.is_granted() && !idles.is_granted(), "each lane reads its custody again");
    let Counts { fences, commits, discards, .. } = *target.0.lock();
    assert_eq!((fences, commits, discards), (1, 1, 1));
}

#[test]
fn failure_of_one_lane_takes_the_grants_of_all() {
    let target = Counting::default();
    let (_, [mut fails, mut other]) = lanes(&target);
    assert!(other.is_granted());
    fails.begin().unwrap();
    fails.discard();
    assert!(!other.is_granted() && !fails.is_granted());
    assert_eq!(other.begin().unwrap_err().to_string(), gone(&other.state).to_string());
    other.discard();
    let id = other.ids()[0].clone();
    other.fence(&id, Duration::ZERO).unwrap();
    assert!(other.is_granted() && !fails.is_granted(), "each lane reads its custody first");
    let Counts { fences, discards, .. } = *target.0.lock();
    assert_eq!((fences, discards), (2, 1));
}

#[test]
fn an_id_that_hangs_is_waited_for_once_by_all_lanes() {
    let target = Counting::default();
    let writer = SharedWriter::new(WriterId::of_writer("a", "bulk"), target.writer().unwrap());
    let [first, second, _] = &writer.ids[..] else { panic!("{:?}", writer.ids) };
    target.0.lock().hangs = true;
    // Both lanes wait for the turn.
    let failed = [writer.failures(first), writer.failures(first)];
    let results = failed.map(|failed| writer.initialise(first, Duration::ZERO, failed).unwrap_err());
    assert!(results.iter().all(TargetError::is_unanswered), "they try another id");
    assert_eq!(target.0.lock().fences, 1);
    writer.initialise(first, Duration::ZERO, writer.failures(first)).unwrap_err();
    assert_eq!(target.0.lock().fences, 2, "it may not hang any more");
    target.0.lock().hangs = false;
    writer.initialise(second, Duration::ZERO, writer.failures(second)).unwrap();
    assert_eq!(writer.failures(first), 0);
}

#[test]
fn a_lane_waits_for_the_turn_of_a_group() {
    let target = Counting::default();
    let (writer, [mut lane, _]) = lanes(&target);
    let group = writer.group();
    let entries = vec![StateEntry::new(b"k".to_vec(), None)];
    let alone = std::thread::spawn(move || lane.commit_entries(entries).unwrap());
    assert_eq!(target.0.lock().begins, 0);
    drop(group);
    alone.join().unwrap();
    assert_eq!(target.0.lock().commits, 1);
}

#[test]
fn entries_of_lanes_that_wait_share_a_transaction() {
    let target = Counting::default();
    let (writer, lanes) = lanes(&target);
    let group = writer.group();
    let entry = |key: &[u8]| vec![StateEntry::new(key.to_vec(), None)];
    let threads = lanes.map(|mut lane| std::thread::spawn(move || lane.commit_entries(entry(b"k")).unwrap()));
    while writer.combined.lock().waiting() < 2 {
        std::thread::yield_now();
    }
    drop(group);
    let mut ends = threads.map(|thread| thread.join().unwrap());
    ends.sort_unstable();
    assert_eq!(ends, [Offset(0), Offset(1)], "each has the offset of its own entry");
    assert_eq!(target.0.lock().commits, 1);
}

#[test]
fn entries_need_a_grant_and_are_alone_after_a_failure() {
    let target = Counting::default();
    let (writer, [mut one, mut other]) = lanes(&target);
    other.discard();
    let entry = || vec![StateEntry::new(b"k".to_vec(), None)];
    one.commit_entries(entry()).unwrap();
    assert_eq!(other.commit_entries(entry()).unwrap_err().to_string(), gone(&other.state).to_string());
    assert_eq!(target.0.lock().commits, 1, "nothing is written for a lane that may not write");
    assert!(one.is_granted() && other.is_doubted && !one.is_doubted);
    drop(writer);
}

#[test]
fn lane_that_is_served_again_takes_the_grant_of_its_former_self() {
    let target = Counting::default();
    let (writer, [mut former, other]) = lanes(&target);
    let mut present: SharedLane<Counting> = SharedLane::new(&writer, target.states().unwrap(), "l", LaneId(0));
    let id = present.ids()[0].clone();
    present.fence(&id, Duration::ZERO).unwrap();
    assert!(present.is_granted() && other.is_granted() && !former.is_granted());
    former.begin().unwrap_err();
    former.discard();
    assert!(present.is_granted(), "it has lost nothing");
    assert_eq!(target.0.lock().begins, 0);
}

#[test]
fn lane_that_leaves_destroys_no_instance_that_others_use() {
    let target = Counting::default();
    let (_, [mut leaves, stays]) = lanes(&target);
    leaves.discard();
    assert!(stays.is_granted() && !leaves.is_granted());
    assert_eq!(target.0.lock().discards, 0);
}
